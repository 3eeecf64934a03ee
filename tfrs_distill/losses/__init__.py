"""Pure mathematics on tensors: one loss a file."""

from tfrs_distill.losses.catalogue_cross_entropy import catalogue_cross_entropy
from tfrs_distill.losses.soft_target_kl_divergence import SoftTargetKLDivergence

__all__ = ["SoftTargetKLDivergence", "catalogue_cross_entropy"]
