"""Metrics of binary decisions: a probability of at least `threshold` is a positive decision.

Every function takes `labels` 0/1 and `probabilities` [num_rows], the threshold, and optional
`weights` [num_rows]. With weights [num_resamples, num_rows], as in `cluster_bootstrap`, results are
arrays with that axis in front. Invalid labels, probabilities or weights raise an `InputError`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tfrs_distill.errors import InputError
from tfrs_distill.evaluation.metrics.metric import Metric, of_probabilities
from tfrs_distill.evaluation.metrics.rows import Number, as_number, checked_rows, ratio


class PrecisionRecallF1(NamedTuple):
    """Metrics of the positive class.

    Args:
        precision: share of the positive decisions that are correct; 0 if there are none.
        recall: share of the positive labels with a positive decision.
        f1: the harmonic mean of both.
    """

    precision: Number
    recall: Number
    f1: Number


def confusion_matrix(
    labels: Any, probabilities: Any, threshold: float = 0.5, weights: Any = None
) -> np.ndarray:
    """Count the rows of each label and decision: float64 `[[TN, FP], [FN, TP]]`.

    Rows of the matrix are the labels 0 and 1, columns the decisions 0 and 1, as in scikit-learn.

    Example:
    >>> confusion_matrix([0, 0, 0, 1], [0.1, 0.2, 0.9, 0.8]).tolist()
    [[2.0, 1.0], [0.0, 1.0]]
    """
    rows = checked_rows(labels, probabilities, weights, binary=True, probabilities=True)
    cell = (2 * rows.labels + (rows.predictions >= threshold)).astype(int)
    counts = rows.weights @ np.eye(4)[cell]
    return counts.reshape(*counts.shape[:-1], 2, 2)


def accuracy(
    labels: Any, probabilities: Any, threshold: float = 0.5, weights: Any = None
) -> Number:
    """Compute the share of correct decisions.

    Example:
    >>> accuracy([0, 0, 0, 1], [0.1, 0.2, 0.9, 0.8])
    0.75
    """
    counts = confusion_matrix(labels, probabilities, threshold, weights)
    right = counts[..., 0, 0] + counts[..., 1, 1]
    return as_number(ratio(right, counts.sum(axis=(-2, -1))))


def precision_recall_f1(
    labels: Any, probabilities: Any, threshold: float = 0.5, weights: Any = None
) -> PrecisionRecallF1:
    """Compute precision, recall and F1 of the class 1.

    `precision = TP / (TP + FP)`, `recall = TP / (TP + FN)`, `F1 = 2 TP / (2 TP + FP + FN)`.

    Raises:
        InputError: no label is 1.

    Example:
    >>> precision_recall_f1([0, 0, 0, 1], [0.1, 0.2, 0.9, 0.8])
    PrecisionRecallF1(precision=0.5, recall=1.0, f1=0.6666666666666666)
    """
    counts = confusion_matrix(labels, probabilities, threshold, weights)
    missed, found = counts[..., 1, 0], counts[..., 1, 1]
    predicted = counts[..., 0, 1] + found
    if counts.ndim == 2 and missed + found == 0:
        raise InputError(
            "Recall needs rows whose label is 1. Received: labels that are all 0 (or of weight 0)."
        )
    recall = ratio(found, missed + found)
    precision = np.where(
        predicted > 0, ratio(found, predicted), 0.0 * recall
    )  # NaN where there is no label
    f1 = ratio(2 * found, predicted + missed + found)
    return PrecisionRecallF1(*map(as_number, (precision, recall, f1)))


def _of_three(name: str) -> Callable[..., Number]:
    return lambda labels, probabilities, weights: getattr(
        precision_recall_f1(labels, probabilities, weights=weights), name
    )


ACCURACY = Metric("accuracy", "Accuracy", compute=of_probabilities(accuracy))
PRECISION = Metric("precision", "Precision", compute=of_probabilities(_of_three("precision")))
RECALL_OF_POSITIVES = Metric("recall", "Recall", compute=of_probabilities(_of_three("recall")))
F1 = Metric("f1", "F1", compute=of_probabilities(_of_three("f1")))
