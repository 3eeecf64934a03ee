"""Comparison of finished runs: one report over the seeds of a setting, and between settings."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import metrics
from tfrs_distill.evaluation.segments import segment_figures
from tfrs_distill.pipeline.report.models import FORM_PAIRS, leading_metric
from tfrs_distill.pipeline.report.task_results import TaskResults, difference_over_runs, over_runs
from tfrs_distill.pipeline.report.verdict import leading_task, verdict

NDCG_FILE = Path("stages", "evaluate", "ndcg.npz")  # of a retrieval run: one value per query
USERS, LENGTHS = "users", "history_lengths"  # in it, next to one array per model
OF_SEGMENT = "segments/"  # in it: `segments/SEGMENT/MODEL`, one value per query of the segment
PREDICTIONS_FILE = Path("stages", "evaluate", "predictions.npz")  # of a run of rows: MODEL/TASK
LABELS = "labels"  # in it, labels/TASK, next to the users
SINGLE_TASK_TWINS = "student_vs_single_task_twin"
OF_ONE_RUN = (
    *("training", "stages", "teachers", "segments", "ease", "reading"),
    *("confusion", "reliability", "lists", "map"),
)
LEFT_OUT = ("seed", "name", "training.controls")  # recipe settings that do not define a setting


@dataclass(frozen=True)
class FinishedRun:
    """The results of a finished run.

    Args:
        folder: the run's folder.
        report: `report.json`.
        tasks: by name, the test rows and each model's results for them.
        lengths: int32 [num_queries], the lengths of the histories; None for a run of rows.
        segments: by segment and model, float64 [num_queries of the segment], see
            `evaluation.segments`; empty for a run of rows.
    """

    folder: Path
    report: dict[str, Any]
    tasks: dict[str, TaskResults]
    lengths: np.ndarray | None
    segments: dict[str, dict[str, np.ndarray]]

    @classmethod
    def read(cls, folder: Path) -> FinishedRun:
        """Read a run's folder.

        Raises:
            InputError: it is not the folder of a finished run, or the run is of an earlier version.
        """
        path = folder / "report.json"
        if not path.is_file():
            inner = sorted(found.parent.name for found in folder.glob("*/report.json"))
            hint = f" It has the runs {', '.join(inner)}: give those." if inner else ""
            raise InputError(
                f"{folder} is not the folder of a finished run: it has no report.json.{hint}"
            )
        report = json.loads(path.read_text(encoding="utf-8"))
        of_lists = (folder / NDCG_FILE).is_file()
        arrays: dict[str, np.ndarray] = {}
        with contextlib.suppress(FileNotFoundError):
            with np.load(folder / (NDCG_FILE if of_lists else PREDICTIONS_FILE)) as file:
                arrays = dict(file)
        segments: dict[str, dict[str, np.ndarray]] = {}
        for name in [name for name in arrays if name.startswith(OF_SEGMENT)]:
            segment, model = name.removeprefix(OF_SEGMENT).rsplit("/", 1)
            segments.setdefault(segment, {})[model] = arrays.pop(name)
        if USERS not in arrays or (of_lists and not segments):
            raise InputError(
                f"{folder} was evaluated by an earlier version. Remove its folder stages/evaluate "
                "and run its recipe.toml again: only this stage is repeated."
            )
        users, lengths = arrays.pop(USERS), arrays.pop(LENGTHS, None)
        if of_lists:
            arrays = {f"{model}/{leading_task(report)}": arrays[model] for model in arrays}
        tasks = {task: _task(report, task, users, arrays) for task in report["tasks"]}
        return cls(folder, report, tasks, lengths, segments)

    @property
    def setting(self) -> str:
        """The recipe as a text, without its seed, its name and its list of controls."""
        flat = _flat(self.report["recipe"])
        return json.dumps({key: flat[key] for key in flat if key not in LEFT_OUT}, sort_keys=True)

    @property
    def draws_rows(self) -> bool:
        """Whether another seed of the recipe has other test rows."""
        return _draws_rows(self.report)

    def has_rows_of(self, other: FinishedRun) -> bool:
        """Whether both have the same test rows in every task, with equally long histories."""
        one, another = (
            np.zeros(0) if run.lengths is None else run.lengths for run in (self, other)
        )
        pairs = [results_of([self, other], task) for task in shared_tasks([[self], [other]])]
        same = all(mine.has_rows_of(its) for mine, its in pairs)
        return same and np.array_equal(one, another) and self._sizes == other._sizes

    @property
    def _sizes(self) -> dict[str, int]:
        """The number of queries of each segment."""
        return {name: len(next(iter(of.values()))) for name, of in self.segments.items()}


def read_settings(folders: Sequence[Path]) -> list[list[FinishedRun]]:
    """Read runs, grouped by setting in the order of the first run of each, sorted by seed.

    Raises:
        InputError: as for `FinishedRun.read`; a run is given twice, or two have the same seed.
    """
    settings: dict[str, list[FinishedRun]] = {}
    for folder in folders:
        run = FinishedRun.read(folder)
        of_setting = settings.setdefault(run.setting, [])
        for other in of_setting:
            if other.report["seed"] == run.report["seed"]:
                raise InputError(
                    f"{other.folder} and {run.folder} are the same run: the same recipe and the "
                    f"seed {run.report['seed']}. Give only one of them."
                )
        of_setting.append(run)
    return [sorted(runs, key=lambda run: run.report["seed"]) for runs in settings.values()]


def over_seeds(runs: Sequence[FinishedRun]) -> dict[str, Any]:
    """Return one report over several runs of a setting, in the form of a run's own report.

    Metrics are means over the runs, latencies are medians; intervals and the verdict are over users
    and seeds. Parts that belong to a single run are omitted.

    Args:
        runs: of one setting, with different seeds.

    Raises:
        InputError: their test users differ, although the seed does not draw them.
    """
    reports = [run.report for run in runs]
    check_same_rows(runs, runs)
    report = {key: copy.deepcopy(v) for key, v in reports[0].items() if key not in OF_ONE_RUN}
    shared = [name for name in report["models"] if all(name in one["models"] for one in reports)]
    report["models"] = {name: _model(name, runs) for name in shared}
    report["comparisons"] = {
        name: {task: _comparison(name, runs, task) for task in by_task}
        for name, by_task in report["comparisons"].items()
        if all(name in one["comparisons"] for one in reports)
    }
    if "segments" in reports[0] and (len(runs) == 1 or not runs[0].draws_rows):
        report["segments"] = _segments(runs)
    report["seeds"] = [one["seed"] for one in reports]
    report["name"] = _common_name([one["name"] for one in reports])
    if len(runs) > 1:
        what = f"{report['resampled']['what']} and {len(runs)} seeds"
        each = ", each with test rows of its own" if runs[0].draws_rows else ""
        report["resampled"] |= {"what": f"{what}{each}"}
    report["verdict"] = verdict(report)
    return report


def _segments(runs: Sequence[FinishedRun]) -> dict[str, Any]:
    """Quality by segment: means over the runs, intervals over users and runs."""
    of_first = runs[0].report["segments"]
    ndcgs = {
        model: {
            segment: np.stack([run.segments[segment][model] for run in runs])
            for segment in runs[0].segments
        }
        for model in of_first["models"]
    }
    pairs = [tuple(compared["models"]) for compared in of_first["comparisons"]]
    return segment_figures(of_first["segments"], ndcgs, pairs, of_first["metric"])


def _model(name: str, runs: Sequence[FinishedRun]) -> dict[str, Any]:
    """A model's row: means, and the interval of each task's leading metric."""
    rows = [run.report["models"][name] for run in runs]
    row = copy.deepcopy(rows[0])
    for task, figures in row["metrics"].items():
        for key, figure in figures.items():
            values = [one["metrics"][task].get(key, {}).get("value") for one in rows]
            known = [value for value in values if value is not None]
            mean = float(np.mean(known)) if len(known) == len(rows) else None
            figure |= {"value": mean, "interval": None}
        found = over_runs(results_of(runs, task), name)
        figures[leading_metric(runs[0].report, task)] |= found
    row["bytes"] = max((one.get("bytes") or 0) for one in rows) or None
    if all(one.get("latency_ms") for one in rows):
        row["latency_ms"] = {
            key: float(np.median([one["latency_ms"][key] for one in rows]))
            for key in row["latency_ms"]
        }
    return row


def _comparison(name: str, runs: Sequence[FinishedRun], task: str) -> dict[str, Any]:
    """Two models over the runs, paired by row; other values are the lowest over the runs."""
    alone = ("student", f"twin_of_{task}") if name == SINGLE_TASK_TWINS else None
    one, other = alone or FORM_PAIRS.get(name) or tuple(name.split("_vs_"))
    found = [run.report["comparisons"][name][task] for run in runs]
    least = {
        key: min(values)
        for key in found[0]
        if key not in ("metric", "seeds", "difference", "interval", "ratio")
        for values in [[of_run.get(key) for of_run in found]]
        if all(isinstance(value, (int, float)) for value in values)
    }
    tasks = results_of(runs, task)
    paired = difference_over_runs(tasks, one, tasks, other)
    seeds = [run.report["seed"] for run in runs]
    return {"metric": found[0]["metric"], "seeds": seeds} | least | paired


def between_settings(
    settings: Sequence[Sequence[FinishedRun]], model: str, task: str
) -> list[dict[str, Any]]:
    """Compare a model of every setting with that of the first setting, on the same users.

    Returns:
        One dict per setting: `name`, `differs` (the recipe settings that are not equal in all),
        `value`, `interval`; for all but the first also `against_first`, the paired difference, and
        for lists `segments`, the same by segment with the number of `queries`; empty if each seed
        draws its own test rows.

    Raises:
        InputError: the settings have different test rows or metrics, or one lacks the model.
    """
    flat = [_flat(runs[0].report["recipe"]) for runs in settings]
    differ = [
        key
        for key in dict.fromkeys(key for one in flat for key in one)
        if key not in LEFT_OUT and len({repr(one.get(key)) for one in flat}) > 1
    ]
    first = settings[0]
    for runs in settings:
        check_same_rows(runs, first)
        of_first = results_of(first, task)[0]
        for run, measured in zip(runs, results_of(runs, task)):
            if model not in measured.models:
                raise InputError(
                    f"{run.folder} has no model {model!r} of {task!r}. It has: "
                    f"{', '.join(measured.models)}."
                )
            if measured.metric != of_first.metric:
                raise InputError(
                    f"{first[0].folder} was evaluated by {of_first.metric}, {run.folder} by "
                    f"{measured.metric}. Set the same `evaluation.k` in both recipes."
                )
    found: list[dict[str, Any]] = []
    for runs, recipe in zip(settings, flat):
        figure = over_runs(results_of(runs, task), model)
        row = {
            "name": _common_name([run.report["name"] for run in runs]),
            "differs": {key: recipe.get(key) for key in differ},
            "value": figure["value"],
            "interval": figure["interval"],
        }
        if found:
            row["against_first"] = _against(runs, first, model, task)
            row["segments"] = {} if first[0].draws_rows else _by_segment(runs, first, model)
        found.append(row)
    return found


def shared_tasks(settings: Sequence[Sequence[FinishedRun]]) -> list[str]:
    """The tasks that all settings were evaluated on; the task of lists may have different names.

    Raises:
        InputError: there is none.
    """
    tasks = [list(runs[0].tasks) for runs in settings]
    if all(runs[0].lengths is not None for runs in settings):
        return tasks[0]
    shared = [task for task in tasks[0] if all(task in of_setting for of_setting in tasks)]
    if not shared:
        each = "; ".join(f"{runs[0].folder}: {', '.join(runs[0].tasks)}" for runs in settings)
        raise InputError(
            f"These runs have no task in common and cannot be compared. Received: {each}. Give "
            "runs with the same task."
        )
    return shared


def results_of(runs: Sequence[FinishedRun], task: str) -> list[TaskResults]:
    """The runs' rows of one task; for runs of lists, of their only task."""
    return [
        run.tasks[task] if run.lengths is None else next(iter(run.tasks.values())) for run in runs
    ]


