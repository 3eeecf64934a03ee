"""Pure mathematics on tensors: one loss a file."""

from tfrs_distill.losses.categorical_cross_entropy import categorical_cross_entropy
from tfrs_distill.losses.soft_target_kl_divergence import SoftTargetKLDivergence
from tfrs_distill.losses.weighted_mean import weighted_mean

__all__ = ["SoftTargetKLDivergence", "categorical_cross_entropy", "weighted_mean"]
