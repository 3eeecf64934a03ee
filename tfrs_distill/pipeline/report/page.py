"""`report.html`: the values that the template `page.html.jinja` shows, and the page itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import ChainableUndefined, ChoiceLoader, Environment, FileSystemLoader

from tfrs_distill.evaluation.metrics import ROW_METRICS
from tfrs_distill.pipeline.report import charts
from tfrs_distill.pipeline.report import numbers as show
from tfrs_distill.pipeline.report.cautions import limits_of_split
from tfrs_distill.pipeline.report.item_map import map_section
from tfrs_distill.pipeline.report.models import (
    Report,
    figures_of,
    leading_metric,
    measured,
    metric_of,
    names,
    rows,
    seeds_of,
    words,
)
from tfrs_distill.pipeline.report.numbers import MISSING
from tfrs_distill.pipeline.report.paired_difference import HELPED, HURT, NOT_MEASURABLE
from tfrs_distill.pipeline.report.segments import explained_segments, segment_columns
from tfrs_distill.pipeline.report.table import INTERVAL, columns
from tfrs_distill.pipeline.report.teachers import teacher_section
from tfrs_distill.pipeline.report.verdict import (
    beside_single_task,
    comparison,
    leading_task,
    no_gain,
    outcome,
    share_of_gain,
    single_task_twins,
    single_tasks_in_short,
    verdict,
)

VERDICT_STYLES = {HELPED: "helped", HURT: "hurt", NOT_MEASURABLE: "undecided"}
IN_HEAD = ("users", "items", "interactions", "rows")
TEMPLATES = FileSystemLoader(Path(__file__).parent)
PAGES = Environment(
    loader=TEMPLATES,
    autoescape=True,
    undefined=ChainableUndefined,  # values that a report does not have are not shown
    trim_blocks=True,
    lstrip_blocks=True,
)
PAGES.filters |= {"count": show.count, "duration": show.duration, "words": words}
PAGES.filters |= {"metric": show.metric, "metric_name": lambda key: metric_of(key).name}
PAGES.filters["size"] = show.size


def pages_beside(folder: Path) -> Environment:
    """The templates of a folder; they may include the report's templates."""
    return PAGES.overlay(loader=ChoiceLoader([FileSystemLoader(folder), TEMPLATES]))


def html_page(report: Mapping[str, Any]) -> str:
    """The whole page; a value that is not finite is shown as missing."""
    report = in_json_types(report)
    data, leading = report.get("data", {}), leading_task(report)
    finding, reason = verdict(report).split(": ", 1)
    return PAGES.get_template("page.html.jinja").render(
        report=report,
        size_of_data=[
            *(show.counted(data[key], key) for key in IN_HEAD if key in data),
            seeds_of(report),
        ],
        finding=finding,
        reason=reason,
        style=VERDICT_STYLES[outcome(report)],
        tiles=list(_tiles(report)),
        single_tasks=single_tasks_in_short(report),
        beside_single_tasks=[
            (words(task), beside_single_task(found))
            for task, found in single_task_twins(report).items()
        ],
        lower=[metric.name for metric in ROW_METRICS if metric.lower_is_better],
        tasks=[task_section(report, task) for task in report.get("tasks", {})],
        segments=_segments(report),
        training=_training(report),
        map=map_section(report),
        lists=report.get("lists"),
        teachers=teacher_section(report["teachers"]) if report.get("teachers") else None,
        seeds=_seeds(comparison(report, "student_vs_twin", leading).get("seeds") or []),
        limits=limits_of_split(report),
        comparisons=list(_comparisons(report)),
        recipe=_recipe(report.get("recipe", {})),
    )


