"""The top items of a query, with or without seen ones, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfrs_distill import columns
from tfrs_distill.data.row_blocks import row_blocks
from tfrs_distill.data.splits import Queries

GROUP = 16  # columns that are represented by their maximum


def top_k_unseen(
    scores: np.ndarray, histories: Sequence[np.ndarray], k: int, *, exclude_seen: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Return the top k items that are not in the history; ties keep catalogue order.

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
    for rows in row_blocks(*scores.shape):
        block = np.array(scores[rows], np.float32)
        block[:, columns.PADDING] = -np.inf
        if exclude_seen:
            for row, history in zip(block, histories[rows]):
                row[history] = -np.inf
        _fill_best(block, best[rows], items[rows])
    return best, items


def _fill_best(scores: np.ndarray, best: np.ndarray, items: np.ndarray) -> None:
    """Write each row's best scores and their columns; ties keep column order; -inf is skipped.

    The columns are divided into more than k groups. The k-th largest group maximum is at most the
    k-th best score, so only the few scores that reach it have to be sorted.
    """
    k = best.shape[1]
    least = np.full(len(scores), np.finfo(np.float32).min)
    num_groups = scores.shape[1] // GROUP
    if num_groups > k:
        groups = scores[:, : GROUP * num_groups].reshape(len(scores), GROUP, num_groups)
        maxima = np.partition(groups.max(axis=1), num_groups - k, axis=1)
        least = np.maximum(least, maxima[:, num_groups - k])
    reach = scores >= least[:, None]
    if np.count_nonzero(reach) > reach.size // (4 * GROUP):  # many ties, or k is large
        for row, reaching, best_of_row, items_of_row in zip(scores, reach, best, items):
            found = np.flatnonzero(reaching)
            found = found[np.argsort(-row[found], kind="stable")[:k]]
            best_of_row[: len(found)], items_of_row[: len(found)] = row[found], found
        return
    # `nonzero` of two axes is ten times slower.
    rows, found = np.divmod(np.flatnonzero(reach), scores.shape[1])
    values = scores[rows, found]
    order = np.lexsort((-values, rows))  # stable: equal ones stay in the columns' order
    rows, found, values = rows[order], found[order], values[order]
    ranks = np.arange(len(rows)) - np.searchsorted(rows, np.arange(len(scores)))[rows]
    kept = ranks < k
    best[rows[kept], ranks[kept]] = values[kept]
    items[rows[kept], ranks[kept]] = found[kept]


class BlockScorer:
    """A scorer that computes the scores of all items for a block of queries at a time.

    A subclass has `exclude_seen`, `num_items` and `_score_items`, which returns the scores of every
    item after given histories, float32 [num_queries, num_items + 1]. With `reads_attributes` it
    also gets the user attributes.
    """

    _score_items: Callable[..., np.ndarray]
    reads_attributes: bool = False
    exclude_seen: bool  # whether the history's items are excluded
    num_items: int
    batch_size: int | None = None  # queries per block, besides the memory limit

    def __call__(
        self, histories: Sequence[np.ndarray], k: int, *attributes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Recommend `k` items after each history (see `evaluation.Scorer`)."""
        best = np.full((len(histories), k), -np.inf, np.float32)
        items = np.full((len(histories), k), columns.PADDING, np.int32)
        for rows in row_blocks(len(histories), self.num_items + 1, self.batch_size):
            best[rows], items[rows] = top_k_unseen(
                self._score_items(histories[rows], *(known[rows] for known in attributes)),
                histories[rows],
                k,
                exclude_seen=self.exclude_seen,
            )
        return best, items


def all_scores(scorer: BlockScorer, queries: Queries) -> np.ndarray:
    """Return the scores of every item, also seen ones, float32 [num_queries, num_items + 1]."""
    blocks = row_blocks(len(queries), scorer.num_items + 1, scorer.batch_size)
    attributes = attributes_for(scorer, queries)
    return np.concatenate(
        [
            scorer._score_items(queries.histories[rows], *(known[rows] for known in attributes))
            for rows in blocks
        ]
    )


def attributes_for(scorer: Any, queries: Queries) -> tuple[np.ndarray, ...]:
    """Return a scorer's further arguments: the user attributes, if it reads them."""
    known = queries.user_attributes
    return (known,) if known is not None and getattr(scorer, "reads_attributes", False) else ()