def check_same_rows(runs: Sequence[FinishedRun], first: Sequence[FinishedRun]) -> None:
    """Check that each run has the test rows of the first setting.

    If the seed draws the rows, they are compared run by run; else with the first run.

    Raises:
        InputError: the rows differ, or the settings have different numbers of runs.
    """
    drawn = first[0].draws_rows
    if drawn and len(runs) != len(first):
        raise InputError(
            f"The seed of {runs[0].folder} draws its test rows, so settings are compared seed by "
            f"seed. Received: {len(first)} and {len(runs)} runs. Give the same number of runs of "
            "each setting."
        )
    for run, other in zip(runs, first if drawn else [first[0]] * len(runs)):
        if not run.has_rows_of(other):
            seeds = " and the same seeds" if drawn else ""
            raise InputError(
                f"{other.folder} and {run.folder} have different test users or histories, so they "
                "cannot be compared user by user. Compare runs of the same data and the same "
                f"split{seeds}."
            )


def _draws_rows(report: Mapping[str, Any]) -> bool:
    return bool(report["resampled"].get("drawn_by_seed"))


def _task(
    report: Mapping[str, Any], task: str, users: np.ndarray, arrays: Mapping[str, np.ndarray]
) -> TaskResults:
    """A task's rows that have a label; all rows if models have values."""
    models = {
        name.removesuffix(f"/{task}"): values
        for name, values in arrays.items()
        if name.endswith(f"/{task}")
    }
    labels = models.pop(LABELS, None)
    drawn_by = report["seed"] if _draws_rows(report) else None
    whole = TaskResults(leading_metric(report, task), users, models, labels, drawn_by)
    return whole if labels is None else whole.subset(~np.isnan(labels))


def _against(
    runs: Sequence[FinishedRun], first: Sequence[FinishedRun], model: str, task: str
) -> dict[str, Any]:
    """The paired difference to the first setting."""
    return difference_over_runs(results_of(runs, task), model, results_of(first, task), model)


def _by_segment(
    runs: Sequence[FinishedRun], first: Sequence[FinishedRun], model: str
) -> dict[str, Any]:
    """The paired difference to the first setting in each segment of the same queries."""

    def values(of_setting: Sequence[FinishedRun], segment: str) -> np.ndarray:
        return np.stack([run.segments[segment][model] for run in of_setting])

    return {
        segment: {"queries": len(of_models[model])}
        | metrics.paired_difference(values(runs, segment), values(first, segment))
        for segment, of_models in runs[0].segments.items()
    }


def _flat(settings: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= _flat(value, f"{path}{key}.") if isinstance(value, dict) else {path + key: value}
    return found


def _common_name(names: Sequence[str]) -> str:
    """The common start of the names, without the separator in front of a seed."""
    first, last = min(names), max(names)
    same = next((n for n, (a, b) in enumerate(zip(first, last)) if a != b), len(first))
    if first == last:
        return first
    return first[:same].rstrip("-_.0123456789").removesuffix("-seed") or first
