"""Baselines without training by gradient, which every model has to beat."""

from tfrs_distill.evaluation.baselines.biases import (
    BIAS_L2,
    Biases,
    best_bias_only,
    best_item_mean,
    bias_only,
    item_mean,
)
from tfrs_distill.evaluation.baselines.recommenders import EASE, EASE_L2, best_ease, popularity

__all__ = [
    "BIAS_L2",
    "Biases",
    "EASE",
    "EASE_L2",
    "best_bias_only",
    "best_ease",
    "best_item_mean",
    "bias_only",
    "item_mean",
    "popularity",
]