def in_json_types(value: Any) -> Any:
    """`value` in JSON's own types; a number that is not finite becomes None.

    Example:
    >>> in_json_types({"auc": float("nan"), 3: (0.5, None)})
    {'auc': None, '3': [0.5, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): in_json_types(inner) for key, inner in value.items()}
    if hasattr(value, "tolist"):  # a NumPy array or number, without importing NumPy
        return in_json_types(value.tolist())
    if isinstance(value, (list, tuple)):
        return [in_json_types(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (str, int, float)) or value is None:
        return value
    return str(value)


def _tiles(report: Report) -> Iterator[tuple[str, str, str]]:
    """The most important values: name, value and note of each."""
    task = leading_task(report)
    key, models = leading_metric(report, task), report["models"]
    name, student = metric_of(key).name, figures_of(report, "student", task).get(key, {})
    bounds = show.interval(student.get("interval"))
    sure = "" if bounds == MISSING else f"95 %: {bounds}"
    yield f"Student's {name}", show.metric(student.get("value")), sure
    int8 = models.get("student_int8", {})
    over = report.get("resampled", {}).get("what", "").removeprefix("test ")
    same = f", same {over}" if over else ""
    ratio = measured(comparison(report, "student_vs_teacher", task).get("ratio"))
    share = share_of_gain(report, task)
    if ratio is not None:
        yield "Share of the teacher's", show.percent(ratio), f"{name}{same}"
    elif share is not None:
        yield "Share of the teacher's", show.percent(share), f"gain over the item mean{same}"
    else:
        yield "Share of the teacher's", MISSING, no_gain(report, task)
    yield "Size, int8", show.size(int8.get("bytes")), _beside_teachers_size(models)
    on_device = bool(int8.get("latency_ms"))
    latency = (int8 if on_device else models.get("student", {})).get("latency_ms") or {}
    p95 = show.milliseconds(latency.get("p95"))
    yield (
        f"Latency per {report.get('rows_are', 'row')}{', int8' * on_device}",
        show.milliseconds(latency.get("p50")),
        "" if p95 == MISSING else f"p50; p95: {p95}",
    )


def _beside_teachers_size(models: Mapping[str, Any]) -> str:
    """How many times smaller or larger than the teacher the int8 student is, in bytes."""
    of_teacher = models.get("teacher", {}).get("bytes")
    on_device = models.get("student_int8", {}).get("bytes")
    if not of_teacher or not on_device:
        return ""
    larger, smaller = show.times(on_device / of_teacher), show.times(of_teacher / on_device)
    if "1.0×" in (larger, smaller):
        return "about as large as the teacher"
    if on_device > of_teacher:
        return f"{larger} larger than the teacher"
    return f"{smaller} smaller than the teacher"


def task_section(report: Report, task: str) -> dict[str, Any]:
    """A task's section: every model's metrics, and the charts."""
    key, shown = leading_metric(report, task), rows(report, task)
    keys = dict.fromkeys(key for row in shown for key in row.metrics)
    styles = [charts.style_of(row.key, row.form_of) for row in shown]
    return {
        "name": task,
        "what": report["tasks"][task].get("what", ""),
        "metric": metric_of(key),
        "explained": [of for of in map(metric_of, keys) if of.note],
        "columns": columns(report, task),
        "rows": shown,
        "forests": {INTERVAL: charts.forest([row.figure(key) for row in shown], styles)},
        "figures": list(_pictures(report, task, metric_of(key).name)),
    }


def _pictures(report: Report, task: str, name: str) -> Iterator[dict[str, Any]]:
    shown = rows(report, task)
    sizes = charts.size_chart(shown, leading_metric(report, task), f"{name} against bytes on disk")
    if sizes:
        yield {
            "heading": f"Quality against size: test {name} by bytes on disk",
            "note": "Vertical lines: 95 % interval. Green: the student and its exported files.",
            "chart": sizes,
        }
    bins = report.get("reliability", {}).get(task, {})
    if bins:
        errors = {row.key: row.value("expected_calibration_error") for row in shown}
        yield {
            "heading": "Reliability: observed frequency by predicted probability",
            "legend": [
                (charts.style_of(model), names(report, model)[0], f"ECE {show.metric(error)}")
                for model, error in ((model, errors.get(model)) for model in bins)
            ],
            "chart": charts.reliability_chart(
                [_calibration(report, model, points) for model, points in bins.items()]
            ),
        }
    matrix = report.get("confusion", {}).get(task, {}).get("student")
    if matrix:
        yield {
            "heading": "Confusion matrix of the student, at 0.5",
            "classes": (f"not {words(task)}", words(task)),
            "matrix": [
                [(cell, show.percent(cell / sum(line)) if sum(line) else "") for cell in line]
                for line in matrix
            ],
        }


def _calibration(report: Report, model: str, points: list[dict[str, float]]) -> charts.Calibration:
    """A model's bins with a title each."""
    titles = [
        f"{names(report, model)[0]}: predicted {show.percent(one['predicted'])}, observed "
        f"{show.percent(one['observed'])} of {show.counted(one['rows'], 'rows')}"
        for one in points
    ]
    places = zip(points, titles)
    return charts.Calibration(
        model, [(one["predicted"], one["observed"], title) for one, title in places]
    )


