"""What is told of a ranking model: metrics, counts and resamples, task by task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrs_distill.evaluation import metrics
from tfrs_distill.evaluation.metrics.calibration import Reliability


@dataclass(frozen=True)
class TaskEvaluation:
    """How well the labels of one task were foretold.

    Args:
        metrics: by name.
        samples: the same metrics in each resample of users, float64 [num_samples] by name.
        num_rows: rows with a label.
        num_users: users with such a row.
        num_users_skipped: those of one label throughout, whom `gauc` and `ndcg@10` leave out.
        confusion_matrix: `[[TN, FP], [FN, TP]]` at probability 1/2; None for ratings.
        reliability: the points of a reliability plot; None for ratings.
    """

    metrics: dict[str, float]
    samples: dict[str, np.ndarray]
    num_rows: int
    num_users: int
    num_users_skipped: int
    confusion_matrix: np.ndarray | None
    reliability: Reliability | None

    def summary(self) -> dict[str, Any]:
        """Everything but the samples, as JSON holds it; intervals as `"<metric>_interval"`.

        `interval_too_narrow` says whether the users are too few for the intervals to be trusted,
        see `metrics.too_few_to_resample`.
        """
        told: dict[str, Any] = {}
        for name, value in self.metrics.items():
            told[name] = value
            told[f"{name}_interval"] = list(metrics.percentile_interval(self.samples[name]))
        told |= {
            "num_rows": self.num_rows,
            "num_users": self.num_users,
            "num_users_skipped": self.num_users_skipped,
            "interval_too_narrow": metrics.too_few_to_resample(self.num_users),
        }
        if self.confusion_matrix is not None:
            told["confusion_matrix"] = self.confusion_matrix.astype(int).tolist()
        if self.reliability is not None:
            points = self.reliability._asdict()
            told["reliability"] = {name: values.tolist() for name, values in points.items()}
        return told


@dataclass(frozen=True)
class RankingEvaluation:
    """How well a model foretold the labels of some rows, task by task.

    Args:
        tasks: by the task's name.
        resamples: what the resamples were drawn from; two evaluations of the same have them paired.
    """

    tasks: dict[str, TaskEvaluation]
    resamples: str

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """`metrics[task][name]`."""
        return {task: told.metrics for task, told in self.tasks.items()}

    @property
    def intervals(self) -> dict[str, dict[str, tuple[float, float]]]:
        """95 % bootstrap intervals over users, `intervals[task][name]`."""
        return {
            task: {
                name: metrics.percentile_interval(values) for name, values in told.samples.items()
            }
            for task, told in self.tasks.items()
        }

    def summary(self) -> dict[str, dict[str, Any]]:
        """Metrics, intervals and counts by task, as JSON holds them."""
        return {task: told.summary() for task, told in self.tasks.items()}
