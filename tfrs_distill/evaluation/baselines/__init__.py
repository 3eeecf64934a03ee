"""Baselines without gradient training."""

from tfrs_distill.evaluation.baselines.biases import (
    BIAS_L2,
    Biases,
    best_bias_only,
    best_item_mean,
    bias_only,
    item_mean,
)
from tfrs_distill.evaluation.baselines.recommenders import (
    ALS_GRID,
    EASE,
    EASE_GRID,
    MAX_ITEMS_OF_EASE,
    RIDGE_GRID,
    HistoryScorer,
    best_als,
    best_ease,
    best_next_item_ridge,
    popularity,
)

__all__ = [
    "ALS_GRID",
    "BIAS_L2",
    "Biases",
    "EASE",
    "EASE_GRID",
    "HistoryScorer",
    "MAX_ITEMS_OF_EASE",
    "RIDGE_GRID",
    "best_als",
    "best_bias_only",
    "best_ease",
    "best_item_mean",
    "best_next_item_ridge",
    "bias_only",
    "item_mean",
    "popularity",
]
