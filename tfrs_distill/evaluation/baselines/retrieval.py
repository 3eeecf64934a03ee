"""Two recommenders without training, to stand beside every claim: popularity and EASE."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfrs_distill.data.splits import Splits
from tfrs_distill.data.windows import Windows
from tfrs_distill.evaluation.retrieval import Scorer, evaluate
from tfrs_distill.evaluation.top_k import top_k_by_blocks
from tfrs_distill.teachers.item_item_teacher import item_item_weights, user_item_blocks

EASE_L2 = (100.0, 200.0, 500.0, 1000.0)  # tried by `best_ease`


def popularity(train: Windows) -> Scorer:
    """Recommends what most users met in training, the same to everyone."""
    counts = np.sum([matrix.sum(axis=0) for matrix in user_item_blocks(train)], axis=0)
    return _SameScores(counts, train.catalogue.exclude_seen)


class _SameScores:
    """A scorer that gives everyone the same scores, float32 [num_items + 1]."""

    def __init__(self, scores: np.ndarray, exclude_seen: bool) -> None:
        self.scores, self.exclude_seen = scores, exclude_seen

    def __call__(self, histories: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        width = len(self.scores)
        return top_k_by_blocks(
            lambda some: np.broadcast_to(self.scores, (len(some), width)),
            histories,
            k,
            width - 1,
            exclude_seen=self.exclude_seen,
        )


class EASE:
    """Item-item weights in closed form.

    With X the 0/1 user-item matrix, `P = (X'X + l2 I)^-1` and `B_ij = -P_ij / P_jj` off the
    diagonal, 0 on it; an item's score is the sum of its weights from the history's items. The same
    weights teach as `ItemItemTeacher`.

    Reference: [Steck, 2019](https://arxiv.org/abs/1905.03375).

    Args:
        train: training windows.
        l2: regularisation, above 0.
    """

    def __init__(self, train: Windows, *, l2: float = 300.0) -> None:
        self.l2, self.exclude_seen = l2, train.catalogue.exclude_seen
        self.weights = item_item_weights(train, l2)

    @property
    def num_parameters(self) -> int:
        """Item-item weights, padding not counted."""
        return (len(self.weights) - 1) ** 2

    def __call__(self, histories: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Recommend `k` items after each history (see `evaluation.Scorer`)."""
        return top_k_by_blocks(
            self._scores, histories, k, len(self.weights) - 1, exclude_seen=self.exclude_seen
        )

    def _scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Of every item, float32 [num_queries, num_items + 1]."""
        met = np.zeros((len(histories), len(self.weights)), np.float32)
        for row, history in zip(met, histories):
            row[history] = 1.0
        scores: np.ndarray = met @ self.weights
        return scores


def best_ease(splits: Splits, k: int) -> EASE:
    """EASE with the regularisation of `EASE_L2` whose NDCG@k on validation is best."""
    candidates = (EASE(splits.train, l2=l2) for l2 in EASE_L2)
    return max(candidates, key=lambda ease: evaluate(ease, splits.validation, k=k).ndcg.mean())
