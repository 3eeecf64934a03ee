"""The best items of a query, with and without those it has met, in blocks of bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.row_blocks import row_blocks

ScoreItems = Callable[[Sequence[np.ndarray]], np.ndarray]


def top_k_unseen(
    scores: np.ndarray, histories: Sequence[np.ndarray], k: int, *, exclude_seen: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k best items that are not in the history; equal scores keep catalogue order.

    Args:
        scores: float [num_queries, num_items + 1]; column i is item index i, column 0 is ignored.
        histories: one array of item indices a query.
        k: items a query.
        exclude_seen: False leaves the history's items in, see `Catalogue.exclude_seen`.

    Returns:
        Scores float32 and item indices int32, both [num_queries, k], best first; -inf and 0 where
        no item is left.

    Example:
    >>> scores, items = top_k_unseen(np.array([[0.0, 3.0, 2.0, 1.0]]), [np.array([1])], k=3)
    >>> items.tolist()
    [[2, 3, 0]]
    """
    best = np.full((len(scores), k), -np.inf, np.float32)
    items = np.full((len(scores), k), columns.PADDING, np.int32)
    k_there = min(k, scores.shape[1])
    for rows in row_blocks(*scores.shape):
        block = np.array(scores[rows], np.float32)
        block[:, columns.PADDING] = -np.inf
        if exclude_seen:
            for row, history in zip(block, histories[rows]):
                row[history] = -np.inf
        with tf.device("CPU"):  # of equal ones `top_k` gives the first
            best[rows, :k_there], items[rows, :k_there] = tf.math.top_k(block, k_there)
    items[np.isneginf(best)] = columns.PADDING
    return best, items


def top_k_by_blocks(
    score: ScoreItems,
    histories: Sequence[np.ndarray],
    k: int,
    num_items: int,
    *,
    exclude_seen: bool,
    at_most: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return `top_k_unseen` of scores that are only computed for a block of queries at a time.

    `score(histories)` gives float [len(histories), num_items + 1]. A block has `at_most` so many
    queries, beside the bound on its memory.
    """
    best = np.full((len(histories), k), -np.inf, np.float32)
    items = np.full((len(histories), k), columns.PADDING, np.int32)
    for rows in row_blocks(len(histories), num_items + 1, at_most):
        some = histories[rows]
        best[rows], items[rows] = top_k_unseen(score(some), some, k, exclude_seen=exclude_seen)
    return best, items
