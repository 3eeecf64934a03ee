"""Evaluate models that predict labels of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.ranking_examples import RankingExamples, RankingSplits
from tfrs_distill.evaluation import metrics
from tfrs_distill.evaluation.baselines import best_bias_only, best_item_mean
from tfrs_distill.evaluation.latency import milliseconds
from tfrs_distill.evaluation.ranking import RankingEvaluation, compare, evaluate_ranking
from tfrs_distill.evaluation.row_score import in_unit_of_labels, next_item_ndcg
from tfrs_distill.export.forms import FORMS
from tfrs_distill.files import save_arrays, whole_file
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.tasks import NextItem, RankingTask
from tfrs_distill.pipeline.fresh_process import in_fresh_process
from tfrs_distill.pipeline.recipe import RankingRecipe
from tfrs_distill.pipeline.report.models import metric_of
from tfrs_distill.pipeline.report.numbers import metric
from tfrs_distill.pipeline.report.over_runs import LABELS, PREDICTIONS_FILE, USERS
from tfrs_distill.pipeline.run_folder import COMPRESSED, STUDENT, Run
from tfrs_distill.pipeline.stage import Result
from tfrs_distill.pipeline.stages.report_rows import (
    artefacts_to_time,
    describe_controls,
    name_forms,
    name_of_exported,
    pairs_of,
    resampled,
)
from tfrs_distill.pipeline.tasks import leading_metric, logits_of_tasks
from tfrs_distill.pipeline.teacher_kinds.kind import KERAS_FILES
from tfrs_distill.serving.ranker import Ranker
from tfrs_distill.teachers import row_logits

LATENCY_ROWS, SLOW_ROWS = 200, 20
# For all rows: [num_rows] or, for the next item, logits [num_rows, num_items].
Predictions = Mapping[str, np.ndarray]


def evaluate_rows(run: Run, folder: Path) -> tuple[Result, str]:
    """Evaluate every model, and measure its size and latency.

    `predictions.npz` stores the inputs of a comparison with other runs: each model's predictions by
    task (for the next item, each row's NDCG), the labels, and the rows' users.
    """
    data, k = run.data, run.recipe.evaluation.k
    by_name = {task.name: task for task in run.tasks}
    compressed = [COMPRESSED] if run.exported == COMPRESSED else []
    names = (*run.compared_stages, STUDENT, *compressed)
    students = {name: run.student(name) for name in names}
    teacher = run.teacher.open(run.file("teacher"))
    predictions = _predictions(run, teacher, students, by_name)
    measured = _RowFigures(run.recipe, data.splits.test, by_name)
    with run.progress.bar("test rows", len(predictions)) as advance:
        for name, of_model in predictions.items():
            measured.add(name, of_model)
            advance(note=name)
    with whole_file(folder / PREDICTIONS_FILE.name) as file:
        arrays = {
            f"{model}/{task}": measured.ndcg[model]
            if isinstance(by_name[task], NextItem)
            else values
            for model, of_model in predictions.items()
            for task, values in of_model.items()
        }
        arrays |= {
            f"{LABELS}/{name}": data.splits.test.labels_of(name)
            for name, task in by_name.items()
            if not isinstance(task, NextItem)
        }
        save_arrays(file, arrays | {USERS: data.splits.test.users})
    rows: dict[str, dict[str, Any]] = {
        name: {"metrics": figures} for name, figures in measured.rows.items()
    }
    for task in by_name:
        if f"twin_of_{task}" in rows:
            rows[f"twin_of_{task}"] |= {
                "name": f"Twin of {task.replace('_', ' ')}",
                "what": "the same student without a teacher, this task alone",
            }
    name_forms(rows, name_of_exported(run))
    describe_controls(run, rows)
    for name, size in _sizes(run, students).items():
        rows[name] |= size
    with run.progress.bar("milliseconds a row", 1) as advance:
        columns_read = students["student"].input_columns
        for name, latency in _latencies(run, teacher, columns_read, folder).items():
            rows[name]["latency_ms"] = latency
        advance()
    leading = run.tasks[0]
    key = leading_metric(leading, k)
    values = ", ".join(
        f"{name} {metric(measured.figure(name, leading.name, key))}"
        for name in ("teacher", *run.compared_stages, "student")
        if leading.name in measured.rows[name]
    )
    result = {
        "models": rows,
        "comparisons": measured.comparisons(pairs_of(run)),
        "resampled": resampled(
            run.recipe,
            "test users" if data.catalogue is not None else "test rows",  # one user per review
            len(np.unique(data.splits.test.users)),
            len(np.unique(data.splits.train.users)),
        ),
        "confusion": measured.confusion,
        "reliability": measured.reliability,
    }
    return result, f"{leading.name} {key.upper()}: {values}"


class _RowFigures:
    """Every model's metrics on the test rows, and the paired differences."""

    def __init__(
        self, recipe: RankingRecipe, examples: RankingExamples, tasks: Mapping[str, RankingTask]
    ) -> None:
        self.recipe, self.examples, self.tasks = recipe, examples, tasks
        self.k = recipe.evaluation.k
        self.rows: dict[str, dict[str, dict[str, Any]]] = {}
        self.evaluations: dict[tuple[str, str], RankingEvaluation] = {}
        self.ndcg: dict[str, np.ndarray] = {}
        self.confusion: dict[str, dict[str, Any]] = {}
        self.reliability: dict[str, dict[str, Any]] = {}

    def add(self, model: str, predictions: Predictions) -> None:
        """Compare a model's predictions with the labels."""
        self.rows[model] = {}
        for name, values in predictions.items():
            task = self.tasks[name]
            if isinstance(task, NextItem):
                self.rows[model][name] = self._next_item(model, values)
            else:
                self.rows[model][name] = self._labelled(model, task, values)

    def figure(self, model: str, task: str, key: str) -> float | None:
        """Return a model's metric; None if it was not measured."""
        value: float | None = self.rows[model].get(task, {}).get(key, {}).get("value")
        return value

    def _next_item(self, model: str, logits: np.ndarray) -> dict[str, Any]:
        items = self.examples.features[columns.ITEM_ID]
        ndcg = self.ndcg[model] = next_item_ndcg(logits, items, self.k)
        low, high = metrics.percentile_interval(self._resampled_mean(ndcg))
        return {
            f"ndcg@{self.k}": {"value": float(ndcg.mean()), "interval": [low, high]},
            f"hit_rate@{self.k}": {"value": float((ndcg > 0).mean())},
        }

    def _resampled_mean(self, values: np.ndarray) -> np.ndarray:
        return metrics.cluster_bootstrap(
            lambda weights: weights @ values / weights.sum(axis=1),
            self.examples.users,
            num_samples=self.recipe.evaluation.bootstrap_samples,
            seed=self.recipe.seed,
        )

    def _labelled(self, model: str, task: RankingTask, values: np.ndarray) -> dict[str, Any]:
        evaluation = evaluate_ranking(
            lambda _: {task.name: values},
            self.examples,
            [task],
            num_samples=self.recipe.evaluation.bootstrap_samples,
            seed=self.recipe.seed,
        )
        self.evaluations[model, task.name] = evaluation
        found = evaluation.tasks[task.name]
        if found.confusion_matrix is not None:
            matrix = found.confusion_matrix.astype(int).tolist()
            self.confusion.setdefault(task.name, {})[model] = matrix
        if found.reliability is not None and model in ("teacher", "twin", "student"):
            self.reliability.setdefault(task.name, {})[model] = [
                {"predicted": float(predicted), "observed": float(observed), "rows": int(weight)}
                for predicted, observed, weight in zip(*found.reliability)
            ]
        figures: dict[str, Any] = {}
        for name, value in found.metrics.items():
            interval = list(metrics.percentile_interval(found.samples[name]))
            figures[name] = {"value": float(value), "interval": interval}
        return figures

    def comparisons(self, pairs: Mapping[str, tuple[str, str]]) -> dict[str, dict[str, Any]]:
        """Return the paired differences of the given pairs of models, by task."""
        found = {
            name: {task: self._difference(one, other, task) for task in self._both(one, other)}
            for name, (one, other) in pairs.items()
        }
        for task, compared in found["student_vs_teacher"].items():
            kept = self._kept(task)
            compared |= {} if kept is None else {"kept": kept}
        alone = {
            task: self._difference("student", f"twin_of_{task}", task)
            for task in self.tasks
            if f"twin_of_{task}" in self.rows
        }
        return found | ({"student_vs_single_task_twin": alone} if alone else {})

    def _both(self, one: str, other: str) -> list[str]:
        return [task for task in self.tasks if {task} <= self.rows[one].keys() & self.rows[other]]

    def _difference(self, one: str, other: str, task: str) -> dict[str, Any]:
        key = leading_metric(self.tasks[task], self.k)
        if isinstance(self.tasks[task], NextItem):
            values = self.ndcg[one] - self.ndcg[other]
            low, high = metrics.percentile_interval(self._resampled_mean(values))
            difference = float(values.mean())
        else:
            difference, low, high = compare(
                self.evaluations[one, task], self.evaluations[other, task], task, key
            )
        return {
            "metric": key,
            "seeds": [self.recipe.seed],
            "difference": float(difference),
            "interval": [low, high],
        }

    def _kept(self, task: str) -> float | None:
        """Return the student's share of the teacher's gain on the item mean; None if no gain."""
        key = leading_metric(self.tasks[task], self.k)
        compared = ("item_mean", "teacher", "student")
        return metric_of(key).share_of_gain(*(self.figure(model, task, key) for model in compared))


def _predictions(
    run: Run,
    teacher: Any,
    students: Mapping[str, RankingModel],
    tasks: Mapping[str, RankingTask],
) -> dict[str, Predictions]:
    """Return every model's predictions of the test rows, by task."""
    data = run.data
    test = data.splits.test
    found: dict[str, Predictions] = {}
    with run.progress.bar("predictions of the teacher", 1) as advance:
        found["teacher"] = in_unit_of_labels(logits_of_tasks(teacher, test, tasks), tasks)
        advance()
    for name, student in students.items():
        found[name] = in_unit_of_labels(row_logits(student, test), tasks)
    read = {name: test.features[name] for name in students["student"].input_columns}
    labelled = {name: task for name, task in tasks.items() if not isinstance(task, NextItem)}
    for name, form in FORMS.items():
        scores = form.load(run.version, Ranker).score(read)
        found[name] = {task: np.asarray(scores[task]) for task in labelled}
    baselines: dict[str, Callable[[RankingSplits, str], Any]] = {"item_mean": best_item_mean}
    if data.catalogue is not None:  # rows of users, and not one user per review
        baselines["bias_only"] = best_bias_only
    for name, baseline in baselines.items():
        found[name] = {task: baseline(data.splits, task)(test)[task] for task in labelled}
    return found


def _sizes(run: Run, students: Mapping[str, RankingModel]) -> dict[str, dict[str, Any]]:
    """Return parameters, and bytes on disk."""
    facts = run.result("teacher")
    sizes: dict[str, dict[str, Any]] = {
        "teacher": {key: facts[key] for key in ("parameters", "bytes")}
    }
    for name, student in students.items():
        size = run.student_file(name).stat().st_size
        sizes[name] = {"parameters": student.num_parameters, "bytes": size}
    parameters = sizes[run.exported]["parameters"]
    for name, form in FORMS.items():
        sizes[name] = {"parameters": parameters, "bytes": form.num_bytes(run.version)}
    return sizes


def _latencies(
    run: Run, teacher: Any, input_columns: Sequence[str], folder: Path
) -> dict[str, dict[str, float]]:
    """Return milliseconds per row: Keras models and forms run in one single-threaded process.

    The time of a teacher of several models is the sum over them.
    """
    test = run.data.splits.test
    rows = test.subset(np.arange(min(len(test), LATENCY_ROWS)))
    with whole_file(folder / "rows.npz") as file:
        np.savez(file, **{**rows.features, columns.USER_ID: rows.users})
    in_files = run.recipe.teacher.kind == "deep-cross"
    files = sorted(run.file("teacher").rglob(f"{KERAS_FILES}*.keras")) if in_files else []
    parts = {f"teacher {number}": path for number, path in enumerate(files)}
    keras = {name: run.student_file(name) for name in (*run.compared_stages, "student")} | parts
    request = {
        "rows": str(folder / "rows.npz"),
        "keras": {name: str(path) for name, path in keras.items()},
        "artefacts": artefacts_to_time(run.version),
        "columns": list(input_columns),
    }
    times: dict[str, dict[str, float]] = in_fresh_process(
        "tfrs_distill.evaluation.latency", request
    )
    if parts:
        of_parts = [times.pop(name) for name in parts]
        of_teacher = {key: sum(part[key] for part in of_parts) for key in of_parts[0]}
    else:
        of_teacher = _of_teacher(teacher, rows.subset(np.arange(min(len(rows), SLOW_ROWS))))
    return times | {"teacher": of_teacher}


def _of_teacher(teacher: Any, rows: RankingExamples) -> dict[str, float]:
    """Time a teacher that is not a Keras file in this process; milliseconds per row."""
    if hasattr(teacher, "row_logits"):
        one_each = [rows.subset(np.array([row])) for row in range(len(rows))]
        return milliseconds(teacher.row_logits, one_each)
    logits = tf.function(lambda batch: teacher.logits(batch, None), reduce_retracing=True)
    return milliseconds(logits, list(rows.batches(1)))
