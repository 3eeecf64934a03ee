"""Popularity of recommended items: novelty, and popularity bias.

Every function takes `item_ids` int [num_queries, k] as in `recommended_lists.py`, and `counts` int
[num_items + 1]: the number of training users of each item (see `popularity_counts`). Empty slots
are ignored; a list without items has NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfrs_distill import columns
from tfrs_distill.evaluation.metrics.metric import Metric


def novelty(item_ids: np.ndarray, counts: np.ndarray, num_users: int) -> np.ndarray:
    """Compute the mean self-information of a query's items, in bits, one value per query.

    `novelty = mean_i -log2(max(counts_i, 1) / num_users)`: 1 bit for an item that half of the users
    interacted with. A cold-start item counts as if it had one user.

    Reference: mean self-information, [Vargas and Castells,
    2011](https://doi.org/10.1145/2043932.2043955).

    Example:
    >>> novelty(np.array([[1, 2], [2, 0]]), np.array([0, 8, 2]), num_users=8).tolist()
    [1.0, 2.0]
    """
    return _mean_of_items(-np.log2(np.maximum(counts, 1) / num_users), item_ids)


def recommended_popularity(item_ids: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Compute how many training users met a query's items on average, one value a query.

    Its mean over the queries is the average recommendation popularity (ARP).

    Reference: [Abdollahpouri et al., 2019](https://arxiv.org/abs/1901.07555), equation 4.

    Example:
    >>> recommended_popularity(np.array([[1, 2], [2, 0]]), np.array([0, 8, 2])).tolist()
    [5.0, 2.0]
    """
    return _mean_of_items(counts, item_ids)


def popularity_lift(
    item_ids: np.ndarray, histories: Sequence[np.ndarray], counts: np.ndarray
) -> float:
    """Compute how much more popular recommendations are than the items of the histories.

    `lift = mean_q popularity(list_q) / mean_q popularity(history_q) -
    1`, where popularity is the mean of `counts` over the items: 0 if recommendations are as popular
    as the histories, 1 if they are twice as popular. Queries without a history or a list are
    skipped.

    Reference: the change of the group average popularity, [Abdollahpouri et al.,
    2019](https://arxiv.org/abs/1907.13286), section 4.

    Example:
    >>> popularity_lift(np.array([[1]]), [np.array([1, 2])], np.array([0, 9, 3]))
    0.5
    """
    lists = recommended_popularity(item_ids, counts)
    met = np.array([counts[items].mean() if len(items) else np.nan for items in histories])
    both = ~np.isnan(lists) & ~np.isnan(met)
    of_histories = met[both].sum()
    return float(lists[both].sum() / of_histories - 1) if of_histories else float("nan")


def _mean_of_items(values: np.ndarray, item_ids: np.ndarray) -> np.ndarray:
    """Return the mean of `values` over a query's items, float64 [num_queries]; NaN if none."""
    filled = item_ids != columns.PADDING
    number = filled.sum(axis=1)
    total = np.where(filled, values[item_ids], 0.0).sum(axis=1)
    found = np.full(len(item_ids), np.nan)
    np.divide(total, number, out=found, where=number > 0)
    return found


NOVELTY = Metric("novelty", "Novelty", note="mean self-information, in bits")
POPULARITY = Metric(
    "popularity",
    "Popularity",
    lower_is_better=True,
    note="mean number of training users of a recommended item",
)
POPULARITY_LIFT = Metric(
    "popularity_lift",
    "Popularity lift",
    lower_is_better=True,
    is_share=True,
    note="how much more popular recommendations are than the histories",
)
