"""The comparison of models as rows and columns; the terminal's tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from tfrs_distill.pipeline.report.models import Report, leading_metric, metric_of, rows
from tfrs_distill.pipeline.report.numbers import (
    count,
    interval,
    metric,
    milliseconds,
    percent,
    size,
)

INTERVAL = "95 % interval"


@dataclass(frozen=True)
class Column:
    """One value of every model as text, and its priority on a narrow terminal.

    Args:
        heading: the column's heading.
        cells: one per model.
        rank: 0 for a column that is always shown; columns of a lower rank are kept longer.
    """

    heading: str
    cells: Sequence[str]
    rank: int = 0

    @property
    def width(self) -> int:
        """The width in characters of a terminal."""
        return max(map(cell_len, [self.heading, *self.cells]))


def columns(report: Report, task: str) -> list[Column]:
    """The task's leading metric with its interval, the others, then the cost."""
    measured, leading = rows(report, task), leading_metric(report, task)
    others = dict.fromkeys(key for row in measured for key in row.metrics if key != leading)

    def of(key: str, rank: int) -> Column:
        show = percent if metric_of(key).is_share else metric
        return Column(metric_of(key).name, [show(row.value(key)) for row in measured], rank)

    return [
        of(leading, 0),
        Column(INTERVAL, [interval(row.bounds(leading)) for row in measured], 2),
        *(of(key, 3) for key in others),
        Column("Parameters", [count(row.cost.get("parameters")) for row in measured], 5),
        Column("Size", [size(row.cost.get("bytes")) for row in measured]),
        Column("p50", [milliseconds(row.latency("p50")) for row in measured], 1),
        Column("p95", [milliseconds(row.latency("p95")) for row in measured], 4),
    ]


def terminal_table(report: Report, width: int = 100) -> Table:
    """A `rich` table with a block of rows per task; a narrow terminal gets fewer columns."""
    outer = Table(box=None, show_header=False, pad_edge=False, padding=0)
    outer.add_column()
    for task in report["tasks"]:
        heading = task.replace("_", " ") if len(report["tasks"]) > 1 else "Model"
        shown = rows(report, task)
        styles = {"student": "bold"}
        outer.add_row(
            fitted_table(
                Column(heading, [row.name for row in shown]),
                columns(report, task),
                width,
                [styles.get(row.key) for row in shown],
            )
        )
    return outer


def fitted_table(
    names: Column, others: Sequence[Column], width: int, styles: Sequence[str | None]
) -> Table:
    """A `rich` table with as many columns, by rank, as fit into a terminal of `width`."""
    shown = [names, *_fitting(names, others, width)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(names.heading, overflow="fold")
    for column in shown[1:]:
        table.add_column(column.heading, justify="right", no_wrap=True)
    for line, style in zip(zip(*(column.cells for column in shown)), styles):
        table.add_row(*map(Text, line), style=style)
    return table


def _fitting(names: Column, others: Sequence[Column], width: int) -> list[Column]:
    chosen: Collection[int] = {place for place, column in enumerate(others) if column.rank == 0}
    for place in sorted(range(len(others)), key=lambda place: others[place].rank):
        wider = {*chosen, place}
        taken = names.width + sum(others[one].width for one in wider) + 3 * len(wider) + 2
        if place not in chosen and taken > width:
            break
        chosen = wider
    return [column for place, column in enumerate(others) if place in chosen]
