"""What the models of finished runs did on the test rows of a task; figures over runs of them.

Lists and rows are judged alike: a query with its NDCG is a row with a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfrs_distill.evaluation import metrics

NUM_SAMPLES = 1000
ROW_METRICS = {metric.key: metric for metric in metrics.ROW_METRICS}


@dataclass(frozen=True, eq=False)
class TaskResults:
    """The test rows of one task in one run, and what each model gave for them.

    With labels, a model gave predictions, and a figure is a metric of both; without, it has the
    metric's own value of each row (the NDCG of a list), and a figure is their mean.

    Args:
        metric: the key of the metric by which models are compared, such as `"auc"`, `"ndcg@10"`.
        users: int [num_rows], whose row it is: whole users are resampled.
        models: float [num_rows] by model.
        labels: float [num_rows], of rows that all have one; None where models have values.
        drawn_by: the run's seed, where it drew the rows; None where all seeds have the same.
    """

    metric: str
    users: np.ndarray
    models: dict[str, np.ndarray]
    labels: np.ndarray | None = None
    drawn_by: int | None = None
    _samples: dict[tuple[str, str, int], np.ndarray] = field(default_factory=dict, repr=False)

    def figure(self, model: str, metric: str = "", weights: np.ndarray | None = None) -> Any:
        """A model's figure, by the leading metric or another one.

        Args:
            model: its name.
            metric: of `ROW_METRICS`, where there are labels.
            weights: [num_resamples, num_rows], for as many figures; None for the rows themselves.
        """
        values = self.models[model]
        if self.labels is None:
            return values.mean() if weights is None else weights @ values / weights.sum(axis=1)
        is_binary = self.metric == metrics.area_under_curve.AUC.key  # by which no rating is led
        rows = metrics.PredictedRows.of(self.labels, values, self.users, is_binary=is_binary)
        compute = ROW_METRICS[metric or self.metric].compute
        assert compute is not None  # of every row metric
        return compute(rows, weights)

    def samples(self, model: str, metric: str, seed: int) -> np.ndarray:
        """The figure in each resample of users, float64 [num_samples]; paired by the seed."""
        key = (model, metric, seed)
        if key not in self._samples:
            self._samples[key] = metrics.cluster_bootstrap(
                lambda weights: self.figure(model, metric, weights),
                self.users,
                num_samples=NUM_SAMPLES,
                seed=seed,
            )
        return self._samples[key]

    def subset(self, rows: np.ndarray) -> TaskResults:
        """The rows of a mask."""
        return TaskResults(
            self.metric,
            self.users[rows],
            {name: values[rows] for name, values in self.models.items()},
            None if self.labels is None else self.labels[rows],
            self.drawn_by,
        )

    def has_rows_of(self, other: TaskResults) -> bool:
        """Whether both were measured on the same rows: the same users, with the same labels."""
        one, another = (
            np.zeros(0) if task.labels is None else task.labels for task in (self, other)
        )
        same = self.drawn_by == other.drawn_by and np.array_equal(self.users, other.users)
        return same and np.array_equal(one, another)


def over_runs(runs: Sequence[TaskResults], model: str, metric: str = "") -> dict[str, Any]:
    """A model's figure over runs: their mean as `value`, its 95 % `interval`, and `by_seed`.

    The interval is over users and runs. Runs with the same rows see the same resamples of users;
    the rows of others are resampled for each run.
    """
    by_seed = [float(run.figure(model, metric)) for run in runs]
    if _are_queries(runs):
        interval = metrics.bootstrap_interval(_values(runs, model), num_samples=NUM_SAMPLES)
    else:
        interval = metrics.percentile_interval(
            metrics.resample_runs(_samples(runs, model, metric, _have_same_rows(runs)))
        )
    return {"value": float(np.mean(by_seed)), "interval": list(interval), "by_seed": by_seed}


def difference_over_runs(
    runs: Sequence[TaskResults],
    model: str,
    others: Sequence[TaskResults],
    other: str,
    metric: str = "",
) -> dict[str, Any]:
    """The paired difference of a model of some runs and a model of these or of other runs.

    Args:
        runs: of the first model.
        model: its name.
        others: of the other model: the same rows in all, or run by run.
        other: its name.
        metric: as for `TaskResults.figure`.

    Returns:
        `difference` of the means and its 95 % `interval` over users and, where there are as many
        runs of both, over runs; of values of queries also what `metrics.paired_difference` adds.
    """
    same = _have_same_rows([*runs, *others])
    if same and _are_queries(runs):
        return metrics.paired_difference(
            _values(runs, model), _values(others, other), num_samples=NUM_SAMPLES
        )
    figures = [
        np.mean([run.figure(name, metric) for run in group])
        for group, name in ((runs, model), (others, other))
    ]
    one = _samples(runs, model, metric, same)
    less = _samples(others, other, metric, same)
    if len(runs) != len(others):
        one, less = (samples.mean(axis=1, keepdims=True) for samples in (one, less))
    interval = metrics.percentile_interval(metrics.resample_runs(one - less))
    return {"difference": float(figures[0] - figures[1]), "interval": list(interval)}


def _are_queries(runs: Sequence[TaskResults]) -> bool:
    """Whether the rows are the same in all runs, each with a value and a user of its own."""
    first = runs[0]
    alone = first.labels is None and len(np.unique(first.users)) == len(first.users)
    return alone and _have_same_rows(runs)


def _have_same_rows(runs: Sequence[TaskResults]) -> bool:
    return all(run.has_rows_of(runs[0]) for run in runs[1:])


def _values(runs: Sequence[TaskResults], model: str) -> np.ndarray:
    return np.stack([run.models[model] for run in runs])


def _samples(runs: Sequence[TaskResults], model: str, metric: str, same: bool) -> np.ndarray:
    """Float64 [num_samples, num_runs], of the same resamples of users where rows are the same."""
    seeds = [0 if same else place for place in range(len(runs))]
    columns = [run.samples(model, metric, seed) for run, seed in zip(runs, seeds)]
    return np.stack(columns, axis=1)
