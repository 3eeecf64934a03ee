"""Metrics of recommended lists: arrays in, floats out.

Every function takes `item_ids` int [num_queries, k] (recommended item indices, best first, 0 in
empty slots) and, where it judges them, `positives`: one array of relevant item indices a query.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfrs_distill import columns
from tfrs_distill.evaluation.metrics.metric import Metric


def hits(item_ids: np.ndarray, positives: Sequence[np.ndarray]) -> np.ndarray:
    """Return which recommendations are relevant, duplicates once: bool [num_queries, k]."""
    order = np.argsort(item_ids, axis=1, kind="stable")
    ordered = np.take_along_axis(item_ids, order, axis=1)
    again = np.zeros(item_ids.shape, bool)
    np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    found = [np.isin(row, relevant) for row, relevant in zip(item_ids, positives, strict=True)]
    return np.array(found, bool).reshape(item_ids.shape) & (item_ids != columns.PADDING) & ~again


def ndcg(item_ids: np.ndarray, positives: Sequence[np.ndarray]) -> np.ndarray:
    """Compute the normalised discounted cumulative gain with binary relevance, one value a query.

    `NDCG@k = sum_{r <= k} hit_r / log2(r + 1) / sum_{r <= min(k, num_positives)} 1 / log2(r + 1)`.

    Example:
    >>> ndcg(np.array([[4, 9]]), [np.array([4])]).tolist()
    [1.0]
    """
    k = item_ids.shape[1]
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discounts)[[min(k, len(np.unique(p))) - 1 for p in positives]]
    return hits(item_ids, positives) @ discounts / ideal


def recall(item_ids: np.ndarray, positives: Sequence[np.ndarray]) -> np.ndarray:
    """Compute the share of a query's relevant items among its k, one value a query."""
    return hits(item_ids, positives).sum(axis=1) / np.array([len(np.unique(p)) for p in positives])


def reciprocal_rank(item_ids: np.ndarray, positives: Sequence[np.ndarray]) -> np.ndarray:
    """Compute 1 / rank of the first relevant item, 0 without any, one value a query."""
    found = hits(item_ids, positives)
    return np.where(found.any(axis=1), 1.0 / (found.argmax(axis=1) + 1), 0.0)


def hit_rate(item_ids: np.ndarray, positives: Sequence[np.ndarray]) -> np.ndarray:
    """Return 1 where at least one of the k is relevant, else 0, one value a query."""
    return hits(item_ids, positives).any(axis=1).astype(float)


def coverage(item_ids: np.ndarray, num_items: int) -> float:
    """Compute the share of the catalogue that is recommended to anybody."""
    return len(np.setdiff1d(item_ids, [columns.PADDING])) / num_items


def overlap(item_ids: np.ndarray, other_item_ids: np.ndarray) -> np.ndarray:
    """Compute the share of a query's k that another scorer recommends too, one value a query.

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
COVERAGE = Metric("coverage", "Coverage", is_share=True)
OVERLAP = Metric(
    "overlap",
    "Overlap",
    is_share=True,
    note="the share of the teacher's recommendations that the model gives too",
)
