"""What knows a lot: teachers, and the text encoder they read with."""

from tfrs_distill.teachers.array_teacher import ArrayTeacher
from tfrs_distill.teachers.bert_two_tower import BertTwoTower
from tfrs_distill.teachers.ensemble import Ensemble
from tfrs_distill.teachers.finetune import finetune
from tfrs_distill.teachers.function_teacher import FunctionTeacher
from tfrs_distill.teachers.keras_teacher import KerasTeacher
from tfrs_distill.teachers.teacher import Teacher
from tfrs_distill.teachers.text_encoder import TextEncoder, checkpoint_fingerprint

__all__ = [
    "ArrayTeacher",
    "BertTwoTower",
    "Ensemble",
    "FunctionTeacher",
    "KerasTeacher",
    "Teacher",
    "TextEncoder",
    "checkpoint_fingerprint",
    "finetune",
]
