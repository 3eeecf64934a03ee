"""Evaluation of any model on rows: the metrics of every task, with intervals over users."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import metrics
from tfrs_distill.evaluation.metrics.metric import GOOD_RATING, positive_shares
from tfrs_distill.evaluation.metrics.reliability import Reliability
from tfrs_distill.models.tasks import Binary, NextItem, RankingTask

Predict = Callable[[RankingExamples], Mapping[str, np.ndarray]]
"""Examples to predictions: float [num_rows] by task, in label units or as probability."""


class BatchPredictor(Protocol):
    """A model that predicts for a batch, such as `RankingModel`."""

    def predictions(self, batch: Mapping[str, tf.Tensor]) -> Mapping[str, tf.Tensor]:
        """Return float [num_rows] by task, in label units or as probability."""


@dataclass(frozen=True)
class TaskEvaluation:
    """Metrics of the predictions for one task.

    Args:
        metrics: values by name.
        samples: the same metrics in each resample of users, float64 [num_samples] by name.
        num_rows: number of rows with a label.
        num_users: number of users with such a row.
        num_users_skipped: number of users whose labels are all equal; `gauc` and `ndcg@10` skip
            them.
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
        """Return everything except the samples, as JSON; intervals as `"<metric>_interval"`.

        `interval_too_narrow` is whether there are too few users for reliable intervals, see
        `metrics.too_few_to_resample`.
        """
        figures: dict[str, Any] = {}
        for name, value in self.metrics.items():
            figures[name] = value
            figures[f"{name}_interval"] = list(metrics.percentile_interval(self.samples[name]))
        figures |= {
            "num_rows": self.num_rows,
            "num_users": self.num_users,
            "num_users_skipped": self.num_users_skipped,
            "interval_too_narrow": metrics.too_few_to_resample(self.num_users),
        }
        if self.confusion_matrix is not None:
            figures["confusion_matrix"] = self.confusion_matrix.astype(int).tolist()
        if self.reliability is not None:
            points = self.reliability._asdict()
            figures["reliability"] = {name: values.tolist() for name, values in points.items()}
        return figures


@dataclass(frozen=True)
class RankingEvaluation:
    """Metrics of a model's predictions for rows, by task.

    Args:
        tasks: by name of the task.
        resamples: fingerprint of the resamples; evaluations with equal ones can be compared in
            pairs.
    """

    tasks: dict[str, TaskEvaluation]
    resamples: str

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """`metrics[task][name]`."""
        return {name: task.metrics for name, task in self.tasks.items()}

    @property
    def intervals(self) -> dict[str, dict[str, tuple[float, float]]]:
        """95 % bootstrap intervals over users, `intervals[task][name]`."""
        return {
            name: {
                metric: metrics.percentile_interval(values)
                for metric, values in task.samples.items()
            }
            for name, task in self.tasks.items()
        }

    def summary(self) -> dict[str, dict[str, Any]]:
        """Return metrics, intervals and counts by task, as JSON."""
        return {name: task.summary() for name, task in self.tasks.items()}


class Difference(NamedTuple):
    """One model's metric minus another's, and its paired 95 % interval over users."""

    difference: float
    low: float
    high: float


def compare(a: RankingEvaluation, b: RankingEvaluation, task: str, metric: str) -> Difference:
    """Compute the paired difference of a metric, a minus b, with a 95 % interval over users.

    Both evaluations must use the same rows and the same seed.

    Args:
        a: one evaluation.
        b: the other.
        task: name of the task.
        metric: name of a metric, such as `"gauc"`. A positive difference means that a is better,
            except for errors and losses.

    Raises:
        ValueError: the evaluations have different rows, users or resamples, or no such metric.
    """
    if a.resamples != b.resamples:
        raise ValueError(
            "Only evaluations of the same rows, labels and resamples can be compared. Evaluate "
            "both on the same examples, with the same tasks, `num_samples` and `seed`."
        )
    there = a.tasks[task].metrics if task in a.tasks else {}
    if metric not in there:
        raise ValueError(
            f"There is no metric {metric!r} of task {task!r}. Tasks: {sorted(a.tasks)}; metrics of "
            f"this one: {sorted(there)}."
        )
    one, other = a.tasks[task], b.tasks[task]
    low, high = metrics.percentile_interval(one.samples[metric] - other.samples[metric])
    return Difference(one.metrics[metric] - other.metrics[metric], low, high)


