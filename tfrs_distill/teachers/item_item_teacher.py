"""A strong, cheap collaborative teacher: item-item weights in closed form (EASE)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.row_blocks import row_blocks
from tfrs_distill.data.windows import Windows
from tfrs_distill.models.rows import seen_items
from tfrs_distill.teachers.bert.text_pairs import row_histories


class ItemItemTeacher:
    """Scores an item by its weights from the items of the row's history.

    `logit_i = sum over the history's distinct items j of B_ji`, with B the weights of EASE: the
    ridge regression of each item on all others. A row's history is its window up to its position.
    Nothing is excluded: items of the history get a logit like all others. With `decay` the latest
    items count most: `logit_i = sum_j exp(-age_j / decay) B_ji`, where `age_j` is how many items
    come after the last j.

    The scores are regression targets between about 0 and 1, not log-probabilities, and a softmax of
    them is almost flat: wrap the teacher in `Calibrated` with the temperature that
    `fit_temperature` finds on windows of users it has not seen. It has
    seen the labels of the windows it was made from; `cross_fit` has it label others only.

    Reference: [Steck, 2019](https://arxiv.org/abs/1905.03375).

    Args:
        windows: training windows.
        l2: regularisation, above 0.
        decay: in items, above 0; None counts all items of a history alike.

    Raises:
        ValueError: `l2` or `decay` is not above 0.

    Example:
    >>> from tfrs_distill.data import Catalogue
    >>> catalogue = Catalogue(("a", "b", "c"), ("A", "B", "C"), ("A", "B", "C"))
    >>> history, labels = np.array([[0, 1]], np.int32), np.array([[0, 2]], np.int32)
    >>> windows = Windows(catalogue, np.array([0]), history, labels)
    >>> teacher = ItemItemTeacher(windows, l2=1.0)  # of 1, item 2 is regressed by 1 / (1 + l2)
    >>> batch = next(iter(windows.batches(1)))
    >>> teacher.logits(batch, tf.constant([1, 2, 3])).numpy().tolist()
    [[0.0, 0.5, 0.0]]
    """

    def __init__(self, windows: Windows, *, l2: float = 300.0, decay: float | None = None) -> None:
        check_decay(decay)
        self.l2, self.decay = l2, decay
        self.weights = item_item_weights(windows, l2)
        self.num_items = len(self.weights) - 1
        self._weights = tf.constant(self.weights)

    @property
    def num_parameters(self) -> int:
        """Item-item weights, padding not counted."""
        return self.num_items**2

    def logits(self, batch: dict[str, tf.Tensor], candidate_ids: tf.Tensor) -> tf.Tensor:
        """Scores at the batch's rows, float32 [num_rows, num_candidates]."""
        if self.decay is None:
            met = tf.cast(seen_items(batch, self.num_items), tf.float32)
        else:
            met = self._decayed(row_histories(batch), self.decay)
        return tf.matmul(met, tf.gather(self._weights, candidate_ids, axis=1))

    def fingerprint(self) -> str:
        """sha256 of the weights."""
        decay = "" if self.decay is None else f" {self.decay!r}"
        digest = hashlib.sha256(f"item-item {self.weights.shape}{decay}".encode())
        digest.update(np.ascontiguousarray(self.weights).tobytes())
        return digest.hexdigest()

    def _decayed(self, histories: tf.Tensor, decay: float) -> tf.Tensor:
        """How much each item counts for each row, float32 [num_rows, num_items + 1]."""
        there = histories > columns.PADDING
        later = tf.cumsum(tf.cast(there, tf.float32), axis=1, exclusive=True, reverse=True)
        counts = tf.where(there, tf.exp(-later / decay), 0.0)
        num_rows = tf.shape(histories)[0]
        rows = tf.broadcast_to(tf.range(num_rows)[:, None], tf.shape(histories))
        none = tf.zeros([num_rows, self.num_items + 1])
        return tf.tensor_scatter_nd_max(none, tf.stack([rows, histories], axis=-1), counts)


def check_decay(decay: float | None) -> None:
    """Raise a `ValueError` where a history's decay is not above 0."""
    if decay is not None and not 0 < decay < math.inf:
        raise ValueError(f"`decay` must be finite and above 0, or None. Received: {decay!r}.")


def user_item_blocks(train: Windows) -> Iterator[np.ndarray]:
    """Who met what in training, some users at a time: float32 0/1 [num_users, num_items + 1].

    All blocks together have a row for each user of the windows, in the order of their indices.
    """
    users, rows = np.unique(train.users, return_inverse=True)
    windows = np.argsort(rows, kind="stable")
    starts = np.searchsorted(rows[windows], np.arange(len(users) + 1))
    width = train.catalogue.num_items + 1
    for block in row_blocks(len(users), width):
        some = windows[starts[block.start] : starts[block.stop]]
        matrix = np.zeros((block.stop - block.start, width), np.float32)
        for items in (train.history[some], train.labels[some]):
            matrix[np.broadcast_to(rows[some, None] - block.start, items.shape), items] = 1.0
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
