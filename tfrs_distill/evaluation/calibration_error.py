"""Calibration error of a teacher's probabilities of the next item."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfrs_distill.teachers.calibration import best_temperature

NUM_BINS = 10


def calibration(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Measure how well calibrated `softmax(logits)` is, also at the best temperature.

    All probabilities of all queries are sorted and cut into bins with a tenth of their sum each;
    equal ones stay together. The sum of the probabilities in a bin is the number of next items that
    the teacher expects there. The expected calibration error is
    `sum_b |expected_b - observed_b| / num_queries`. (Guo et al. bin only the largest probability of
    each query; for a recommender it is too small and too rarely correct for that.) The best
    temperature minimises `-mean log softmax(logits / temperature)[label]`, which is convex in the
    reciprocal of the temperature.

    Reference: [Guo et al., 2017](https://arxiv.org/abs/1706.04599); all classes, bins of equal
    weight: [Nixon et al., 2019](https://arxiv.org/abs/1904.01685).

    Args:
        logits: float [num_queries, num_items].
        labels: int [num_queries], the column of each query's next item.

    Returns:
        `negative_log_likelihood`, `expected_calibration_error` and `bins` (`predicted` and
        `observed` mean probability, `expected` and `observed_items` next items) at temperature 1;
        `temperature`; and the first two again with the suffix `_at_temperature`.

    Example:
    >>> sure = np.log([[3.0, 1.0]] * 4)  # 3/4 and 1/4, correct three times of four
    >>> found = calibration(sure, np.array([0, 0, 0, 1]))
    >>> round(found["temperature"], 3), round(found["expected_calibration_error"], 3)
    (1.0, 0.0)
    """
    temperature = best_temperature(logits, labels)
    at_one, at_best = _figures(logits, labels, 1.0), _figures(logits, labels, temperature)
    return {
        "negative_log_likelihood": at_one["negative_log_likelihood"],
        "expected_calibration_error": at_one["expected_calibration_error"],
        "temperature": temperature,
        "negative_log_likelihood_at_temperature": at_best["negative_log_likelihood"],
        "expected_calibration_error_at_temperature": at_best["expected_calibration_error"],
        "bins": at_one["bins"],
    }


def _log_probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    scaled -= np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    return scaled


def _figures(logits: np.ndarray, labels: np.ndarray, temperature: float) -> dict[str, Any]:
    log_probabilities = _log_probabilities(logits, temperature)
    rows = np.arange(len(labels))
    probabilities = np.exp(log_probabilities).ravel()
    happened = np.zeros(logits.shape, bool)
    happened[rows, labels] = True
    # Rounded, since the same probability in two queries may differ in its last digit.
    _, group = np.unique(log_probabilities.round(9).ravel(), return_inverse=True)
    mass = np.bincount(group, probabilities) / len(labels)
    # The middle of a value's mass decides its bin, so that rounding at an edge does not.
    middle = np.cumsum(mass) - mass / 2
    bin_of = np.minimum((middle * NUM_BINS).astype(int), NUM_BINS - 1)[group]
    counts = np.bincount(bin_of, minlength=NUM_BINS)
    expected = np.bincount(bin_of, probabilities, minlength=NUM_BINS)
    observed = np.bincount(bin_of, happened.ravel(), minlength=NUM_BINS)
    return {
        "negative_log_likelihood": float(-log_probabilities[rows, labels].mean()),
        "expected_calibration_error": float(np.abs(expected - observed).sum() / len(labels)),
        "bins": [
            {
                "predicted": float(expects / count),
                "observed": float(sees / count),
                "expected_items": float(expects),
                "observed_items": int(sees),
            }
            for count, expects, sees in zip(counts, expected, observed)
            if count
        ],
    }
