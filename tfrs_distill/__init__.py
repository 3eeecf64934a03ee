"""Knowledge distillation and compression for TensorFlow Recommenders.

    import tfrs_distill as td

`td.data` reads, `td.teachers` know, `td.cache_teacher` hears them once, `td.Distiller` teaches
`td.students`, `td.evaluate` measures, `td.export` writes, `td.Recommender` reads what was written.
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
    "CachedTeacher": "tfrs_distill.teacher_cache",
    "Distiller": "tfrs_distill.distiller",
    "EASE": "tfrs_distill.baselines",
    "GradientAccumulation": "tfrs_distill.gradient_accumulation",
    "GradientNormBalance": "tfrs_distill.distiller",
    "LossRatioBalance": "tfrs_distill.distiller",
    "Ranker": "tfrs_distill.ranker",
    "RankingDistiller": "tfrs_distill.distiller",
    "Recommender": "tfrs_distill.recommend",
    "Schedule": "tfrs_distill.distiller",
    "ValidationNDCG": "tfrs_distill.evaluation",
    "cache_item_vectors": "tfrs_distill.teacher_cache",
    "cache_teacher": "tfrs_distill.teacher_cache",
    "compare_teachers": "tfrs_distill.teacher_report",
    "cross_fit_ranking": "tfrs_distill.teacher_cache",
    "cross_fit_teacher": "tfrs_distill.teacher_cache",
    "evaluate": "tfrs_distill.evaluation",
    "evaluate_ranking": "tfrs_distill.evaluation",
    "popularity": "tfrs_distill.baselines",
}
_ROOMS = (
    "data",
    "distillation_layers",
    "export",
    "losses",
    "metrics",
    "students",
    "teachers",
    "towers",
)

__all__ = [
    "EASE",
    "CachedTeacher",
    "Distiller",
    "GradientAccumulation",
    "GradientNormBalance",
    "LossRatioBalance",
    "Ranker",
    "RankingDistiller",
    "Recommender",
    "Schedule",
    "ValidationNDCG",
    "cache_item_vectors",
    "cache_teacher",
    "compare_teachers",
    "cross_fit_ranking",
    "cross_fit_teacher",
    "data",
    "distillation_layers",
    "evaluate",
    "evaluate_ranking",
    "export",
    "losses",
    "metrics",
    "popularity",
    "students",
    "teachers",
    "towers",
]

if TYPE_CHECKING:
    from tfrs_distill import (
        data,
        distillation_layers,
        export,
        losses,
        metrics,
        students,
        teachers,
        towers,
    )
    from tfrs_distill.baselines import EASE, popularity
    from tfrs_distill.distiller import (
        Distiller,
        GradientNormBalance,
        LossRatioBalance,
        RankingDistiller,
        Schedule,
    )
    from tfrs_distill.evaluation import ValidationNDCG, evaluate, evaluate_ranking
    from tfrs_distill.gradient_accumulation import GradientAccumulation
    from tfrs_distill.ranker import Ranker
    from tfrs_distill.recommend import Recommender
    from tfrs_distill.teacher_cache import (
        CachedTeacher,
        cache_item_vectors,
        cache_teacher,
        cross_fit_ranking,
        cross_fit_teacher,
    )
    from tfrs_distill.teacher_report import compare_teachers


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
