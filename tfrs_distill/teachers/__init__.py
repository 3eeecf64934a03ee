"""What knows a lot: teachers, the encoders they read with, and how those are adapted.

- two towers: `BertTwoTower`, `AttentionTwoTower` (ids alone), `MultimodalTwoTower`
- reading pairs: `BertCrossEncoder`, and `Reranker` over a first stage
- without training of ours: `ItemItemTeacher`, `ArrayTeacher`, `KerasTeacher`, `FunctionTeacher`
- of several: `Ensemble`, `Calibrated`
- text: `TextEncoder` (BERT, RoBERTa, DistilBERT, MiniLM), `HubEncoder` (TF-Hub, SavedModel)
- adapting a BERT: `pretrain_masked_language_model`, `finetune` with `LoRA`, `BottleneckAdapters`,
  `PrefixVectors`, `TopLayers` or `AllLayers`; `attach_saved` puts saved layers back
"""

from tfrs_distill.teachers.array_teacher import ArrayTeacher
from tfrs_distill.teachers.attention_two_tower import AttentionTwoTower
from tfrs_distill.teachers.bert_cross_encoder import BertCrossEncoder
from tfrs_distill.teachers.bert_two_tower import BertTwoTower
from tfrs_distill.teachers.calibration import (
    Calibrated,
    TemperatureFit,
    fit_temperature,
    held_out_windows,
)
from tfrs_distill.teachers.checkpoint import checkpoint_fingerprint
from tfrs_distill.teachers.ensemble import Ensemble
from tfrs_distill.teachers.finetune import Finetuned, finetune
from tfrs_distill.teachers.function_teacher import FunctionTeacher
from tfrs_distill.teachers.hub_encoder import HubEncoder
from tfrs_distill.teachers.item_item_teacher import ItemItemTeacher
from tfrs_distill.teachers.keras_teacher import KerasTeacher
from tfrs_distill.teachers.masked_language_model import (
    MaskedLanguageTraining,
    pretrain_masked_language_model,
)
from tfrs_distill.teachers.multimodal_two_tower import MultimodalTwoTower
from tfrs_distill.teachers.parameter_efficient import (
    Attached,
    BottleneckAdapters,
    LoRA,
    PrefixVectors,
    attach_saved,
)
from tfrs_distill.teachers.reranker import Reranker
from tfrs_distill.teachers.teacher import Teacher
from tfrs_distill.teachers.text_encoder import TextEncoder
from tfrs_distill.teachers.trained_layers import AllLayers, TopLayers

__all__ = [
    "AllLayers",
    "ArrayTeacher",
    "Attached",
    "AttentionTwoTower",
    "BertCrossEncoder",
    "BertTwoTower",
    "BottleneckAdapters",
    "Calibrated",
    "Ensemble",
    "Finetuned",
    "FunctionTeacher",
    "HubEncoder",
    "ItemItemTeacher",
    "KerasTeacher",
    "LoRA",
    "MaskedLanguageTraining",
    "MultimodalTwoTower",
    "PrefixVectors",
    "Reranker",
    "Teacher",
    "TemperatureFit",
    "TextEncoder",
    "TopLayers",
    "attach_saved",
    "checkpoint_fingerprint",
    "finetune",
    "fit_temperature",
    "held_out_windows",
    "pretrain_masked_language_model",
]
