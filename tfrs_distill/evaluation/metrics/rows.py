"""Validation of the inputs of prediction metrics: labels, predictions and weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tfrs_distill.errors import InputError


class Rows(NamedTuple):
    """Valid labels, predictions and weights, all float64.

    Args:
        labels: [num_rows].
        predictions: [num_rows].
        weights: [num_rows], or [num_resamples, num_rows].
    """

    labels: np.ndarray
    predictions: np.ndarray
    weights: np.ndarray

    def mean(self, values: np.ndarray) -> Number:
        """Compute the weighted mean of values [num_rows], one for each resample."""
        return as_number(ratio(self.weights @ values, self.weights.sum(axis=-1)))


Number = float | np.ndarray  # float; or float64 [num_resamples], with weights of resamples


def checked_rows(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    *,
    binary: bool = False,
    probabilities: bool = False,
) -> Rows:
    """Return labels, predictions and weights as arrays of matching shapes.

    Args:
        labels: [num_rows].
        predictions: [num_rows].
        weights: [num_rows], or [num_resamples, num_rows]; None for 1 each.
        binary: whether labels must be 0 or 1.
        probabilities: whether predictions must be within 0 and 1.

    Raises:
        InputError: there are no rows, lengths differ, a value is NaN, infinite or out of range, or
            the weights are negative or all 0.
    """
    labels, predictions = (np.asarray(part, np.float64) for part in (labels, predictions))
    if labels.ndim != 1 or labels.shape != predictions.shape:
        raise InputError(
            "Labels and predictions must both be [num_rows]. Received: labels of shape "
            f"{labels.shape}, predictions of shape {predictions.shape}."
        )
    if len(labels) == 0:
        raise InputError("A metric needs at least one row. Received: none.")
    if binary:
        _require((labels == 0) | (labels == 1), "Labels must be 0 or 1.", labels)
    else:
        _require(np.isfinite(labels), "Labels must be finite numbers.", labels)
    if probabilities:
        fine = (predictions >= 0) & (predictions <= 1)
        _require(fine, "Probabilities must be within 0 and 1.", predictions)
    else:
        _require(np.isfinite(predictions), "Predictions must be finite numbers.", predictions)
    return Rows(labels, predictions, checked_weights(weights, len(labels)))


def checked_weights(weights: Any, num_rows: int) -> np.ndarray:
    """Return the weights, float64 [num_rows] or [num_resamples, num_rows]; 1 each for None.

    Raises:
        InputError: another shape, or one is negative or NaN, or all are 0.
    """
    if weights is None:
        return np.ones(num_rows)
    weights = np.asarray(weights, np.float64)
    if weights.ndim not in (1, 2) or weights.shape[-1] != num_rows:
        raise InputError(
            f"Weights must be [{num_rows}], one per row. Received: shape {weights.shape}."
        )
    nothing = weights.ndim == 1 and not weights.any()  # allowed in a resample, not in data
    if nothing or not (weights >= 0).all() or not np.isfinite(weights).all():
        raise InputError("Weights must be finite, at least 0, and not all 0.")
    return weights


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return the ratio, NaN if the denominator is 0."""
    there = denominator != 0
    return np.where(there, numerator / np.where(there, denominator, 1.0), np.nan)


def as_number(value: np.ndarray) -> Number:
    """Return a float for an array without axes; any other array as it is."""
    return float(value) if np.ndim(value) == 0 else value


def _require(fine: np.ndarray, rule: str, values: np.ndarray) -> None:
    if not fine.all():
        row = int(np.argmin(fine))
        raise InputError(f"{rule} Received: {values[row]} in row {row}.")
