"""Knowledge distillation and compression for TensorFlow Recommenders.

    import tfrs_distill as td

`td.data` reads, `td.teachers` know, `td.cross_fit` labels once, `td.Distiller` teaches
`td.models`, `td.evaluate` measures, `td.export` writes, `td.Recommender` reads what was written.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tfrs_distill.keras_version import require_keras_2

require_keras_2()

__version__ = "0.1.0"

# Where each public name lives; imported at first use, so that reading a `.tflite` artefact never
# imports TensorFlow.
_HOMES = {
    "CachedTeacher": "tfrs_distill.knowledge",
    "Distiller": "tfrs_distill.distiller",
    "EASE": "tfrs_distill.evaluation.baselines",
    "GradientAccumulation": "tfrs_distill.distiller",
    "GradientNormBalance": "tfrs_distill.distiller",
    "LossRatioBalance": "tfrs_distill.distiller",
    "Ranker": "tfrs_distill.serving",
    "Recommender": "tfrs_distill.serving",
    "Schedule": "tfrs_distill.distiller",
    "ValidationNDCG": "tfrs_distill.evaluation",
    "cache_item_vectors": "tfrs_distill.knowledge",
    "cache_teacher": "tfrs_distill.knowledge",
    "compare_teachers": "tfrs_distill.evaluation.teacher_report",
    "cross_fit": "tfrs_distill.knowledge",
    "evaluate": "tfrs_distill.evaluation",
    "evaluate_ranking": "tfrs_distill.evaluation",
    "popularity": "tfrs_distill.evaluation.baselines",
}
_ROOMS = "data evaluation export knowledge losses models serving teachers".split()

__all__ = [
    "EASE",
    "CachedTeacher",
    "Distiller",
    "GradientAccumulation",
    "GradientNormBalance",
    "LossRatioBalance",
    "Ranker",
    "Recommender",
    "Schedule",
    "ValidationNDCG",
    "cache_item_vectors",
    "cache_teacher",
    "compare_teachers",
    "cross_fit",
    "data",
    "evaluate",
    "evaluate_ranking",
    "evaluation",
    "export",
    "knowledge",
    "losses",
    "models",
    "popularity",
    "serving",
    "teachers",
]

if TYPE_CHECKING:
    from tfrs_distill import data, evaluation, export, knowledge, losses, models, serving, teachers
    from tfrs_distill.distiller import (
        Distiller,
        GradientAccumulation,
        GradientNormBalance,
        LossRatioBalance,
        Schedule,
    )
    from tfrs_distill.evaluation import ValidationNDCG, evaluate, evaluate_ranking
    from tfrs_distill.evaluation.baselines import EASE, popularity
    from tfrs_distill.evaluation.teacher_report import compare_teachers
    from tfrs_distill.knowledge import (
        CachedTeacher,
        cache_item_vectors,
        cache_teacher,
        cross_fit,
    )
    from tfrs_distill.serving import Ranker, Recommender


def __getattr__(name: str) -> Any:
    """Import a public name at first use (PEP 562)."""
    if name in _ROOMS:
        return importlib.import_module(f"tfrs_distill.{name}")
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'tfrs_distill' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
