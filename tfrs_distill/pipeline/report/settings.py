"""Comparison of settings: the terminal's table, and a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from tfrs_distill.pipeline.report.models import metric_of, words
from tfrs_distill.pipeline.report.numbers import (
    MISSING,
    count,
    difference,
    interval,
    metric,
    percent,
)
from tfrs_distill.pipeline.report.paired_difference import HELPED, HURT, gain_outcome
from tfrs_distill.pipeline.report.table import INTERVAL, Column, fitted_table

INTERVAL_OF_IT = f"{INTERVAL} of it"
Settings = Sequence[Mapping[str, Any]]  # the result of `between_settings`
MOST = 4  # the number of differing recipe settings that are shown


def settings_table(settings: Settings, model: str, key: str, width: int) -> tuple[Table, str]:
    """The result of `between_settings` as a table, and a sentence about the best setting.

    Args:
        settings: one dict each.
        model: the model that was compared.
        key: of the metric.
        width: of the terminal.
    """
    names = [setting_name(row) for row in settings]
    heading = Column(f"{words(model).capitalize()} of", names)
    table = fitted_table(heading, settings_columns(settings, key), width, [None] * len(names))
    return table, best_setting(settings, model, key)


def settings_columns(settings: Settings, key: str) -> list[Column]:
    """Each setting's metric, and its difference to the first one's.

    Columns without any value are omitted; for example, there is no `p` for rows.
    """
    against = [row.get("against_first") for row in settings]

    def of(name: str, show: Any) -> list[str]:
        return [MISSING if row is None else show(row.get(name)) for row in against]

    columns = [
        Column(metric_of(key).name, [metric(row["value"]) for row in settings]),
        Column(INTERVAL, [interval(row["interval"]) for row in settings], 3),
        Column("Minus the first", of("difference", difference)),
        Column(INTERVAL_OF_IT, of("interval", interval), 1),
        Column("p", of("p", metric), 2),
        Column("Users better", of("gained", percent), 4),
        Column("Users worse", of("lost", percent), 4),
    ]
    return [column for column in columns if set(column.cells) != {MISSING}]


def segments_table(row: Mapping[str, Any], width: int) -> tuple[str, Table]:
    """The gains and losses of a setting compared with the first, by segment, and a heading.

    Args:
        row: a row of `between_settings`, not the first one.
        width: of the terminal.
    """
    heading, names, columns = segments_columns(row)
    return heading, fitted_table(Column("Segment", names), columns, width, [None] * len(names))


def segments_columns(row: Mapping[str, Any]) -> tuple[str, list[str], list[Column]]:
    """A heading, the segments' names, and each segment's difference to the first setting."""
    parts = row["segments"]
    columns = [
        Column("Queries", [count(part["queries"]) for part in parts.values()], 1),
        Column("Minus the first", [difference(part["difference"]) for part in parts.values()]),
        Column(INTERVAL_OF_IT, [interval(part["interval"]) for part in parts.values()], 1),
        Column("Users better", [percent(part["gained"]) for part in parts.values()], 2),
        Column("Users worse", [percent(part["lost"]) for part in parts.values()], 2),
    ]
    return f"{setting_name(row)}, by segment", list(parts), columns


def setting_name(row: Mapping[str, Any]) -> str:
    """A setting's name, with the recipe settings in which it differs."""
    shown = [f"{key} = {_shown(value)}" for key, value in row["differs"].items()]
    more = [f"{len(shown) - MOST} more"] if len(shown) > MOST else []
    differs = ", ".join([*shown[:MOST], *more])
    return f"{row['name']} ({differs})" if differs else str(row["name"])


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def best_setting(settings: Settings, model: str, key: str) -> str:
    """A sentence: which setting has the best metric, and whether the difference is significant."""
    gain = metric_of(key).gain
    best = max(range(len(settings)), key=lambda place: gain(settings[place]["value"]))
    outcomes = [gain_outcome({"metric": key, **row.get("against_first", {})}) for row in settings]
    if best == 0:
        worse = all(outcome == HURT for outcome in outcomes[1:])
        sure = "significantly better" if worse else "but not significantly better"
        sure += " than every other setting"
    else:
        sure = "significantly" if outcomes[best] == HELPED else "but not significantly"
        sure += " better than the first setting"
    name = setting_name(settings[best])
    return f"The best {words(model)} by {metric_of(key).name} is that of {name}, {sure}."