def curves_of(report: Report) -> tuple[str, list[charts.Curve]]:
    """The name of the validation metric, and its curve by epoch for each model that has one."""
    what, curves = "", []
    for model, histories in report.get("training", {}).items():
        for key, values in histories.items():
            if key.startswith("validation_") and any(one is not None for one in values):
                name = key.removeprefix("validation_")
                what = metric_of(name).name if "@" in name else name
                curves.append(charts.Curve(model, names(report, model)[0], values))
    return what, curves


def _training(report: Report) -> list[dict[str, Any]]:
    what, curves = curves_of(report)
    if not curves:
        return []
    meaning = report.get("protocol", {}).get("score", "")
    figure = {
        "heading": f"Training: validation {what} by epoch",
        "note": f"{meaning}; the epoch with the highest value is kept." if meaning else "",
        "legend": [(charts.style_of(one.key), one.name, one.best) for one in curves],
        "chart": charts.curves_chart(curves, f"Validation {what} by epoch"),
    }
    return [figure]


def _segments(report: Report) -> dict[str, Any] | None:
    found = report.get("segments")
    if not found:
        return None
    segments, shown = segment_columns(found, lambda model: names(report, model)[0])
    return {"what": explained_segments(found), "names": segments, "columns": shown}


def _seeds(seeds: list[int]) -> str:
    which = ", ".join(map(str, seeds))
    if len(seeds) >= 3:
        return f"Student and twin were compared over {len(seeds)} seeds ({which})."
    many = "one seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
    claim = f"Student and twin were compared over {many} ({which}): a claim needs three."
    return claim if seeds else ""


def _comparisons(report: Report) -> Iterator[tuple[str, str]]:
    several = len(report.get("tasks", {})) > 1
    for key, by_task in report.get("comparisons", {}).items():
        pair = key.replace("_vs_", " - ").replace("_", " ")
        for task, found in by_task.items():
            name = metric_of(found["metric"]).name
            parts = [
                f"{name} {show.metric(found.get('difference'))}",
                show.percent(found.get("ratio")),
            ]
            if show.interval(found.get("interval")) != MISSING:
                parts[0] += f" ({show.interval(found['interval'])})"
            text = ", ".join(part for part in parts if not part.endswith(MISSING))
            yield f"{pair}{f', {words(task)}' * several}", text or MISSING


def _recipe(recipe: Mapping[str, Any]) -> str:
    lines: list[str] = []
    for key, setting in recipe.items():
        if isinstance(setting, Mapping):
            lines += ["", f"[{key}]", *(f"{name} = {inner!r}" for name, inner in setting.items())]
        else:
            lines.append(f"{key} = {setting!r}")
    return "\n".join(lines).strip()