def evaluate_ranking(
    predict: BatchPredictor | Predict,
    examples: RankingExamples,
    tasks: Iterable[RankingTask],
    *,
    rating_threshold: float = GOOD_RATING,
    batch_size: int = 1024,
    num_samples: int = 1000,
    seed: int = 0,
) -> RankingEvaluation:
    """Evaluate predictions of labels on rows, by task, with intervals over users.

    A `Binary` task has `auc`, `gauc` (AUC inside each user's rows), `log_loss`, `accuracy`,
    `precision`, `recall` and `f1` at probability 1/2, `expected_calibration_error` and `ndcg@10`
    (of each user's rows as one list). Any other task is a rating and has `rmse` and `mae`; its
    predictions also rank ratings of at least `rating_threshold` above others, for `auc` and `gauc`.
    `gauc` and `ndcg@10` are omitted if no user has rows of both classes; `auc` of a rating is
    omitted if all rows are of one class. Rows without a label for a task (NaN) are ignored for it;
    the examples' weights are for training and are not used.

    Intervals: percentiles of the metric over resamples of whole users (see `cluster_bootstrap`).

    Args:
        predict: a `RankingModel`, or an object with `predictions(batch)`; or a function of the
            examples that returns float [num_rows] by task, probabilities for a binary one.
        examples: validation or test rows.
        tasks: the tasks to evaluate, such as the model's `tasks.values()`, without `NextItem`,
            which `evaluate` evaluates.
        rating_threshold: lowest rating that is a good one.
        batch_size: rows per batch, for a model.
        num_samples: number of resamples of users.
        seed: seed of the resampling.

    Raises:
        InputError: a task has no labels or invalid ones; the predictions for a task are missing,
            have another length, are NaN or not probabilities.
        TypeError: `tasks` has other objects than tasks.
    """
    tasks = _checked_tasks(tasks)
    predictions = _predictions_of(predict, examples, batch_size)
    parts = {task.name: _TaskRows(task, examples, predictions, rating_threshold) for task in tasks}
    values = {name: part.measure(None) for name, part in parts.items()}

    def statistic(weights: np.ndarray) -> np.ndarray:
        resampled = [part.measure(weights[:, part.rows]) for part in parts.values()]
        return np.stack([column for part in resampled for column in part.values()], axis=1)

    samples = iter(
        metrics.cluster_bootstrap(statistic, examples.users, num_samples=num_samples, seed=seed).T
    )
    evaluations = {
        name: part.evaluation(values[name], {metric: next(samples) for metric in values[name]})
        for name, part in parts.items()
    }
    made_of = [f"{num_samples} {seed} {rating_threshold} {list(parts)}".encode(), examples.users]
    made_of += [examples.labels[name] for name in parts]
    return RankingEvaluation(evaluations, _fingerprint(made_of))


class _TaskRows:
    """The labelled rows of one task, and all their metrics."""

    def __init__(
        self,
        task: RankingTask,
        examples: RankingExamples,
        predictions: Mapping[str, np.ndarray],
        rating_threshold: float,
    ) -> None:
        labels = examples.labels_of(task.name)
        task.check(labels)
        self.rows = np.flatnonzero(~np.isnan(labels))
        labels, users = labels[self.rows], examples.users[self.rows]
        self.predicted = metrics.PredictedRows.of(
            labels,
            _checked_predictions(task, predictions, len(examples), self.rows),
            users,
            is_binary=isinstance(task, Binary),
            rating_threshold=rating_threshold,
        )
        shares = positive_shares(self.predicted.positive, users)
        self.num_users = len(shares)
        self.num_skipped = int(np.isin(shares, (0, 1)).sum())

    def measure(self, weights: np.ndarray | None) -> dict[str, Any]:
        """Return every metric by key, for these rows or, with weights, for resamples of them."""
        values = {
            metric.key: metric.compute(self.predicted, weights)
            for metric in metrics.ROW_METRICS
            if metric.compute is not None
        }
        return {key: value for key, value in values.items() if value is not None}

    def evaluation(
        self, values: dict[str, float], samples: dict[str, np.ndarray]
    ) -> TaskEvaluation:
        """Return the metrics with the counts and plots of the task."""
        of_rows = (self.predicted.labels, self.predicted.predictions)
        is_binary = self.predicted.is_binary
        return TaskEvaluation(
            values,
            samples,
            num_rows=len(self.rows),
            num_users=self.num_users,
            num_users_skipped=self.num_skipped,
            confusion_matrix=metrics.confusion_matrix(*of_rows) if is_binary else None,
            reliability=metrics.reliability(*of_rows) if is_binary else None,
        )


def _predictions_of(
    predict: BatchPredictor | Predict, examples: RankingExamples, batch_size: int
) -> Mapping[str, np.ndarray]:
    """Predict batch by batch with a model, or at once with a function."""
    of_batch = getattr(predict, "predictions", None)
    if of_batch is None:
        return predict(examples)  # type: ignore[operator]
    compiled = tf.function(of_batch, reduce_retracing=True)
    parts = [compiled(batch) for batch in examples.batches(batch_size)]
    return {task: np.concatenate([part[task].numpy() for part in parts]) for task in parts[0]}


def _checked_predictions(
    task: RankingTask, predictions: Mapping[str, np.ndarray], num_rows: int, rows: np.ndarray
) -> np.ndarray:
    """Return the predictions for a task's rows that have a label.

    Raises:
        InputError: predictions are missing, have another number of rows, are NaN, or are not
            probabilities for a binary task.
    """
    if task.name not in predictions:
        raise InputError(
            f"The model predicts nothing for task {task.name!r}. It predicts: "
            f"{sorted(predictions)}."
        )
    values = np.asarray(predictions[task.name])
    if values.shape != (num_rows,):
        raise InputError(
            f"The model must return one prediction per row for task {task.name!r}, [{num_rows}]. "
            f"Received: shape {values.shape}."
        )
    values = values[rows]
    low, high = (0.0, 1.0) if isinstance(task, Binary) else (-np.inf, np.inf)
    wrong = ~(np.isfinite(values) & (values >= low) & (values <= high))
    if wrong.any():
        first = int(np.argmax(wrong))
        what = "a probability" if isinstance(task, Binary) else "a finite number"
        raise InputError(
            f"The model must return {what} for every row for task {task.name!r}. Received: "
            f"{values[first]} for row {rows[first]}."
        )
    return values


def _checked_tasks(tasks: Iterable[RankingTask]) -> list[RankingTask]:
    tasks = list(tasks)
    for task in tasks:
        if not isinstance(task, RankingTask) or isinstance(task, NextItem):
            raise TypeError(
                "`tasks` must be ranking tasks of a label, such as a `Binary` object. "
                f"Received: {task!r}. (Use `evaluate` for what a `NextItem` task recommends.)"
            )
    if not tasks:
        raise ValueError("`tasks` must hold at least one task. Received: none.")
    return tasks


def _fingerprint(parts: list[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()
