"""Errors of predictions, row by row.

Every function takes `labels` and `predictions` [num_rows] and optional `weights`, [num_rows]. With
weights [num_resamples, num_rows], as in `cluster_bootstrap`, the result is an array
[num_resamples]. Invalid labels, predictions or weights raise an `InputError`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfrs_distill.evaluation.metrics.metric import Metric, of_probabilities, of_ratings
from tfrs_distill.evaluation.metrics.rows import Number, checked_rows


def rmse(labels: Any, predictions: Any, weights: Any = None) -> Number:
    """Compute the root of `mean (label - prediction)**2`, in the labels' unit.

    For 0/1 labels and probabilities its square is the Brier score.

    Example:
    >>> rmse([4.0, 2.0, 2.0, 2.0], [3.0, 2.0, 2.0, 2.0])
    0.5
    """
    rows = checked_rows(labels, predictions, weights)
    mean = rows.mean((rows.labels - rows.predictions) ** 2)
    return mean**0.5


def mae(labels: Any, predictions: Any, weights: Any = None) -> Number:
    """Compute the mean absolute error, in the labels' unit: `mean |label - prediction|`.

    Example:
    >>> mae([4.0, 2.0], [3.0, 2.0])
    0.5
    """
    rows = checked_rows(labels, predictions, weights)
    return rows.mean(np.abs(rows.labels - rows.predictions))


def log_loss(labels: Any, probabilities: Any, weights: Any = None) -> Number:
    """Compute the mean negative log-likelihood, in nats: `mean -[y log p + (1 - y) log(1 - p)]`.

    Probabilities are clipped away from 0 and 1 by the machine precision of their type, 1.2e-7 for
    float32 and 2.2e-16 for float64, as in scikit-learn.

    Example:
    >>> round(log_loss([1, 0], [0.5, 0.5]), 4)
    0.6931
    """
    rows = checked_rows(labels, probabilities, weights, binary=True, probabilities=True)
    given = np.asarray(probabilities)
    least = np.finfo(given.dtype if given.dtype.kind == "f" else np.float64).eps
    happened = np.where(rows.labels == 1, rows.predictions, 1 - rows.predictions)
    return rows.mean(-np.log(np.clip(happened, least, 1 - least)))


RMSE = Metric("rmse", "RMSE", lower_is_better=True, compute=of_ratings(rmse))
MAE = Metric("mae", "MAE", lower_is_better=True, compute=of_ratings(mae))
LOG_LOSS = Metric("log_loss", "Log loss", lower_is_better=True, compute=of_probabilities(log_loss))
