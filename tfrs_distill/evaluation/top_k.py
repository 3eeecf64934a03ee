"""The best items of a query, with and without those of its history, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.row_blocks import row_blocks


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


class BlockScorer:
    """A scorer whose scores of all items are computed for a block of queries at a time.

    A subclass has `exclude_seen`, `num_items` and `_score_items`.
    """

    exclude_seen: bool  # whether the history's items are left out
    num_items: int
    batch_size: int | None = None  # queries of a block, beside the bound on its memory

    def _score_items(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Return the scores of every item, float32 [num_queries, num_items + 1]."""
        raise NotImplementedError

    def __call__(self, histories: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Recommend `k` items after each history (see `evaluation.Scorer`)."""
        best = np.full((len(histories), k), -np.inf, np.float32)
        items = np.full((len(histories), k), columns.PADDING, np.int32)
        for rows in row_blocks(len(histories), self.num_items + 1, self.batch_size):
            best[rows], items[rows] = top_k_unseen(
                self._score_items(histories[rows]),
                histories[rows],
                k,
                exclude_seen=self.exclude_seen,
            )
        return best, items
