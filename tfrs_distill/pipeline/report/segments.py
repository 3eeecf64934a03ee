"""Quality by segment as rows and columns: for the page and for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.table import Table

from tfrs_distill.evaluation.metrics import too_few_to_resample
from tfrs_distill.evaluation.segments import SMALL_GROUPS
from tfrs_distill.pipeline.report.models import metric_of, names
from tfrs_distill.pipeline.report.numbers import (
    MISSING,
    count,
    difference,
    interval,
    metric,
    percent,
)
from tfrs_distill.pipeline.report.table import Column, fitted_table

Segments = Mapping[str, Any]  # what `segment_report` returned


def segment_columns(
    found: Segments, name_of: Callable[[str], str]
) -> tuple[list[str], list[Column]]:
    """The segments that have queries, and the columns of their table.

    For groups of users, the last model's metric minus that of all other users is shown too.

    Args:
        found: what `segment_report` returned.
        name_of: a model's name by its key.
    """
    parts = {name: part for name, part in found["segments"].items() if part["queries"]}

    def of(figures: Mapping[str, Any], key: str, show: Callable[[Any], str]) -> list[str]:
        return [_with_interval(figures.get(part) or {}, key, show) for part in parts]

    columns = [Column("Queries", [count(part["queries"]) for part in parts.values()], 3)]
    for model, figures in found["models"].items():
        columns.append(Column(name_of(model), of(figures, "value", metric), 2))
    for pair in found["comparisons"]:
        (one, other), figures = map(name_of, pair["models"]), pair["segments"]
        changed = [
            f"{percent(figures[part]['gained'])} / {percent(figures[part]['lost'])}"
            for part in parts
        ]
        columns.append(Column(f"{one} - {other}", of(figures, "difference", difference), 1))
        columns.append(Column("better / worse", changed, 4))
    if any(part["attribute"] for part in parts.values()):
        model, figures = list(found["models"].items())[-1]
        against = {part: figures[part].get("against_others", {}) for part in parts}
        heading = f"{name_of(model)}: group - other users"
        columns.append(Column(heading, of(against, "difference", difference), 5))
    return list(parts), columns


def terminal_segments(report: Mapping[str, Any], width: int) -> tuple[str, Table]:
    """What the segments are, and a report's quality by segment for a terminal of this width."""
    found = report["segments"]
    parts, columns = segment_columns(found, lambda model: names(report, model)[0])
    table = fitted_table(Column("Segment", parts), columns, width, [None] * len(parts))
    return explained_segments(found), table


def explained_segments(found: Segments) -> str:
    """What the segments are, and which have too few queries for reliable intervals."""
    there = {name: part for name, part in found["segments"].items() if part["queries"]}
    descriptions = [
        f"{name}: {part['what']}"
        for name, part in there.items()
        if not part["attribute"] or name.endswith(SMALL_GROUPS)
    ]
    few = [name for name, part in there.items() if too_few_to_resample(part["queries"])]
    sentence = (
        f"{metric_of(found['metric']).name} with its 95 % interval. {'; '.join(descriptions)}."
    )
    if few:
        sentence += f" Fewer than 100 queries, so the intervals are too narrow: {', '.join(few)}."
    return sentence


def _with_interval(figure: Mapping[str, Any], key: str, show: Callable[[Any], str]) -> str:
    shown, bounds = show(figure.get(key)), interval(figure.get("interval"))
    return shown if MISSING in (shown, bounds) else f"{shown} ({bounds})"
