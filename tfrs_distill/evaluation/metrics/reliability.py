"""Calibration: predicted probabilities against observed shares."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tfrs_distill.evaluation.metrics.metric import Metric, of_probabilities
from tfrs_distill.evaluation.metrics.rows import Number, Rows, as_number, checked_rows, ratio

NUM_BINS = 10


class Reliability(NamedTuple):
    """The points of a reliability plot, one for each bin that holds rows.

    Args:
        predicted: mean probability, float64 [num_bins_used].
        observed: share of the rows whose label is 1, float64 [num_bins_used].
        weight: the rows' summed weight, float64 [num_bins_used].
    """

    predicted: np.ndarray
    observed: np.ndarray
    weight: np.ndarray


def reliability(
    labels: Any, probabilities: Any, *, num_bins: int = NUM_BINS, weights: Any = None
) -> Reliability:
    """Return mean probability and observed share, in bins of equal width.

    Bin b of B holds the probabilities above `b / B` up to `(b + 1) / B`; the first holds 0 as well.

    Args:
        labels: 0 or 1, [num_rows].
        probabilities: of label 1, [num_rows].
        num_bins: bins between 0 and 1.
        weights: [num_rows].

    Raises:
        InputError: rows that cannot be compared.

    Example:
    >>> points = reliability([0, 1, 1, 1], [0.15, 0.15, 0.95, 0.95])
    >>> points.predicted.tolist(), points.observed.tolist()
    ([0.15, 0.95], [0.5, 1.0])
    """
    rows = checked_rows(labels, probabilities, weights, binary=True, probabilities=True)
    bins = _bins(rows, num_bins)
    weight = rows.weights @ bins
    used = weight > 0
    return Reliability(
        ratio((rows.weights * rows.predictions) @ bins, weight)[used],
        ratio((rows.weights * rows.labels) @ bins, weight)[used],
        weight[used],
    )


def expected_calibration_error(
    labels: Any, probabilities: Any, *, num_bins: int = NUM_BINS, weights: Any = None
) -> Number:
    """Return the mean distance of probability and observed share over the bins of `reliability`.

    `ECE = sum_b weight_b / sum(weight) * |predicted_b - observed_b|`.

    Reference: [Guo et al., 2017](https://arxiv.org/abs/1706.04599), for the probability of label 1.

    Args:
        labels: 0 or 1, [num_rows].
        probabilities: of label 1, [num_rows].
        num_bins: bins between 0 and 1.
        weights: [num_rows]; with [num_resamples, num_rows], as `cluster_bootstrap` gives, the
            result is an array [num_resamples].

    Raises:
        InputError: rows that cannot be compared.

    Example:
    >>> round(expected_calibration_error([0, 1, 1, 1], [0.15, 0.15, 0.95, 0.95]), 4)
    0.2
    """
    rows = checked_rows(labels, probabilities, weights, binary=True, probabilities=True)
    distances = (rows.predictions - rows.labels)[:, None] * _bins(rows, num_bins)
    total = np.abs(rows.weights @ distances).sum(axis=-1)
    return as_number(ratio(total, rows.weights.sum(axis=-1)))


def _bins(rows: Rows, num_bins: int) -> np.ndarray:
    """Return which bin each row is in, 0/1 float64 [num_rows, num_bins]."""
    if not num_bins >= 1:
        raise ValueError(f"`num_bins` must be at least 1. Received: num_bins={num_bins!r}.")
    inner_edges = np.linspace(0, 1, num_bins + 1)[1:-1]
    return np.eye(num_bins)[np.searchsorted(inner_edges, rows.predictions)]


ECE = Metric(
    "expected_calibration_error",
    "ECE",
    lower_is_better=True,
    compute=of_probabilities(expected_calibration_error),
)
