"""Teachers, their text encoders, and the adaptation of these encoders.

- two-tower models: `BertTwoTower`, `AttentionTwoTower` (ids alone), `MultimodalTwoTower`
- models of pairs: `BertCrossEncoder`, and `Reranker` over a first stage
- closed-form teachers: `ItemItemTeacher`, `NextItemRidgeTeacher`, and `ALSTeacher` through
  `implicit`
- models trained elsewhere: `ArrayTeacher`, `KerasTeacher`, `FunctionTeacher`
- for ranking rows: `BertTextRanker` (reads one text per row), `DeepCrossTeacher` (wide, privileged
  features); `row_logits` computes the logits of rows with any teacher
- wrappers of teachers: `Ensemble`, `Calibrated`
- text: `TextEncoder` (BERT, RoBERTa, DistilBERT, MiniLM), `HubEncoder` (TF-Hub, SavedModel);
  `piece_vectors` for a student's text tower
- adapting a BERT: `pretrain_masked_language_model`, `finetune` with `LoRA`, `BottleneckAdapters`,
  `PrefixVectors`, `TopLayers` or `AllLayers`; `attach_saved` loads saved layers
"""

from tfrs_distill.teachers.als_teacher import ALSTeacher
from tfrs_distill.teachers.arrays.array_teacher import ArrayTeacher
from tfrs_distill.teachers.attention_two_tower import AttentionTwoTower
from tfrs_distill.teachers.bert.bert_cross_encoder import BertCrossEncoder
from tfrs_distill.teachers.bert.bert_text_ranker import BertTextRanker
from tfrs_distill.teachers.bert.bert_two_tower import BertTwoTower
from tfrs_distill.teachers.bert.finetune import finetune
from tfrs_distill.teachers.bert.hub_encoder import HubEncoder
from tfrs_distill.teachers.bert.masked_language_model import pretrain_masked_language_model
from tfrs_distill.teachers.bert.parameter_efficient import (
    BottleneckAdapters,
    LoRA,
    PrefixVectors,
    attach_saved,
)
from tfrs_distill.teachers.bert.piece_vectors import piece_vectors
from tfrs_distill.teachers.bert.text_encoder import TextEncoder
from tfrs_distill.teachers.bert.trained_layers import AllLayers, TopLayers
from tfrs_distill.teachers.calibration import Calibrated, fit_temperature, held_out_windows
from tfrs_distill.teachers.deep_cross_teacher import DeepCrossTeacher
from tfrs_distill.teachers.ensemble import Ensemble
from tfrs_distill.teachers.function_teacher import FunctionTeacher
from tfrs_distill.teachers.item_item_teacher import ItemItemTeacher, NextItemRidgeTeacher
from tfrs_distill.teachers.keras_teacher import KerasTeacher
from tfrs_distill.teachers.multimodal_two_tower import MultimodalTwoTower
from tfrs_distill.teachers.reranker import Reranker
from tfrs_distill.teachers.row_logits import row_logits
from tfrs_distill.teachers.teacher import Teacher

__all__ = [
    "ALSTeacher",
    "AllLayers",
    "ArrayTeacher",
    "AttentionTwoTower",
    "BertCrossEncoder",
    "BertTextRanker",
    "BertTwoTower",
    "BottleneckAdapters",
    "Calibrated",
    "DeepCrossTeacher",
    "Ensemble",
    "FunctionTeacher",
    "HubEncoder",
    "ItemItemTeacher",
    "KerasTeacher",
    "LoRA",
    "MultimodalTwoTower",
    "NextItemRidgeTeacher",
    "PrefixVectors",
    "Reranker",
    "Teacher",
    "TextEncoder",
    "TopLayers",
    "attach_saved",
    "finetune",
    "fit_temperature",
    "held_out_windows",
    "piece_vectors",
    "pretrain_masked_language_model",
    "row_logits",
]
