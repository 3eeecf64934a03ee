"""Losses on tensors, one per file; only those between hidden layers have weights (projectors)."""

from tfrs_distill.losses.hidden_representation_distillation import (
    HiddenRepresentationDistillation,
)
from tfrs_distill.losses.list_mle_distillation import ListMLEDistillation
from tfrs_distill.losses.logit_mean_squared_error import LogitMeanSquaredError
from tfrs_distill.losses.over_lists import OverLists
from tfrs_distill.losses.pairwise_distillation import PairwiseDistillation
from tfrs_distill.losses.ranking_distillation import RankingDistillation
from tfrs_distill.losses.relation_distillation import RelationDistillation
from tfrs_distill.losses.soft_target_binary_cross_entropy import SoftTargetBinaryCrossEntropy
from tfrs_distill.losses.soft_target_kl_divergence import SoftTargetKLDivergence

__all__ = [
    "HiddenRepresentationDistillation",
    "ListMLEDistillation",
    "LogitMeanSquaredError",
    "OverLists",
    "PairwiseDistillation",
    "RankingDistillation",
    "RelationDistillation",
    "SoftTargetBinaryCrossEntropy",
    "SoftTargetKLDivergence",
]
