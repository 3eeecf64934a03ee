"""The model that combines teacher and student, and callbacks that change its loss weights."""

from tfrs_distill.distiller.balance import GradientNormBalance, LossRatioBalance
from tfrs_distill.distiller.distil_item_texts import distil_item_texts
from tfrs_distill.distiller.distiller import Distiller
from tfrs_distill.distiller.gradient_accumulation import GradientAccumulation
from tfrs_distill.distiller.schedule import Schedule

__all__ = [
    "Distiller",
    "GradientAccumulation",
    "GradientNormBalance",
    "LossRatioBalance",
    "Schedule",
    "distil_item_texts",
]
