"""Agreement of the recommendations of several models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfrs_distill import columns
from tfrs_distill.evaluation import metrics


def overlap_matrix(lists: Sequence[np.ndarray]) -> list[list[float]]:
    """Return the mean share of a query's k recommendations that each two models have in common.

    `lists` are int [num_queries, k] of each model, of the same queries in the same order.
    """
    return [[float(metrics.overlap(one, other).mean()) for other in lists] for one in lists]


def rank_correlation_matrix(ranks: Sequence[np.ndarray]) -> list[list[float | None]]:
    """Return Spearman's rank correlation of each two models, averaged over the queries.

    `ranks` are the `centred_ranks` of each model, of the same queries in the same order. None
    stands where a model never prefers an item.
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
    """Return every item's rank less the mean rank, by query; what is excluded has 0.

    Items of equal score share their mean rank, and so do the items that a list leaves out.

    Args:
        scores: float [num_queries, k], best first; what a `Scorer` gives for k = `num_items`.
        item_ids: int [num_queries, k], 0 in empty slots.
        excluded: the item indices that do not count, one array a query: its history.
        num_items: items of the catalogue.

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
