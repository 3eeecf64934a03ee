"""Distillation losses with weights of their own: trained with the student, absent from it."""

from tfrs_distill.distillation_layers.hidden_representation_distillation import (
    HiddenRepresentationDistillation,
)

__all__ = ["HiddenRepresentationDistillation"]
