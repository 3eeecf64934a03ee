"""Any ranking model, any rows: every task's metrics, with intervals over users."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.evaluation import metrics
from tfrs_distill.evaluation.predictions import (
    BatchPredictor,
    Predict,
    checked_predictions,
    predictions_of,
)
from tfrs_distill.evaluation.ranking_evaluation import RankingEvaluation, TaskEvaluation
from tfrs_distill.models.tasks import Binary, NextItem, RankingTask

NDCG_PLACES = 10


class Difference(NamedTuple):
    """One model's metric less another's, and its paired 95 % interval over users."""

    difference: float
    low: float
    high: float


def compare(a: RankingEvaluation, b: RankingEvaluation, task: str, metric: str) -> Difference:
    """What a has more than b of a metric; both evaluated on the same rows with the same seed.

    Args:
        a: one evaluation.
        b: the other.
        task: the task's name.
        metric: such as `"gauc"`; above 0 means that a is better, but for errors and losses.

    Raises:
        ValueError: the two are of other rows, users or resamples, or have no such metric.
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
    rating_threshold: float = 4.0,
    batch_size: int = 1024,
    num_samples: int = 1000,
    seed: int = 0,
) -> RankingEvaluation:
    """Compare what a model says of rows with their labels.

    A `Binary` task gets `auc`, `gauc` (AUC inside each user's rows), `log_loss`, `accuracy`,
    `precision`, `recall` and `f1` at probability 1/2, `expected_calibration_error` and `ndcg@10`
    (of each user's rows as one list). Any other task, a rating, gets `rmse` and `mae`, and its
    predictions are scores of "rated `rating_threshold` or better" for `auc` and `gauc`. Where no
    user has rows of both kinds, there is no `gauc` and no `ndcg@10`; where no row, no `auc` of a
    rating. Rows without a label for a task (NaN) do not count for it; the examples' weights are for
    training and not used.

    Intervals: percentiles of the metric over resamples of whole users (see `cluster_bootstrap`).

    Args:
        predict: a `RankingModel`, or anything with its `predictions(batch)`; or a function of the
            examples that gives float [num_rows] by task, probabilities for a binary one.
        examples: validation or test rows.
        tasks: which tasks, as the model's `tasks.values()`. `NextItem` is not among them: it
            recommends, and `evaluate` judges that.
        rating_threshold: from which label on a rating is a good one.
        batch_size: rows a batch, for a model.
        num_samples: resamples of users.
        seed: of the resampling.

    Raises:
        InputError: a task has no labels, or some that it cannot have; the model says nothing for
            a task, something of another length, NaN, or no probability.
        TypeError: something else than tasks was given.
    """
    tasks = _checked_tasks(tasks)
    said = predictions_of(predict, examples, batch_size)
    parts = {task.name: _LabelledRows(task, examples, said, rating_threshold) for task in tasks}
    told = {name: part.measure(None) for name, part in parts.items()}

    def statistic(weights: np.ndarray) -> np.ndarray:
        resampled = [part.measure(weights[:, part.rows]) for part in parts.values()]
        return np.stack([values for part in resampled for values in part.values()], axis=1)

    samples = iter(
        metrics.cluster_bootstrap(statistic, examples.users, num_samples=num_samples, seed=seed).T
    )
    evaluations = {
        name: part.evaluation(told[name], {metric: next(samples) for metric in told[name]})
        for name, part in parts.items()
    }
    made_of = [f"{num_samples} {seed} {rating_threshold} {list(parts)}".encode(), examples.users]
    made_of += [examples.labels[name] for name in parts]
    return RankingEvaluation(evaluations, _fingerprint(made_of))


class _LabelledRows:
    """The rows that have a label for one task, and what was said of them."""

    def __init__(
        self,
        task: RankingTask,
        examples: RankingExamples,
        said: Mapping[str, np.ndarray],
        rating_threshold: float,
    ) -> None:
        labels = examples.labels_of(task.name)
        task.check(labels)
        self.is_binary = isinstance(task, Binary)
        self.rows = np.flatnonzero(~np.isnan(labels))
        self.labels, self.users = labels[self.rows], examples.users[self.rows]
        self.predictions = checked_predictions(task, said, len(examples), self.rows)
        self.yes = self.labels if self.is_binary else self.labels >= rating_threshold
        _, user = np.unique(self.users, return_inverse=True)
        shares = np.bincount(user, self.yes) / np.bincount(user)
        self.num_users = len(shares)
        self.num_skipped = int(np.isin(shares, (0, 1)).sum())

    def measure(self, weights: np.ndarray | None) -> dict[str, Any]:
        """Every metric by name, of these rows or of resamples of them."""
        given = (self.labels, self.predictions)
        told: dict[str, Any] = {}
        if not self.is_binary:
            told = {"rmse": metrics.rmse(*given, weights), "mae": metrics.mae(*given, weights)}
        if 0 < self.yes.mean() < 1:
            told["auc"] = metrics.auc(self.yes, self.predictions, weights)
        if self.num_skipped < self.num_users:
            told["gauc"] = metrics.grouped_auc(
                self.yes, self.predictions, self.users, weights
            ).value
        if self.is_binary:
            told |= {
                "log_loss": metrics.log_loss(*given, weights),
                "accuracy": metrics.accuracy(*given, weights=weights),
                **metrics.precision_recall_f1(*given, weights=weights)._asdict(),
                "expected_calibration_error": metrics.expected_calibration_error(
                    *given, weights=weights
                ),
            }
            if "gauc" in told:
                told[f"ndcg@{NDCG_PLACES}"] = metrics.list_ndcg(
                    *given, self.users, k=NDCG_PLACES, weights=weights
                ).value
        return told

    def evaluation(self, told: dict[str, float], samples: dict[str, np.ndarray]) -> TaskEvaluation:
        """What is told of this task."""
        given = (self.labels, self.predictions)
        return TaskEvaluation(
            told,
            samples,
            num_rows=len(self.rows),
            num_users=self.num_users,
            num_users_skipped=self.num_skipped,
            confusion_matrix=metrics.confusion_matrix(*given) if self.is_binary else None,
            reliability=metrics.reliability(*given) if self.is_binary else None,
        )


def _checked_tasks(tasks: Iterable[RankingTask]) -> list[RankingTask]:
    tasks = list(tasks)
    for task in tasks:
        if not isinstance(task, RankingTask) or isinstance(task, NextItem):
            raise TypeError(
                "`tasks` must be ranking tasks of a label, such as `Binary` or `Ordinal` objects. "
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
