"""Two recommenders without training, to stand beside every claim: popularity and EASE."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfrs_distill.data.windows import Windows
from tfrs_distill.evaluation import Scorer, top_k_unseen


def user_item_matrix(train: Windows) -> np.ndarray:
    """Who met what in training: float32 0/1 [num_users seen in training, num_items + 1]."""
    _, rows = np.unique(train.users, return_inverse=True)
    matrix = np.zeros((rows.max() + 1, train.catalogue.num_items + 1), np.float32)
    for items in (train.history, train.labels):
        matrix[np.broadcast_to(rows[:, None], items.shape), items] = 1.0
    matrix[:, 0] = 0.0
    return matrix


def popularity(train: Windows) -> Scorer:
    """Recommends what most users met in training, the same to everyone."""
    counts = user_item_matrix(train).sum(axis=0)

    def score(histories: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        return top_k_unseen(np.tile(counts, (len(histories), 1)), histories, k)

    return score


class EASE:
    """Item-item weights in closed form.

    With X the 0/1 user-item matrix, `P = (X'X + l2 I)^-1` and `B_ij = -P_ij / P_jj` off the
    diagonal, 0 on it; an item's score is the sum of its weights from the history's items.

    Reference: [Steck, 2019](https://arxiv.org/abs/1905.03375).

    Args:
        train: training windows.
        l2: regularisation, above 0.
    """

    def __init__(self, train: Windows, *, l2: float = 300.0) -> None:
        if not l2 > 0:
            raise ValueError(f"`l2` must be greater than 0. Received: l2={l2!r}.")
        self.l2 = l2
        matrix = user_item_matrix(train)
        gram = (matrix.T @ matrix).astype(np.float64)
        precision = np.linalg.inv(gram + l2 * np.eye(len(gram)))
        weights = -precision / np.diag(precision)
        np.fill_diagonal(weights, 0.0)
        self.weights = weights.astype(np.float32)

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
