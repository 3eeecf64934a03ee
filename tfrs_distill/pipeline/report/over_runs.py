"""Finished runs beside each other: one report over the seeds of a setting, and between settings."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import metrics
from tfrs_distill.pipeline.report.models import FORM_PAIRS, leading_metric
from tfrs_distill.pipeline.report.verdict import leading_task, verdict

NDCG_FILE = Path("stages", "evaluate", "ndcg.npz")  # of a run that recommends: one value a query
USERS, LENGTHS = "users", "history_lengths"  # in it, beside one array a model
OF_SEGMENT = "segments/"  # in it: `segments/SEGMENT/MODEL`, one value a query of the segment
OF_ONE_RUN = ("training", "stages", "teachers", "segments", "ease", "reading")
LEFT_OUT = ("seed", "name", "training.controls")  # of a recipe: they make no other student
NUM_SAMPLES = 1000


@dataclass(frozen=True)
class FinishedRun:
    """What a run left.

    Args:
        folder: its home.
        report: `report.json`.
        ndcg: float64 [num_queries] by model.
        users: int32 [num_queries], whose query it is.
        lengths: int32 [num_queries], of the histories.
        segments: by segment and model, float64 [num_queries of it]; see `evaluation.segments`.
    """

    folder: Path
    report: dict[str, Any]
    ndcg: dict[str, np.ndarray]
    users: np.ndarray
    lengths: np.ndarray
    segments: dict[str, dict[str, np.ndarray]]

    @classmethod
    def read(cls, folder: Path) -> FinishedRun:
        """Read a run's folder.

        Raises:
            InputError: it holds no finished run, or one of rows.
        """
        path = folder / "report.json"
        if not path.is_file():
            inner = sorted(found.parent.name for found in folder.glob("*/report.json"))
            hint = f" It holds the runs {', '.join(inner)}: name those." if inner else ""
            raise InputError(f"{folder} is no finished run: it has no report.json.{hint}")
        report = json.loads(path.read_text(encoding="utf-8"))
        if not (folder / NDCG_FILE).is_file():
            raise InputError(
                f"{folder} is a run of the task {report['task']!r}: runs of lists alone, "
                '"retrieval" and "two-stage", can be compared.'
            )
        with np.load(folder / NDCG_FILE) as file:
            arrays = dict(file)
        segments: dict[str, dict[str, np.ndarray]] = {}
        for name in [name for name in arrays if name.startswith(OF_SEGMENT)]:
            segment, model = name.removeprefix(OF_SEGMENT).rsplit("/", 1)
            segments.setdefault(segment, {})[model] = arrays.pop(name)
        if USERS not in arrays or not segments:
            raise InputError(
                f"{folder} was measured by an earlier version. Remove its folder stages/evaluate "
                "and run its recipe.toml again: nothing else is repeated."
            )
        return cls(folder, report, arrays, arrays.pop(USERS), arrays.pop(LENGTHS), segments)

    @property
    def setting(self) -> str:
        """The recipe, but for its seed, its name and who else was trained, as a text."""
        flat = _flat(self.report["recipe"])
        return json.dumps({key: flat[key] for key in flat if key not in LEFT_OUT}, sort_keys=True)


def read_settings(folders: Sequence[Path]) -> list[list[FinishedRun]]:
    """Read runs, those of one setting together by their seeds, in the order of their first ones.

    Raises:
        InputError: as for `FinishedRun.read`; a run is named twice, or two have the same seed.
    """
    settings: dict[str, list[FinishedRun]] = {}
    for folder in folders:
        run = FinishedRun.read(folder)
        of_setting = settings.setdefault(run.setting, [])
        for other in of_setting:
            if other.report["seed"] == run.report["seed"]:
                raise InputError(
                    f"{other.folder} and {run.folder} are the same run: the same recipe and the "
                    f"seed {run.report['seed']}. Name one of them."
                )
        of_setting.append(run)
    return [sorted(runs, key=lambda run: run.report["seed"]) for runs in settings.values()]


def over_seeds(runs: Sequence[FinishedRun]) -> dict[str, Any]:
    """Return one report of several runs of a setting, as a run's own report is made.

    Figures are means over the runs, latencies medians; intervals are over users and seeds, and so
    is the verdict. What belongs to a single run is left out.

    Args:
        runs: of one setting, with different seeds.

    Raises:
        InputError: their test users differ.
    """
    reports = [run.report for run in runs]
    check_same_users(runs)
    report = {key: copy.deepcopy(v) for key, v in reports[0].items() if key not in OF_ONE_RUN}
    task = leading_task(report)
    leading = leading_metric(report, task)
    shared = [name for name in report["models"] if all(name in one["models"] for one in reports)]
    report["models"] = {
        name: _model([one["models"][name] for one in reports], task, leading, _ndcg(runs, name))
        for name in shared
    }
    report["comparisons"] = {
        name: {task: _comparison(name, reports, runs, task)}
        for name in report["comparisons"]
        if all(name in one["comparisons"] for one in reports)
    }
    report["seeds"] = [one["seed"] for one in reports]
    report["name"] = _common_name([one["name"] for one in reports])
    if len(runs) > 1:
        report["resampled"] |= {"what": f"{report['resampled']['what']} and {len(runs)} seeds"}
    report["verdict"] = verdict(report)
    return report


def _model(rows: Sequence[Any], task: str, leading: str, ndcg: np.ndarray) -> dict[str, Any]:
    """A model's row: means, and the interval of the leading metric."""
    row = copy.deepcopy(rows[0])
    for key, figure in row["metrics"][task].items():
        values = [one["metrics"][task].get(key, {}).get("value") for one in rows]
        known = [value for value in values if value is not None]
        figure |= {"value": float(np.mean(known)) if len(known) == len(rows) else None}
        figure |= {"interval": _interval(ndcg)} if key == leading else {"interval": None}
    row["metrics"][task][leading]["by_seed"] = [
        one["metrics"][task][leading]["value"] for one in rows
    ]
    row["bytes"] = max((one["bytes"] or 0) for one in rows) or None
    if all(one.get("latency_ms") for one in rows):
        row["latency_ms"] = {
            key: float(np.median([one["latency_ms"][key] for one in rows]))
            for key in row["latency_ms"]
        }
    return row


