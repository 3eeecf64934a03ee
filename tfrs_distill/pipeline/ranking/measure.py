"""The last stage of a ranking run: every model answers the same test rows; then what each costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from tfrs_distill.files import whole_file
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.tasks import NextItem, RankingTask
from tfrs_distill.pipeline.fresh_process import in_fresh_process
from tfrs_distill.pipeline.measure import resampled
from tfrs_distill.pipeline.ranking.dataset import RankingData
from tfrs_distill.pipeline.ranking.tasks import leading_metric
from tfrs_distill.pipeline.ranking.validation import LogitsOf, next_item_ndcg
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.report.models import metric_of
from tfrs_distill.pipeline.report.numbers import metric
from tfrs_distill.progress import Progress
from tfrs_distill.serving.artefact import SAVED_MODEL, TFLITE, TFLITE_INT8, RankingArtefact
from tfrs_distill.serving.ranker import Ranker
from tfrs_distill.teachers import row_logits

TEACHER = "teacher"
LATENCY_ROWS, SLOW_ROWS = 200, 20
ARTEFACTS = {"saved_model": SAVED_MODEL, "student_tflite": TFLITE, "student_int8": TFLITE_INT8}
Said = Mapping[str, np.ndarray]  # [num_rows] or, of the next item, logits [num_rows, num_items]


@dataclass(frozen=True)
class MeasuredModels:
    """What is compared, and where it lies.

    Args:
        teacher: answers `answers(examples)`.
        teacher_files: its Keras files, where it is made of such.
        teacher_facts: `parameters` and `bytes`.
        files: the Keras files of the students and twins, by name.
        artefact: the folder of the exported student.
    """

    teacher: Any
    teacher_files: Sequence[Path]
    teacher_facts: Mapping[str, Any]
    files: Mapping[str, Path]
    artefact: Path


def measure_ranking(
    recipe: Recipe,
    data: RankingData,
    tasks: Sequence[RankingTask],
    models: MeasuredModels,
    folder: Path,
    progress: Progress,
) -> tuple[dict[str, Any], str]:
    """Evaluate, weigh and time every model; keep what each said in `predictions.npz`."""
    by_name = {task.name: task for task in tasks}
    students = {name: tf.keras.models.load_model(path) for name, path in models.files.items()}
    said = _answers(models, students, by_name, data, progress)
    with whole_file(folder / "predictions.npz") as file:
        arrays = {
            f"{model}/{task}": values
            for model, told in said.items()
            for task, values in told.items()
            if values.ndim == 1
        }
        np.savez(file, **arrays)
    judged = _Judged(recipe, data.splits.test, by_name)
    with progress.bar("test rows", len(said)) as advance:
        for name, told in said.items():
            judged.add(name, told)
            advance(note=name)
    input_columns = students["student"].input_columns
    rows: dict[str, dict[str, Any]] = {
        name: {"metrics": told} for name, told in judged.rows.items()
    }
    for task in by_name:
        if f"twin_of_{task}" in rows:
            rows[f"twin_of_{task}"] |= {
                "name": f"Twin of {task.replace('_', ' ')}",
                "what": "the same student without a teacher, this task alone",
            }
    for name, size in _sizes(models, students).items():
        rows[name] |= size
    with progress.bar("milliseconds a row", 1) as advance:
        for name, latency in _latencies(models, input_columns, data, folder).items():
            rows[name]["latency_ms"] = latency
        advance()
    leading = tasks[0]
    key = leading_metric(leading, recipe.evaluation.k)
    told_line = ", ".join(
        f"{name} {metric(judged.figure(name, leading.name, key))}"
        for name in ("teacher", "twin", "student")
    )
    result = {
        "models": rows,
        "comparisons": judged.comparisons(),
        "resampled": resampled(
            "test users" if data.catalogue is not None else "test rows",  # a review is its own user
            len(np.unique(data.splits.test.users)),
        ),
        "confusion": judged.confusion,
        "reliability": judged.reliability,
    }
    return result, f"{leading.name} {key.upper()}: {told_line}"


class _Judged:
    """Every model's figures on the test rows, and the paired differences."""

    def __init__(
        self, recipe: Recipe, examples: RankingExamples, tasks: Mapping[str, RankingTask]
    ) -> None:
        self.recipe, self.examples, self.tasks = recipe, examples, tasks
        self.k = recipe.evaluation.k
        self.rows: dict[str, dict[str, dict[str, Any]]] = {}
        self.evaluations: dict[tuple[str, str], RankingEvaluation] = {}
        self.ndcg: dict[str, np.ndarray] = {}
        self.confusion: dict[str, dict[str, Any]] = {}
        self.reliability: dict[str, dict[str, Any]] = {}

    def add(self, model: str, said: Said) -> None:
        """Hold what a model said against the labels."""
        self.rows[model] = {}
        for name, values in said.items():
            task = self.tasks[name]
            if isinstance(task, NextItem):
                self.rows[model][name] = self._next_item(model, values)
            else:
                self.rows[model][name] = self._labelled(model, task, values)

    def figure(self, model: str, task: str, key: str) -> float | None:
        """A model's figure; None where it was not measured."""
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
        told = evaluation.tasks[task.name]
        if told.confusion_matrix is not None:
            matrix = told.confusion_matrix.astype(int).tolist()
            self.confusion.setdefault(task.name, {})[model] = matrix
        if told.reliability is not None and model in ("teacher", "twin", "student"):
            self.reliability.setdefault(task.name, {})[model] = [
                {"predicted": float(predicted), "observed": float(observed), "rows": int(weight)}
                for predicted, observed, weight in zip(*told.reliability)
            ]
        figures: dict[str, Any] = {}
        for name, value in told.metrics.items():
            interval = list(metrics.percentile_interval(told.samples[name]))
            figures[name] = {"value": float(value), "interval": interval}
        return figures

    def comparisons(self) -> dict[str, dict[str, Any]]:
        """The paired differences of the models that belong together, by task."""
        pairs = {
            "student_vs_twin": ("student", "twin"),
            "student_vs_teacher": ("student", "teacher"),
            "int8_vs_float32": ("student_int8", "student_tflite"),
            "tflite_vs_keras": ("student_tflite", "student"),
        }
        found = {
            name: {task: self._difference(one, other, task) for task in self._both(one, other)}
            for name, (one, other) in pairs.items()
        }
        for task, told in found["student_vs_teacher"].items():
            kept = self._kept(task)
            told |= {} if kept is None else {"kept": kept}
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
        """The student's share of the teacher's gain on the item mean; None without a gain."""
        key = leading_metric(self.tasks[task], self.k)
        compared = ("item_mean", "teacher", "student")
        return metric_of(key).share_of_gain(*(self.figure(model, task, key) for model in compared))


