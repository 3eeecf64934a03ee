"""The result of an update, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfrs_distill.pipeline.report.numbers import count, difference, metric

if TYPE_CHECKING:
    from rich.table import Table


def update_table(found: dict[str, Any]) -> tuple[str, Table]:
    """A sentence about the new data, and a table that compares the versions."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    columns = ("first version", f"version {found['before']}", f"version {found['version']}")
    table.add_column(f"NDCG@{found['k']} of")
    for name in ("queries", *columns, f"gain over version {found['before']}"):
        table.add_column(name, justify="right")
    for part, values in found["ndcg"].items():
        gained = found["differences"][part]["last"]
        low, high = gained["interval"]
        table.add_row(
            part,
            count(found["queries"][part]),
            *(metric(values[name]) for name in ("first", "last", "new")),
            f"{difference(gained['difference'])} ({difference(low)} to {difference(high)})",
        )
    return f"{found['new']}.", table
