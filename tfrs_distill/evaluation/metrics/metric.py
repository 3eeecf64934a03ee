"""What a metric is called, which way it is better, and how a report computes it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

NOISE = 1e-12  # two figures that are no further apart are the same, but for rounding
GOOD_RATING = 4.0  # from which label on a rating is a good one


class PredictedRows(NamedTuple):
    """The rows of one task that have a label, with what was predicted for them.

    Args:
        labels: [num_rows].
        predictions: [num_rows], in the labels' unit; probabilities of a binary task.
        positive: bool [num_rows], the labels that are 1, or of a rating high enough to be good.
        users: [num_rows].
        is_binary: whether the task is a binary one.
        users_differ: whether a user has rows of both kinds.
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
        """Return the rows, all with a label, whose ratings are good from a threshold on."""
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
    """A metric as a report shows it; declared beside its function.

    Args:
        key: its name in a report, without `@k`.
        name: its name for people.
        lower_is_better: whether less of it is better, as of an error.
        is_share: whether it is shown as a percentage.
        note: what it is, where its name alone is unclear.
        compute: of `LIST_METRICS`, `compute(item_ids, positives)`, one value a query; of
            `ROW_METRICS`, `compute(judged_rows, weights)`, a value, or one a resample where weights
            are of resamples, or None where it is not defined.
    """

    key: str
    name: str
    lower_is_better: bool = False
    is_share: bool = False
    note: str = ""
    compute: Callable[..., Any] | None = None

    def gain(self, difference: float) -> float:
        """Return a difference of two figures as a gain: positive where the first is better."""
        return -difference if self.lower_is_better else difference

    def share_of_gain(
        self, base: float | None, teacher: float | None, student: float | None
    ) -> float | None:
        """Return how much of the teacher's gain on a base the student has.

        Below 0 where the student is worse than the base, above 1 where it is better than the
        teacher.

        Returns:
            None where the teacher is no better than the base, or one of the three was not measured.

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
    """Return the `compute` of a metric of labels and predictions that binary tasks do not have."""
    return lambda rows, weights: (
        None if rows.is_binary else metric(rows.labels, rows.predictions, weights=weights)
    )


def of_probabilities(metric: Callable[..., Any]) -> Callable[[PredictedRows, Any], Any]:
    """Return the `compute` of a metric of labels and probabilities that only binary tasks have."""
    return lambda rows, weights: (
        metric(rows.labels, rows.predictions, weights=weights) if rows.is_binary else None
    )