def _answers(
    models: MeasuredModels,
    students: Mapping[str, RankingModel],
    tasks: Mapping[str, RankingTask],
    data: RankingData,
    progress: Progress,
) -> dict[str, Said]:
    """What every model says of the test rows."""
    test = data.splits.test
    said: dict[str, Said] = {}
    with progress.bar("answers of the teacher", 1) as advance:
        said["teacher"] = _as_predictions(row_logits(models.teacher, test), tasks)
        advance()
    for name, student in students.items():
        said[name] = _as_predictions(LogitsOf(student)(test), tasks)
    asked = {name: test.features[name] for name in students["student"].input_columns}
    labelled = {name: task for name, task in tasks.items() if not isinstance(task, NextItem)}
    for name, file in ARTEFACTS.items():
        answers = _load(models.artefact, file).score(asked)
        said[name] = {task: np.asarray(answers[task]) for task in labelled}
    baselines: dict[str, Callable[[RankingSplits, str], Any]] = {"item_mean": best_item_mean}
    if data.catalogue is not None:  # rows of users, not of one review each
        baselines["bias_only"] = best_bias_only
    for name, baseline in baselines.items():
        said[name] = {task: baseline(data.splits, task)(test)[task] for task in labelled}
    return said


def _load(folder: Path, file: str) -> Ranker:
    return (
        Ranker.load(folder, format="saved_model")
        if file == SAVED_MODEL
        else Ranker.load(folder / file)
    )


def _as_predictions(
    logits: Mapping[str, np.ndarray], tasks: Mapping[str, RankingTask]
) -> dict[str, np.ndarray]:
    """Logits in the labels' unit; of the next item they stay logits."""
    return {
        name: values
        if isinstance(tasks[name], NextItem)
        else np.asarray(tasks[name].predict(tf.constant(values)))
        for name, values in logits.items()
    }


def _sizes(
    models: MeasuredModels, students: Mapping[str, RankingModel]
) -> dict[str, dict[str, Any]]:
    """Parameters, and bytes on disk."""
    sizes: dict[str, dict[str, Any]] = {
        "teacher": {key: models.teacher_facts[key] for key in ("parameters", "bytes")}
    }
    for name, student in students.items():
        size = models.files[name].stat().st_size
        sizes[name] = {"parameters": student.num_parameters, "bytes": size}
    artefact = RankingArtefact.read(models.artefact)
    for name, file in ARTEFACTS.items():
        parameters = sizes["student"]["parameters"]
        sizes[name] = {"parameters": parameters, "bytes": artefact.bytes_of(file)}
    return sizes


def _latencies(
    models: MeasuredModels, input_columns: Sequence[str], data: RankingData, folder: Path
) -> dict[str, dict[str, float]]:
    """Milliseconds a row: Keras models and files in a process of its own with one thread.

    A teacher of several models takes as long as all of them.
    """
    test = data.splits.test
    rows = test.subset(np.arange(min(len(test), LATENCY_ROWS)))
    with whole_file(folder / "rows.npz") as file:
        np.savez(file, **{**rows.features, columns.USER_ID: rows.users})
    parts = {f"{TEACHER} {number}": path for number, path in enumerate(models.teacher_files)}
    keras = {**models.files, **parts}
    request = {
        "rows": str(folder / "rows.npz"),
        "keras": {name: str(path) for name, path in keras.items()},
        "artefacts": {
            name: [str(models.artefact), "saved_model"]
            if file == SAVED_MODEL
            else [str(models.artefact / file), None]
            for name, file in ARTEFACTS.items()
        },
        "input_columns": list(input_columns),
    }
    times: dict[str, dict[str, float]] = in_fresh_process(
        "tfrs_distill.pipeline.ranking.latency", request
    )
    if parts:
        of_parts = [times.pop(name) for name in parts]
        of_teacher = {key: sum(told[key] for told in of_parts) for key in of_parts[0]}
    else:
        one_each = [rows.subset(np.array([row])) for row in range(min(len(rows), SLOW_ROWS))]
        of_teacher = milliseconds(models.teacher.answers, one_each)
    return times | {TEACHER: of_teacher}
