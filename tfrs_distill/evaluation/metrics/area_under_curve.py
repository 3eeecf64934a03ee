"""Area under the ROC curve, over all rows and inside groups."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tfrs_distill.errors import InputError
from tfrs_distill.evaluation.metrics.metric import Metric
from tfrs_distill.evaluation.metrics.rows import Number, Rows, as_number, checked_rows, ratio


class OverGroups(NamedTuple):
    """A mean over groups of rows, such as users.

    Args:
        value: the mean; NaN if there is no group.
        num_groups: number of groups in the mean.
        num_skipped: number of groups that are skipped because all their labels are equal.
    """

    value: Number
    num_groups: int
    num_skipped: int


def auc(labels: Any, scores: Any, weights: Any = None) -> Number:
    """Return the area under the ROC curve, the chance that a positive row outscores a negative.

    `AUC = sum_{i positive, j negative} w_i w_j ([s_i > s_j] + [s_i = s_j] / 2) / (W_pos W_neg)`.

    Args:
        labels: 0 or 1, [num_rows].
        scores: any real numbers, [num_rows].
        weights: [num_rows]; with [num_resamples, num_rows], as `cluster_bootstrap` gives, the
            result is an array [num_resamples], NaN where a class is missing.

    Raises:
        InputError: all labels are equal (the message names the missing class); or the rows are
            invalid.

    Example:
    >>> auc([1, 0, 1, 0], [0.9, 0.8, 0.8, 0.1])
    0.875
    """
    rows = checked_rows(labels, scores, weights, binary=True)
    right, positive, negative = (
        part[..., 0] for part in _ordered_pairs(rows, np.zeros(len(rows.labels), np.int64))
    )
    if rows.weights.ndim == 1 and not positive * negative:
        missing, there = ("positive", 0) if not positive else ("negative", 1)
        raise InputError(
            f"AUC needs rows of both classes, and there is no {missing} one: all "
            f"{len(rows.labels)} labels are {there} (or the others have weight 0)."
        )
    return as_number(ratio(right, positive * negative))


def grouped_auc(labels: Any, scores: Any, groups: Any, weights: Any = None) -> OverGroups:
    """Return the AUC inside each group, averaged over groups weighted by their rows: the GAUC.

    `GAUC = sum_u n_u AUC_u / sum_u n_u` over the groups u with rows of both classes, where n_u is
    the number of a group's rows (or the sum of their weights). Differences between groups do not
    count.

    Reference: [Zhu et al., 2017](https://arxiv.org/abs/1703.02091), and as GAUC
    [Zhou et al., 2018](https://arxiv.org/abs/1706.06978).

    Args:
        labels: 0 or 1, [num_rows].
        scores: any real numbers, [num_rows].
        groups: the group of each row, such as its user, [num_rows].
        weights: as for `auc`.

    Raises:
        InputError: no group has rows of both classes, or rows that cannot be compared.

    Example:
    >>> grouped_auc([1, 0, 1, 0, 1], [0.9, 0.1, 0.2, 0.8, 0.5], ["a", "a", "b", "b", "c"])
    OverGroups(value=0.5, num_groups=2, num_skipped=1)
    """
    rows = checked_rows(labels, scores, weights, binary=True)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    right, positive, negative = _ordered_pairs(rows, group)
    sizes = np.where(positive * negative > 0, positive + negative, 0.0)
    areas = ratio(right, positive * negative)
    value = ratio((sizes * np.where(sizes > 0, areas, 0.0)).sum(-1), sizes.sum(-1))
    num_positive = np.bincount(group, rows.labels)
    both = (num_positive > 0) & (num_positive < np.bincount(group))
    if not both.any():
        raise InputError(
            "Grouped AUC needs a group with rows of both classes. Received: "
            f"{(num_positive > 0).sum()} groups of positive rows alone and "
            f"{(num_positive == 0).sum()} of negative rows alone."
        )
    return OverGroups(as_number(value), int(both.sum()), int((~both).sum()))


def _ordered_pairs(rows: Rows, group: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the weight of a group's correctly ordered pairs, positive rows and negative rows.

    Uses one sort. The number of negatives below a row is a running sum, minus its value at the
    start of the row's group. Rows with equal scores form one block, which counts half of itself.

    Args:
        rows: labels, scores and weights.
        group: int [num_rows], 0 to num_groups - 1.

    Returns:
        Three float64 arrays [..., num_groups].
    """
    order = np.lexsort((rows.predictions, group))
    groups, scores, labels = group[order], rows.predictions[order], rows.labels[order]
    weights = rows.weights[..., order]
    new_group = np.diff(groups, prepend=-1) != 0
    block_starts = np.flatnonzero(new_group | (np.diff(scores, prepend=np.nan) != 0))
    negative = np.add.reduceat(weights * (1 - labels), block_starts, axis=-1)
    positive = np.add.reduceat(weights * labels, block_starts, axis=-1)
    below = np.cumsum(negative, axis=-1) - negative
    first = np.flatnonzero(new_group[block_starts])  # a group's first block
    below -= np.repeat(below[..., first], np.diff(first, append=len(block_starts)), axis=-1)
    right = positive * (below + negative / 2)
    return (
        np.add.reduceat(right, first, axis=-1),
        np.add.reduceat(positive, first, axis=-1),
        np.add.reduceat(negative, first, axis=-1),
    )


AUC = Metric(
    "auc",
    "AUC",
    compute=lambda rows, weights: (
        auc(rows.positive, rows.predictions, weights) if 0 < rows.positive.mean() < 1 else None
    ),
)
GAUC = Metric(
    "gauc",
    "GAUC",
    compute=lambda rows, weights: (
        grouped_auc(rows.positive, rows.predictions, rows.users, weights).value
        if rows.users_differ
        else None
    ),
)
