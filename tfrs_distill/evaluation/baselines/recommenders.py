"""Recommenders without training by gradient: popularity and EASE."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfrs_distill.data.splits import Splits
from tfrs_distill.data.windows import Windows
from tfrs_distill.evaluation.retrieval import Scorer, evaluate
from tfrs_distill.evaluation.top_k import BlockScorer
from tfrs_distill.teachers.item_item_teacher import (
    check_decay,
    item_item_weights,
    user_item_blocks,
)

EASE_L2 = (100.0, 200.0, 500.0, 1000.0)  # tried by `best_ease`


def popularity(train: Windows) -> Scorer:
    """Return the scorer that recommends what most users met in training."""
    counts = np.sum([matrix.sum(axis=0) for matrix in user_item_blocks(train)], axis=0)
    return _SameScores(counts, train.catalogue.exclude_seen)


class _SameScores(BlockScorer):
    """A scorer with the same scores for everyone, float32 [num_items + 1]."""

    def __init__(self, scores: np.ndarray, exclude_seen: bool) -> None:
        self.scores, self.exclude_seen = scores, exclude_seen
        self.num_items = len(scores) - 1

    def _score_items(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        return np.broadcast_to(self.scores, (len(histories), len(self.scores)))


class EASE(BlockScorer):
    """Item-item weights in closed form.

    With X the 0/1 user-item matrix, `P = (X'X + l2 I)^-1` and `B_ij = -P_ij / P_jj` off the
    diagonal, 0 on it; an item's score is the sum of its weights from the history's items. With
    `decay` the latest items count most: an item counts `exp(-age / decay)`, where its age is how
    many items came after it (met again: after the last time). The same weights teach as
    `ItemItemTeacher`.

    Reference: [Steck, 2019](https://arxiv.org/abs/1905.03375).

    Args:
        train: training windows.
        l2: regularisation, above 0.
        decay: in items, above 0; None counts all items of a history alike.

    Raises:
        ValueError: `l2` or `decay` is not above 0.
    """

    def __init__(self, train: Windows, *, l2: float = 300.0, decay: float | None = None) -> None:
        check_decay(decay)
        self.l2, self.decay, self.exclude_seen = l2, decay, train.catalogue.exclude_seen
        self.weights = item_item_weights(train, l2)
        self.num_items = len(self.weights) - 1

    @property
    def num_parameters(self) -> int:
        """Item-item weights, padding not counted."""
        return self.num_items**2

    def _score_items(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Return the scores of every item, float32 [num_queries, num_items + 1]."""
        met = np.zeros((len(histories), len(self.weights)), np.float32)
        for row, history in zip(met, histories):
            row[history] = 1.0
            if self.decay is not None:
                row[history] = np.exp(-np.arange(len(history) - 1, -1, -1) / self.decay)
        scores: np.ndarray = met @ self.weights
        return scores


def best_ease(splits: Splits, k: int) -> EASE:
    """Return the EASE with the regularisation of `EASE_L2` whose NDCG@k on validation is best."""
    candidates = (EASE(splits.train, l2=l2) for l2 in EASE_L2)
    return max(candidates, key=lambda ease: evaluate(ease, splits.validation, k=k).ndcg.mean())
