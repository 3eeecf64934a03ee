"""Metrics of recommended lists: arrays in, floats out.

Every function takes `item_ids` int [num_queries, k] (recommended item indices, best first, 0 in
empty slots) and, if needed, `positives`: one array of relevant item indices per query.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfrs_distill import columns
from tfrs_distill.evaluation.metrics.metric import Metric


def _distinct_pairs(
    positives: Sequence[np.ndarray], item_ids: np.ndarray
) -> tuple[np.ndarray, int]:
    """Return every distinct pair of a query and one of its positives, ascending, and `size`.

    A pair is `query * size + item`, so that all queries can be looked up at once.
    """
    if len(positives) != len(item_ids):
        raise ValueError(
            "`positives` must have an array for each query. Received: "
            f"{len(positives)} arrays for {len(item_ids)} queries."
        )
    queries = np.repeat(np.arange(len(positives)), [len(items) for items in positives])
    items = np.concatenate([np.zeros(0, np.int64), *positives]).astype(np.int64)
    size = 1 + max(int(part.max(initial=0)) for part in (items, item_ids))
    pairs = np.sort(queries * size + items)
    return pairs[np.diff(pairs, prepend=-1) > 0], size


def _num_distinct(positives: Sequence[np.ndarray], item_ids: np.ndarray) -> np.ndarray:
    """Return the number of distinct positives of each query: int [num_queries]."""
    pairs, size = _distinct_pairs(positives, item_ids)
    return np.bincount(pairs // size, minlength=len(item_ids))


def hits(item_ids: np.ndarray, positives: Sequence[np.ndarray]) -> np.ndarray:
    """Return which recommendations are relevant, without duplicates: bool [num_queries, k]."""
    order = np.argsort(item_ids, axis=1, kind="stable")
    ordered = np.take_along_axis(item_ids, order, axis=1)
    again = np.zeros(item_ids.shape, bool)
    np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    relevant, size = _distinct_pairs(positives, item_ids)
    pairs = np.arange(len(item_ids))[:, None] * size + item_ids
    found = np.append(relevant, -1)[np.searchsorted(relevant, pairs)] == pairs
    return found & (item_ids != columns.PADDING) & ~again


def ndcg(item_ids: np.ndarray, positives: Sequence[np.ndarray]) -> np.ndarray:
    """Compute the normalised discounted cumulative gain with binary relevance, one value per query.

    `NDCG@k = sum_{r <= k} hit_r / log2(r + 1) / sum_{r <= min(k, num_positives)} 1 / log2(r + 1)`.

    Example:
    >>> ndcg(np.array([[4, 9]]), [np.array([4])]).tolist()
    [1.0]
    """
    k = item_ids.shape[1]
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discounts)[np.minimum(k, _num_distinct(positives, item_ids)) - 1]
    return hits(item_ids, positives) @ discounts / ideal


def recall(item_ids: np.ndarray, positives: Sequence[np.ndarray]) -> np.ndarray:
    """Compute the share of a query's relevant items that is in its top k, one value per query."""
    return hits(item_ids, positives).sum(axis=1) / _num_distinct(positives, item_ids)


def reciprocal_rank(item_ids: np.ndarray, positives: Sequence[np.ndarray]) -> np.ndarray:
    """Compute 1 / rank of the first relevant item, 0 without any, one value per query."""
    found = hits(item_ids, positives)
    return np.where(found.any(axis=1), 1.0 / (found.argmax(axis=1) + 1), 0.0)


def precision(item_ids: np.ndarray, positives: Sequence[np.ndarray]) -> np.ndarray:
    """Compute the share of k that is relevant, empty slots counted, one value per query."""
    return hits(item_ids, positives).mean(axis=1)


def average_precision(item_ids: np.ndarray, positives: Sequence[np.ndarray]) -> np.ndarray:
    """Compute the mean of the precision at the rank of each relevant item, one value per query.

    `AP@k = sum_{r <= k} hit_r * (hit_1 + ... + hit_r) / r / num_positives`; a relevant item that is
    not in the top k adds 0. The mean over queries is MAP.

    Example:
    >>> average_precision(np.array([[4, 9, 7]]), [np.array([4, 7])]).tolist()  # (1/1 + 2/3) / 2
    [0.8333333333333333]
    """
    found = hits(item_ids, positives)
    at_rank = found.cumsum(axis=1) / np.arange(1, found.shape[1] + 1)
    return (found * at_rank).sum(axis=1) / _num_distinct(positives, item_ids)


def hit_rate(item_ids: np.ndarray, positives: Sequence[np.ndarray]) -> np.ndarray:
    """Return 1 if at least one of the top k is relevant, else 0, one value per query."""
    return hits(item_ids, positives).any(axis=1).astype(float)


def coverage(item_ids: np.ndarray, num_items: int) -> float:
    """Compute the share of the catalogue that is recommended to at least one user."""
    return len(np.setdiff1d(item_ids, [columns.PADDING])) / num_items


def gini(item_ids: np.ndarray, num_items: int) -> float:
    """Compute the inequality of recommendation counts over the catalogue (Gini coefficient).

    With the number of times each item is recommended, ascending, `n_1 <= ... <= n_N`:
    `sum_i (2 i - N - 1) n_i / (N sum_i n_i)`. 0 if all items are recommended equally often, near 1
    if a few items get all recommendations.

    Example:
    >>> gini(np.array([[1, 2], [2, 1]]), 2), gini(np.array([[1], [1]]), 4)
    (0.0, 0.75)
    """
    given = item_ids[item_ids != columns.PADDING]
    counts = np.sort(np.bincount(given, minlength=num_items + 1)[1:])[-num_items:]
    places = 2 * np.arange(1, num_items + 1) - num_items - 1
    return float(places @ counts / (num_items * max(counts.sum(), 1)))


def overlap(item_ids: np.ndarray, other_item_ids: np.ndarray) -> np.ndarray:
    """Compute the share of a query's top k that is in another scorer's top k, one value per query.

    Example:
    >>> overlap(np.array([[1, 2, 3, 4]]), np.array([[4, 9, 8, 1]])).tolist()
    [0.5]
    """
    both = hits(item_ids, list(other_item_ids))
    return both.mean(axis=1)


NDCG = Metric("ndcg", "NDCG", compute=ndcg)
RECALL = Metric("recall", "Recall", compute=recall)
MRR = Metric("mrr", "MRR", compute=reciprocal_rank)
HIT_RATE = Metric("hit_rate", "Hit rate", compute=hit_rate)
MAP = Metric("map", "MAP", compute=average_precision)
LIST_PRECISION = Metric("precision", "Precision", compute=precision)
GINI = Metric("gini", "Gini", lower_is_better=True, note="0: all items are recommended alike")
COVERAGE = Metric("coverage", "Coverage", is_share=True)
OVERLAP = Metric(
    "overlap",
    "Overlap",
    is_share=True,
    note="the share of the teacher's recommendations that the model gives too",
)
