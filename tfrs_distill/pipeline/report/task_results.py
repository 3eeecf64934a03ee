"""Results of the models of finished runs on a task's test rows, and metrics over several runs.

Lists and rows are treated in the same way: a query with its NDCG is a row with a value.
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
    """The test rows of one task in one run, and each model's results for them.

    With labels, `models` has predictions, and a metric is computed from both. Without labels, it
    has the metric's value of each row (the NDCG of a list), and the metric is their mean.

    Args:
        metric: the key of the metric by which models are compared, such as `"auc"`, `"ndcg@10"`.
        users: int [num_rows], the user of each row: whole users are resampled.
        models: float [num_rows] by model.
        labels: float [num_rows], every row has one; None if `models` has values.
        drawn_by: the run's seed, if it drew the rows; None if all seeds have the same rows.
    """

    metric: str
    users: np.ndarray
    models: dict[str, np.ndarray]
    labels: np.ndarray | None = None
    drawn_by: int | None = None
    _samples: dict[tuple[str, str, int], np.ndarray] = field(default_factory=dict, repr=False)

    def figure(self, model: str, metric: str = "", weights: np.ndarray | None = None) -> Any:
        """A model's value of the leading metric or of another one.

        Args:
            model: its name.
            metric: one of `ROW_METRICS`, if there are labels.
            weights: [num_resamples, num_rows], for one value per resample; None for one value.
        """
        values = self.models[model]
        if self.labels is None:
            return values.mean() if weights is None else weights @ values / weights.sum(axis=1)
        is_binary = self.metric == metrics.area_under_curve.AUC.key  # no rating has it as leading
        rows = metrics.PredictedRows.of(self.labels, values, self.users, is_binary=is_binary)
        compute = ROW_METRICS[metric or self.metric].compute
        assert compute is not None  # of every row metric
        return compute(rows, weights)

    def samples(self, model: str, metric: str, seed: int) -> np.ndarray:
        """The metric in each resample of users, float64 [num_samples]; paired by the seed."""
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
        """The rows that a mask selects."""
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
    """A model's metric over runs: the mean as `value`, its 95 % `interval`, and `by_seed`.

    The interval is over users and runs. Runs with the same rows share the resamples of users;
    other runs are resampled independently.
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
        others: of the other model; all have the same rows, or run by run the same rows.
        other: its name.
        metric: as for `TaskResults.figure`.

    Returns:
        `difference` of the means and its 95 % `interval` over users and, if both have the same
        number of runs, over runs; for values of queries also the other keys of
        `metrics.paired_difference`.
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
    """Whether all runs have the same rows, with values, and each row has a different user."""
    first = runs[0]
    alone = first.labels is None and len(np.unique(first.users)) == len(first.users)
    return alone and _have_same_rows(runs)


def _have_same_rows(runs: Sequence[TaskResults]) -> bool:
    return all(run.has_rows_of(runs[0]) for run in runs[1:])


def _values(runs: Sequence[TaskResults], model: str) -> np.ndarray:
    return np.stack([run.models[model] for run in runs])


def _samples(runs: Sequence[TaskResults], model: str, metric: str, same: bool) -> np.ndarray:
    """Float64 [num_samples, num_runs]; the resamples of users are shared if the rows are."""
    seeds = [0 if same else place for place in range(len(runs))]
    columns = [run.samples(model, metric, seed) for run, seed in zip(runs, seeds)]
    return np.stack(columns, axis=1)
