"""The comparison as rows and columns; the terminal's table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from tfrs_distill.pipeline.report.numbers import MISSING, count, metric, milliseconds, percent, size

# Every model of a report in the order it is shown: its name for people, and what it is.
MODELS = {
    "teacher": ("Teacher", "what the student learns from"),
    "student": ("Student", "learnt from the teacher"),
    "student_int8": ("Student, int8", "8-bit weights, .tflite"),
    "student_tflite": ("Student, .tflite", "float32, for a device"),
    "saved_model": ("Student, SavedModel", "for a server"),
    "twin": ("Twin", "the same student without the teacher"),
    "ease": ("EASE", "linear item-item model"),
    "popularity": ("Popularity", "the same order for everyone"),
}


@dataclass(frozen=True)
class Row:
    """A model of the report: its key, its name for people, what it is and its figures."""

    key: str
    name: str
    what: str
    figures: Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A figure of every model: its heading, how to show it, and the width from which it fits."""

    heading: str
    key: str
    show: Callable[[Any], str]
    from_width: int = 0

    def text(self, row: Row) -> str:
        """The figure as people read it."""
        return self.show(row.figures.get(self.key))


def rows(report: Mapping[str, Any]) -> list[Row]:
    """The models in the order of `MODELS`; models it does not know come last."""
    models = report["models"]
    known = [key for key in MODELS if key in models]
    unknown = [key for key in models if key not in MODELS]
    return [Row(key, *MODELS.get(key, (key, "")), models[key]) for key in known + unknown]


def columns(k: int) -> list[Column]:
    """The figures of every model, the most important first."""
    return [
        Column(f"NDCG@{k}", f"ndcg@{k}", metric),
        Column("95 % interval", f"ndcg@{k}_interval", interval, 104),
        Column(f"Recall@{k}", f"recall@{k}", metric, 66),
        Column(f"MRR@{k}", f"mrr@{k}", metric, 116),
        Column("Coverage", f"coverage@{k}", percent, 126),
        Column("Overlap", f"overlap@{k}", percent, 136),
        Column("Parameters", "parameters", count, 92),
        Column("Size", "bytes", size),
        Column("p50", "latency_ms_p50", milliseconds, 54),
        Column("p95", "latency_ms_p95", milliseconds, 78),
    ]


def interval(bounds: Any) -> str:
    """Two bounds as "low to high"."""
    if not bounds or MISSING in (metric(bounds[0]), metric(bounds[1])):
        return MISSING
    return f"{metric(bounds[0])} to {metric(bounds[1])}"


def terminal_table(report: Mapping[str, Any], width: int = 100) -> Table:
    """The comparison as a `rich` table; a narrow terminal gets fewer columns."""
    shown = [column for column in columns(report["k"]) if column.from_width <= width]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Model", overflow="fold")
    for column in shown:
        table.add_column(column.heading, justify="right", no_wrap=True)
    for row in rows(report):
        style = "bold" if row.key == "student" else None
        table.add_row(Text(row.name), *(column.text(row) for column in shown), style=style)
    return table
