from . import data, evaluation, export, knowledge, losses, models, serving, teachers
from .distiller import (
    Distiller,
    GradientAccumulation,
    GradientNormBalance,
    LossRatioBalance,
    Schedule,
)
from .evaluation import ValidationNDCG, evaluate, evaluate_ranking
from .evaluation.baselines import EASE, popularity
from .evaluation.teacher_report import compare_teachers
from .knowledge import CachedTeacher, cache_item_vectors, cache_teacher, cross_fit
from .serving import Ranker, Recommender

__version__: str
