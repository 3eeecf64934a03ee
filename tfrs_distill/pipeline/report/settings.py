"""Settings beside each other: the terminal's table, and a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from tfrs_distill.pipeline.report.models import Report, leading_metric, metric_of, words
from tfrs_distill.pipeline.report.numbers import (
    MISSING,
    count,
    difference,
    interval,
    metric,
    percent,
)
from tfrs_distill.pipeline.report.paired_difference import HELPED, HURT, gain_outcome
from tfrs_distill.pipeline.report.table import Column, fitted_table
from tfrs_distill.pipeline.report.verdict import leading_task

MOST = 4  # of the recipe's settings that differ are shown


def settings_table(
    settings: Sequence[Mapping[str, Any]], model: str, report: Report, width: int
) -> tuple[Table, str]:
    """What `between_settings` gives, as a table and as the sentence of who is best.

    Args:
        settings: one dict each.
        model: which was compared.
        report: of any of them, for the metric.
        width: of the terminal.
    """
    key = leading_metric(report, leading_task(report))
    against = [row.get("against_first") for row in settings]

    def of(name: str, show: Any) -> list[str]:
        return [MISSING if row is None else show(row[name]) for row in against]

    names = [_name(row) for row in settings]
    columns = [
        Column(metric_of(key).name, [metric(row["value"]) for row in settings]),
        Column("95 % interval", [interval(row["interval"]) for row in settings], 3),
        Column("Less the first", of("difference", difference)),
        Column("95 % interval of it", of("interval", interval), 1),
        Column("p", of("p", metric), 2),
        Column("Users better", of("gained", percent), 4),
        Column("Users worse", of("lost", percent), 4),
    ]
    heading = Column(f"{words(model).capitalize()} of", names)
    table = fitted_table(heading, columns, width, [None] * len(names))
    return table, _sentence(settings, names, key, words(model))


def segments_table(row: Mapping[str, Any], width: int) -> tuple[str, Table]:
    """Who gained and who lost by a setting against the first, by segment, and a heading.

    Args:
        row: of `between_settings`, of any but the first.
        width: of the terminal.
    """
    parts = row["segments"]
    columns = [
        Column("Queries", [count(part["queries"]) for part in parts.values()], 1),
        Column("Less the first", [difference(part["difference"]) for part in parts.values()]),
        Column("95 % interval of it", [interval(part["interval"]) for part in parts.values()]),
        Column("Users better", [percent(part["gained"]) for part in parts.values()], 2),
        Column("Users worse", [percent(part["lost"]) for part in parts.values()], 2),
    ]
    heading = Column("Segment", list(parts))
    return f"{_name(row)}, by segment", fitted_table(heading, columns, width, [None] * len(parts))


def _name(row: Mapping[str, Any]) -> str:
    shown = [f"{key} = {_shown(value)}" for key, value in row["differs"].items()]
    more = [f"{len(shown) - MOST} more"] if len(shown) > MOST else []
    differs = ", ".join([*shown[:MOST], *more])
    return f"{row['name']} ({differs})" if differs else str(row["name"])


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _sentence(
    settings: Sequence[Mapping[str, Any]], names: Sequence[str], key: str, model: str
) -> str:
    """Which setting has the best figure, and whether that is more than chance."""
    gain = metric_of(key).gain
    best = max(range(len(settings)), key=lambda place: gain(settings[place]["value"]))
    outcomes = [gain_outcome({"metric": key, **row.get("against_first", {})}) for row in settings]
    if best == 0:
        worse = all(outcome == HURT for outcome in outcomes[1:])
        sure = "beyond chance" if worse else "but not beyond chance against every other"
    else:
        sure = "beyond chance" if outcomes[best] == HELPED else "but not beyond chance"
        sure += " against the first"
    return f"The best {model} is that of {names[best]}, {sure}."
