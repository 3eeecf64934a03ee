"""Name and direction of a metric, and how a report computes it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

NOISE = 1e-12  # a smaller difference is rounding
GOOD_RATING = 4.0  # lowest rating that is a good one


class PredictedRows(NamedTuple):
    """The labelled rows of one task, with their predictions.

    Args:
        labels: [num_rows].
        predictions: [num_rows], in label units; probabilities for a binary task.
        positive: bool [num_rows], labels of 1, or ratings that are good.
        users: [num_rows].
        is_binary: whether the task is binary.
        users_differ: whether a user has rows of both classes.
    """

    labels: np.ndarray
    predictions: np.ndarray
    positive: np.ndarray
    users: np.ndarray
    is_binary: bool
    users_differ: bool

    @classmethod
    def of(
        cls,
        labels: np.ndarray,
        predictions: np.ndarray,
        users: np.ndarray,
        *,
        is_binary: bool,
        rating_threshold: float = GOOD_RATING,
    ) -> PredictedRows:
        """Return the labelled rows; ratings of at least `rating_threshold` are positive."""
        positive = labels if is_binary else labels >= rating_threshold
        differ = not np.isin(positive_shares(positive, users), (0, 1)).all()
        return cls(labels, predictions, positive, users, is_binary, differ)


def positive_shares(positive: np.ndarray, users: np.ndarray) -> np.ndarray:
    """Return the share of each user's rows that are positive, float [num_users]."""
    _, user = np.unique(users, return_inverse=True)
    shares: np.ndarray = np.bincount(user, positive) / np.bincount(user)
    return shares


@dataclass(frozen=True)
class Metric:
    """A metric as a report shows it; defined next to its function.

    Args:
        key: its key in a report, without `@k`.
        name: its name for people.
        lower_is_better: whether lower values are better, as for an error.
        is_share: whether it is shown as a percentage.
        note: an explanation, if the name is not clear.
        compute: for `LIST_METRICS`, `compute(item_ids, positives)`, one value per query; for
            `ROW_METRICS`, `compute(judged_rows, weights)`, a value, or one per resample with
            weights of resamples, or None if it is not defined.
    """

    key: str
    name: str
    lower_is_better: bool = False
    is_share: bool = False
    note: str = ""
    compute: Callable[..., Any] | None = None

    def gain(self, difference: float) -> float:
        """Return a difference of two values as a gain: positive if the first is better."""
        return -difference if self.lower_is_better else difference

    def share_of_gain(
        self, base: float | None, teacher: float | None, student: float | None
    ) -> float | None:
        """Return the share of the teacher's gain over a base that the student reaches.

        Below 0 if the student is worse than the base, above 1 if it is better than the teacher.

        Returns:
            None if the teacher is not better than the base, or one of the three is missing.

        Example:
        >>> rmse = Metric("rmse", "RMSE", lower_is_better=True)
        >>> round(rmse.share_of_gain(1.0, 0.8, 0.9), 3), rmse.share_of_gain(1.0, 1.1, 0.9)
        (0.5, None)
        """
        if base is None or teacher is None or student is None or math.isnan(student):
            return None
        gain = self.gain(teacher - base)
        return self.gain(student - base) / gain if gain > NOISE else None


def of_ratings(metric: Callable[..., Any]) -> Callable[[PredictedRows, Any], Any]:
    """Return the `compute` of a metric that is not defined for binary tasks."""
    return lambda rows, weights: (
        None if rows.is_binary else metric(rows.labels, rows.predictions, weights=weights)
    )


def of_probabilities(metric: Callable[..., Any]) -> Callable[[PredictedRows, Any], Any]:
    """Return the `compute` of a metric of probabilities that only binary tasks have."""
    return lambda rows, weights: (
        metric(rows.labels, rows.predictions, weights=weights) if rows.is_binary else None
    )