def _comparison(
    name: str, reports: Sequence[Any], runs: Sequence[FinishedRun], task: str
) -> dict[str, Any]:
    """Two models of every run, user by user; a figure that is no mean is that of the worst run."""
    one, other = FORM_PAIRS.get(name) or tuple(name.split("_vs_"))
    found = [report["comparisons"][name][task] for report in reports]
    least = {
        key: min(values)
        for key in found[0]
        if key not in ("metric", "seeds", "difference", "interval", "ratio")
        for values in [[of_run[key] for of_run in found]]
        if all(isinstance(value, (int, float)) for value in values)
    }
    paired = metrics.paired_difference(_ndcg(runs, one), _ndcg(runs, other))
    seeds = [report["seed"] for report in reports]
    return {"metric": found[0]["metric"], "seeds": seeds} | least | paired


def between_settings(settings: Sequence[Sequence[FinishedRun]], model: str) -> list[dict[str, Any]]:
    """Compare a model of every setting with that of the first one, for the same users.

    Returns:
        One dict a setting: `name`, `differs` (the recipe's settings that are not alike in all),
        `value`, `interval`; and of all but the first `against_first`: the paired difference of all
        users; and `segments`, by segment the same of its users with `queries`, how many they are.

    Raises:
        InputError: the settings have other test users, or one lacks the model.
    """
    flat = [_flat(runs[0].report["recipe"]) for runs in settings]
    differ = [
        key
        for key in dict.fromkeys(key for one in flat for key in one)
        if key not in LEFT_OUT and len({repr(one.get(key)) for one in flat}) > 1
    ]
    for runs in settings:
        check_same_users([settings[0][0], *runs])
        if model not in runs[0].ndcg:
            raise InputError(
                f"{runs[0].folder} has no model {model!r}. It has: {', '.join(runs[0].ndcg)}."
            )
    first = _ndcg(settings[0], model)
    found: list[dict[str, Any]] = []
    for runs, recipe in zip(settings, flat):
        values = _ndcg(runs, model)
        row = {
            "name": _common_name([run.report["name"] for run in runs]),
            "differs": {key: recipe.get(key) for key in differ},
            "value": float(values.mean()),
            "interval": _interval(values),
        }
        if found:
            row["against_first"] = metrics.paired_difference(values, first)
            row["segments"] = {
                name: {"queries": len(of_models[model])}
                | metrics.paired_difference(
                    _of_segment(runs, name, model), _of_segment(settings[0], name, model)
                )
                for name, of_models in runs[0].segments.items()
            }
        found.append(row)
    return found


def check_same_users(runs: Sequence[FinishedRun]) -> None:
    """Check that the runs were tested on the same users with the same histories.

    Raises:
        InputError: they were not.
    """
    first = runs[0]
    for run in runs[1:]:
        if not (
            np.array_equal(run.users, first.users)
            and np.array_equal(run.lengths, first.lengths)
            and _sizes(run) == _sizes(first)
        ):
            raise InputError(
                f"{first.folder} and {run.folder} were tested on other users or other histories: "
                "their figures cannot be compared user by user. Compare runs of the same data and "
                "the same split."
            )


def _ndcg(runs: Sequence[FinishedRun], model: str) -> np.ndarray:
    return np.stack([run.ndcg[model] for run in runs])


def _sizes(run: FinishedRun) -> dict[str, int]:
    return {name: len(next(iter(of_models.values()))) for name, of_models in run.segments.items()}


def _of_segment(runs: Sequence[FinishedRun], segment: str, model: str) -> np.ndarray:
    return np.stack([run.segments[segment][model] for run in runs])


def _interval(values: np.ndarray) -> list[float]:
    return list(metrics.bootstrap_interval(values, num_samples=NUM_SAMPLES))


def _flat(settings: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= _flat(value, f"{path}{key}.") if isinstance(value, dict) else {path + key: value}
    return found


def _common_name(names: Sequence[str]) -> str:
    """What the names begin with, without what parts a seed from it."""
    first, last = min(names), max(names)
    same = next((n for n, (a, b) in enumerate(zip(first, last)) if a != b), len(first))
    if first == last:
        return first
    return first[:same].rstrip("-_.0123456789").removesuffix("-seed") or first
