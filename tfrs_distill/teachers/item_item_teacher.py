"""Closed-form item-item weights: accurate and cheap collaborative teachers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.row_blocks import row_blocks
from tfrs_distill.data.windows import Windows
from tfrs_distill.models.rows import rows_of
from tfrs_distill.teachers.history_teacher import (
    HistoryTeacher,
    check_decay,
    check_l2,
    recency,
    recency_at_positions,
)


class ItemItemTeacher(HistoryTeacher):
    """Closed-form item-item teacher (EASE): an item's score is the sum of its weights.

    `logit_i = sum over the history's distinct items j of B_ji`, with B the weights of EASE: the
    ridge regression of each item on all others. A row's history is its window up to its position.
    The user-item matrix is 0/1: the size of the windows' `weights` is ignored, because in a
    regression solved for all items at once a user's row would have one weight for all items. A
    dislike (a label with a weight below 0) is 0, like no interaction. No items are excluded: items
    of the history have logits too. With `decay` recent items have more weight:
    `logit_i = sum_j exp(-age_j / decay) B_ji`, where `age_j` is the number of items after the last
    j.

    The scores are regression targets between about 0 and 1, not log-probabilities, and their
    softmax is almost uniform: wrap the teacher in `Calibrated` with the temperature that
    `fit_temperature` finds on windows of other users. The teacher was fitted on the labels of its
    windows; use `cross_fit` to label windows with a teacher that was not fitted on them.

    Reference: [Steck, 2019](https://arxiv.org/abs/1905.03375).

    Args:
        windows: training windows.
        l2: regularisation, above 0.
        decay: in number of items, above 0; None for equal weights.

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
        super().__init__(windows.catalogue.num_items, {"l2": l2, "decay": decay})
        self.weights = self._fit(windows, l2, decay)
        self._weights = tf.constant(self.weights)

    def _fit(self, windows: Windows, l2: float, decay: float | None) -> np.ndarray:
        """Return the weights, float32 [num_items + 1, num_items + 1]."""
        return item_item_weights(windows, l2)

    @property
    def num_parameters(self) -> int:
        """Number of item-item weights, without padding."""
        return self.num_items**2

    def logits(self, batch: dict[str, tf.Tensor], candidate_ids: tf.Tensor) -> tf.Tensor:
        """Scores at the batch's rows, float32 [num_rows, num_candidates].

        A window has few items: their rows of the weights are read once for all its positions.
        """
        history = tf.cast(batch[columns.HISTORY], tf.int32)
        of_items = tf.gather(tf.gather(self._weights, history), candidate_ids, axis=2)
        scores = tf.matmul(recency_at_positions(history, self.decay), of_items)
        return rows_of(scores, batch)

    def logits_after(self, histories: tf.Tensor, candidate_ids: tf.Tensor) -> tf.Tensor:
        """Scores after each history, float32 [num_rows, num_candidates]."""
        weights = tf.gather(self._weights, candidate_ids, axis=1)
        return tf.matmul(self._latest(histories), weights)

    def fingerprint(self) -> str:
        """sha256 of the weights and the decay."""
        decay = "" if self.decay is None else f" {self.decay!r}"
        digest = hashlib.sha256(f"item-item {self.weights.shape}{decay}".encode())
        digest.update(np.ascontiguousarray(self.weights).tobytes())
        return digest.hexdigest()

    def _latest(self, histories: tf.Tensor) -> tf.Tensor:
        """Return the weight of each item for each row, float32 [num_rows, num_items + 1].

        For repeated interactions the last one counts.
        """
        # Computed by sums and broadcasts: XLA needs shapes that are known at compile time.
        rows = tf.cumsum(tf.ones_like(histories[:, :1]), axis=0) - 1 + tf.zeros_like(histories)
        counts = recency(histories, self.decay)
        none = tf.zeros_like(counts[:, :1]) + tf.zeros([1, self.num_items + 1])
        return tf.tensor_scatter_nd_max(none, tf.stack([rows, histories], axis=-1), counts)


class NextItemRidgeTeacher(ItemItemTeacher):
    """Ridge regression of the next item on the time-decayed history.

    For every labelled position of the windows, with the history's items j and the label y, x_j is
    `exp(-age_j / decay)` (`age_j` is the number of items after the last j) and the target is 1 for
    y, 0 for all others. `W = (X'VX + l2 I)^-1 X'VY` minimises
    `sum_r v_r |x_r W - y_r|^2 + l2 |W|^2`, where v_r is the label's weight (1 if the windows have
    no `weights`) and V has them on its diagonal; `logit_i = sum_j x_j W_ji`. A label with a weight
    -v, a dislike, has the weight v and the target 0, as all other items. `ItemItemTeacher` models
    which items have the same users; this teacher models which items come next, from the order of
    the history.

    For calibration and cross-fitting see `ItemItemTeacher`.

    Args:
        windows: training windows.
        l2: regularisation, above 0.
        decay: in number of items, above 0; None for equal weights.

    Raises:
        ValueError: `l2` or `decay` is not above 0.

    Example:
    >>> from tfrs_distill.data import Catalogue
    >>> catalogue = Catalogue(("a", "b", "c"), ("A", "B", "C"), ("A", "B", "C"))
    >>> history, labels = np.array([[0, 1]], np.int32), np.array([[0, 2]], np.int32)
    >>> windows = Windows(catalogue, np.array([0]), history, labels)
    >>> teacher = NextItemRidgeTeacher(windows, l2=1.0)  # 2 follows 1, and nothing 2: 1 / (1 + l2)
    >>> teacher.logits_after(tf.constant([[1], [2]]), tf.constant([1, 2, 3])).numpy().tolist()
    [[0.0, 0.5, 0.0], [0.0, 0.0, 0.0]]
    """

    def __init__(self, windows: Windows, *, l2: float = 3000.0, decay: float | None = 16.0) -> None:
        super().__init__(windows, l2=l2, decay=decay)

    def _fit(self, windows: Windows, l2: float, decay: float | None) -> np.ndarray:
        return next_item_weights(windows, l2, decay)


def user_item_blocks(train: Windows, *, weighted: bool = False) -> Iterator[np.ndarray]:
    """Yield blocks of the training user-item matrix: float32 0/1 [num_users, num_items + 1].

    All blocks together have one row for each user of the windows, in the order of their indices. If
    `weighted`, the entry of an interaction is its label's weight instead of 1 (the largest of
    several); a sequence's first item, which is not a label, has 1. An item that is a label only
    with weights below 0 has 0.
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
        if train.weights is not None:
            labels, weights = train.labels[some], train.weights[some]
            owners = np.broadcast_to(rows[some, None] - block.start, labels.shape)
            matrix[owners, labels] = 0.0
            if not weighted:
                weights = np.sign(weights)
            np.maximum.at(matrix, (owners, labels), weights)
        matrix[:, columns.PADDING] = 0.0
        yield matrix


def item_item_weights(train: Windows, l2: float) -> np.ndarray:
    """Compute the weights of EASE, float32 [num_items + 1, num_items + 1].

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
    check_l2(l2)
    width = train.catalogue.num_items + 1
    gram = np.zeros((width, width))
    for matrix in user_item_blocks(train):
        gram += matrix.T @ matrix
    np.fill_diagonal(gram, gram.diagonal() + l2)
    precision = np.linalg.inv(gram)
    weights = -precision / np.diag(precision)
    np.fill_diagonal(weights, 0.0)
    return weights.astype(np.float32)


def next_item_weights(train: Windows, l2: float, decay: float | None) -> np.ndarray:
    """The ridge regression of `NextItemRidgeTeacher`, float32 [num_items + 1, num_items + 1].

    Row and column 0, padding, are 0. X itself, with one row per labelled position, is never built:
    a window has few items, and its positions change only the entries of X'X and X'Y for pairs of
    them. Computed in float64; memory and time grow with the square and the cube of the number of
    items.

    Args:
        train: training windows.
        l2: regularisation, above 0.
        decay: in number of items, above 0; None for equal weights.

    Raises:
        ValueError: `l2` is not above 0.
    """
    check_l2(l2)
    width = train.catalogue.num_items + 1
    gram, cross = np.zeros((width, width)), np.zeros((width, width))
    for rows in row_blocks(len(train), train.max_history**2):
        items, labels = train.history[rows].astype(np.int64), train.labels[rows].astype(np.int64)
        past = recency_at_positions(
            tf.constant(items), decay, tf.float64
        ).numpy()  # [window, position, place]
        past *= (labels > columns.PADDING)[:, :, None]
        weighted = liked = past
        if train.weights is not None:
            weights = train.weights[rows][:, :, None]
            weighted, liked = past * np.abs(weights), past * np.maximum(weights, 0.0)
        pairs = items[:, :, None] * width + items[:, None, :]
        np.add.at(gram.reshape(-1), pairs, past.transpose(0, 2, 1) @ weighted)
        pairs = items[:, None, :] * width + labels[:, :, None]
        np.add.at(cross.reshape(-1), pairs, liked)
    np.fill_diagonal(gram, gram.diagonal() + l2)
    return np.linalg.solve(gram, cross).astype(np.float32)
