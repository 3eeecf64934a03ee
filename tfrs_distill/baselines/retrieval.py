"""Two recommenders without training, to stand beside every claim: popularity and EASE."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfrs_distill.data.splits import Splits
from tfrs_distill.data.windows import Windows
from tfrs_distill.evaluation import Scorer, evaluate, top_k_unseen
from tfrs_distill.teachers.item_item_weights import item_item_weights, user_item_matrix

EASE_L2 = (100.0, 200.0, 500.0, 1000.0)  # tried by `best_ease`


def popularity(train: Windows) -> Scorer:
    """Recommends what most users met in training, the same to everyone."""
    counts = user_item_matrix(train).sum(axis=0)

    def score(histories: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        return top_k_unseen(np.tile(counts, (len(histories), 1)), histories, k)

    return score


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
        self.l2 = l2
        self.weights = item_item_weights(train, l2)

    @property
    def num_parameters(self) -> int:
        """Item-item weights, padding not counted."""
        return (len(self.weights) - 1) ** 2

    def __call__(self, histories: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Recommend `k` items after each history (see `evaluation.Scorer`)."""
        met = np.zeros((len(histories), len(self.weights)), np.float32)
        for row, history in enumerate(histories):
            met[row, history] = 1.0
        return top_k_unseen(met @ self.weights, histories, k)


def best_ease(splits: Splits, k: int) -> EASE:
    """EASE with the regularisation of `EASE_L2` whose NDCG@k on validation is best."""
    candidates = [EASE(splits.train, l2=l2) for l2 in EASE_L2]
    return max(candidates, key=lambda ease: evaluate(ease, splits.validation, k=k).ndcg.mean())
