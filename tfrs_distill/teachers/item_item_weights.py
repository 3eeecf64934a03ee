"""Item-item weights in closed form, from who met what: what EASE recommends by."""

from __future__ import annotations

import numpy as np

from tfrs_distill import columns
from tfrs_distill.data.windows import Windows


def user_item_matrix(train: Windows) -> np.ndarray:
    """Who met what in training: float32 0/1 [num_users seen in training, num_items + 1]."""
    _, rows = np.unique(train.users, return_inverse=True)
    matrix = np.zeros((rows.max() + 1, train.catalogue.num_items + 1), np.float32)
    for items in (train.history, train.labels):
        matrix[np.broadcast_to(rows[:, None], items.shape), items] = 1.0
    matrix[:, columns.PADDING] = 0.0
    return matrix


def item_item_weights(train: Windows, l2: float) -> np.ndarray:
    """What each met item adds to each item's score, float32 [num_items + 1, num_items + 1].

    With X the 0/1 user-item matrix, `P = (X'X + l2 I)^-1` and `B_ij = -P_ij / P_jj` off the
    diagonal, 0 on it: column j is the ridge regression of item j on all others. Row and column 0,
    padding, are 0. Computed in float64; memory and time grow with the square and the cube of the
    number of items.

    Reference: [Steck, 2019](https://arxiv.org/abs/1905.03375).

    Args:
        train: training windows.
        l2: regularisation, above 0.

    Raises:
        ValueError: `l2` is not above 0.
    """
    if not l2 > 0:
        raise ValueError(f"`l2` must be greater than 0. Received: l2={l2!r}.")
    matrix = user_item_matrix(train)
    gram = (matrix.T @ matrix).astype(np.float64)
    precision = np.linalg.inv(gram + l2 * np.eye(len(gram)))
    weights = -precision / np.diag(precision)
    np.fill_diagonal(weights, 0.0)
    return weights.astype(np.float32)
