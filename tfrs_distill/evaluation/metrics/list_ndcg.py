"""NDCG of given candidate lists."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfrs_distill.errors import InputError
from tfrs_distill.evaluation.metrics.area_under_curve import OverGroups
from tfrs_distill.evaluation.metrics.metric import Metric
from tfrs_distill.evaluation.metrics.rows import as_number, checked_rows, ratio

PLACES = 10  # of the metric of a binary task


def list_ndcg(
    labels: Any, scores: Any, lists: Any, *, k: int = 10, weights: Any = None
) -> OverGroups:
    """Compute the NDCG (normalised discounted cumulative gain) at k, averaged over lists.

    `NDCG@k = sum_{r <= k} gain_r / log2(r + 1)` divided by the same sum for the best order; the
    gain is the label itself (relevance, at least 0). Candidates with equal scores share their mean
    gain, as in scikit-learn, so a constant score has the expected NDCG of a random order. Lists
    whose labels are all equal are skipped. (`ndcg` is for lists recommended from a whole
    catalogue.)

    Reference: ties, [McSherry and Najork, 2008](https://doi.org/10.1007/978-3-540-78646-7_38).

    Args:
        labels: relevance, [num_rows].
        scores: any real numbers, [num_rows].
        lists: the list of each row, [num_rows].
        k: number of positions.
        weights: [num_rows]; the weight of a list is the mean of its rows' weights. With
            [num_resamples, num_rows], as in `cluster_bootstrap`, the value is an array.

    Raises:
        InputError: a label is negative, no list has different labels, or the rows are invalid.

    Example:
    >>> list_ndcg([0, 1, 1, 1], [0.9, 0.4, 0.3, 0.3], ["a", "a", "b", "b"], k=10)
    OverGroups(value=0.6309297535714575, num_groups=1, num_skipped=1)
    """
    rows = checked_rows(labels, scores, weights)
    if rows.labels.min() < 0:
        raise InputError(f"NDCG labels must be at least 0. Received: {rows.labels.min()}.")
    if not k >= 1:
        raise ValueError(f"`k` must be at least 1. Received: k={k!r}.")
    _, group = np.unique(np.asarray(lists), return_inverse=True)
    gains = _gain_sums(rows.labels, rows.predictions, group, k)
    ideal = _gain_sums(rows.labels, rows.labels, group, k)
    sizes = np.bincount(group)
    least, most = np.full(len(sizes), np.inf), np.full(len(sizes), -np.inf)
    np.minimum.at(least, group, rows.labels)
    np.maximum.at(most, group, rows.labels)
    differ = most > least
    if not differ.any():
        raise InputError(
            "NDCG needs a list with different labels. Received: "
            f"{len(sizes)} lists, each with equal labels."
        )
    each = np.where(differ, ratio(gains, ideal), 0.0)
    shares = differ[group] / sizes[group]  # a row's part in its list's weight
    value = ratio(rows.weights @ (shares * each[group]), rows.weights @ shares)
    return OverGroups(as_number(value), int(differ.sum()), int((~differ).sum()))


def _gain_sums(gains: np.ndarray, scores: np.ndarray, group: np.ndarray, k: int) -> np.ndarray:
    """Compute each list's discounted gains in the order of the scores, [num_lists]."""
    order = np.lexsort((-scores, group))
    groups, scores, gains = group[order], scores[order], gains[order]
    starts = np.searchsorted(groups, np.arange(groups[-1] + 1))
    places = np.arange(len(groups)) - starts[groups]
    discounts = np.where(places < k, 1 / np.log2(places + 2), 0.0)
    new_block = (np.diff(groups, prepend=-1) != 0) | (np.diff(scores, prepend=np.nan) != 0)
    block = np.cumsum(new_block) - 1
    shared = np.bincount(block, gains) / np.bincount(block)
    return np.bincount(groups, discounts * shared[block])


NDCG_OF_LISTS = Metric(
    f"ndcg@{PLACES}",
    f"NDCG@{PLACES}",
    compute=lambda rows, weights: (
        list_ndcg(rows.labels, rows.predictions, rows.users, k=PLACES, weights=weights).value
        if rows.is_binary and rows.users_differ
        else None
    ),
)
