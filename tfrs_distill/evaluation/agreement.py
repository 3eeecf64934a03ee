"""Agreement of the recommendations of several models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfrs_distill import columns
from tfrs_distill.evaluation import metrics


def overlap_matrix(lists: Sequence[np.ndarray]) -> list[list[float]]:
    """Return the mean overlap of the top k of every two models.

    `lists` has int [num_queries, k] for each model, for the same queries in the same order.
    """
    return [[float(metrics.overlap(one, other).mean()) for other in lists] for one in lists]


def rank_correlation_matrix(ranks: Sequence[np.ndarray]) -> list[list[float | None]]:
    """Return Spearman's rank correlation of every two models, averaged over the queries.

    `ranks` has the `centred_ranks` of each model, for the same queries in the same order. An entry
    is None if a model scores all items equally.
    """
    matrix: list[list[float | None]] = []
    for one in ranks:
        row: list[float | None] = []
        for other in ranks:
            sizes = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
            ranked = sizes > 0
            products = (one * other).sum(axis=1)
            row.append(float((products[ranked] / sizes[ranked]).mean()) if ranked.any() else None)
        matrix.append(row)
    return matrix


def centred_ranks(
    scores: np.ndarray, item_ids: np.ndarray, excluded: Sequence[np.ndarray], num_items: int
) -> np.ndarray:
    """Return every item's rank minus the mean rank, by query; excluded items have 0.

    Items with equal scores share their mean rank, and so do items that are not in the list.

    Args:
        scores: float [num_queries, k], best first; the output of a `Scorer` for k = `num_items`.
        item_ids: int [num_queries, k], 0 in empty slots.
        excluded: the excluded item indices, one array per query: its history.
        num_items: number of items in the catalogue.

    Returns:
        float32 [num_queries, num_items + 1].

    Example:
    >>> centred_ranks(np.array([[5.0, 1.0, 1.0]]), np.array([[2, 3, 1]]), [np.array([])], 3)
    array([[ 0. ,  0.5, -1. ,  0.5]], dtype=float32)
    """
    ranks = np.zeros((len(item_ids), num_items + 1), np.float32)
    for row, others in enumerate(excluded):
        left_out = np.ones(num_items + 1, bool)
        left_out[np.append(others, columns.PADDING).astype(np.int64)] = False
        listed = left_out[item_ids[row]]
        items, of_items = item_ids[row][listed], scores[row][listed]
        left_out[items] = False
        order = np.concatenate([items, np.flatnonzero(left_out)])
        starts = np.ones(len(order), bool)
        starts[1 : len(items)] = of_items[1:] != of_items[:-1]
        starts[len(items) + 1 :] = False
        tied = np.cumsum(starts) - 1
        places = np.arange(len(order))
        mean_rank = np.bincount(tied, places) / np.maximum(np.bincount(tied), 1)
        ranks[row, order] = mean_rank[tied] - (len(order) - 1) / 2
    return ranks
