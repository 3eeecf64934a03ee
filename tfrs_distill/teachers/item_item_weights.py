"""Item-item weights in closed form, from who met what: what EASE recommends by."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tfrs_distill import columns
from tfrs_distill.data.row_blocks import row_blocks
from tfrs_distill.data.windows import Windows


def user_item_blocks(train: Windows) -> Iterator[np.ndarray]:
    """Who met what in training, some users at a time: float32 0/1 [num_users, num_items + 1].

    All blocks together have a row for each user of the windows, in the order of their indices.
    """
    users, rows = np.unique(train.users, return_inverse=True)
    windows = np.argsort(rows, kind="stable")
    starts = np.searchsorted(rows[windows], np.arange(len(users) + 1))
    width = train.catalogue.num_items + 1
    for block in row_blocks(len(users), width):
        own = windows[starts[block.start] : starts[block.stop]]
        matrix = np.zeros((block.stop - block.start, width), np.float32)
        for items in (train.history[own], train.labels[own]):
            matrix[np.broadcast_to(rows[own, None] - block.start, items.shape), items] = 1.0
        matrix[:, columns.PADDING] = 0.0
        yield matrix


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
    width = train.catalogue.num_items + 1
    gram = np.zeros((width, width))
    for matrix in user_item_blocks(train):
        gram += matrix.T @ matrix
    np.fill_diagonal(gram, gram.diagonal() + l2)
    precision = np.linalg.inv(gram)
    weights = -precision / np.diag(precision)
    np.fill_diagonal(weights, 0.0)
    return weights.astype(np.float32)
