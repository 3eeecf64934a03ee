"""A ranking report's models as rows, with the figures of each task as columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from tfrs_distill.pipeline.report.numbers import count, metric, milliseconds, size
from tfrs_distill.pipeline.report.ranking_metrics import metric_of
from tfrs_distill.pipeline.report.table import MODELS, Column, Row, interval

# Models that a retrieval report does not have: name and what it is.
RANKING_MODELS = {
    "item_mean": ("Item mean", "the item's mean label in training, drawn to the mean of all"),
    "bias_only": ("Bias only", "an item's and a user's offsets"),
}
TWO_STAGE_MODELS = {
    "teacher": ("Teachers", "cross-encoder and item-item weights over the same candidates"),
    "cross_encoder": ("Cross-encoder", "reads history and item; over the same candidates"),
    "student": ("Two stages", "retrieval, then the distilled ranking student"),
    "twin": ("Two stages, twin", "the same ranking student without teachers"),
    "retrieval": ("Retrieval alone", "the first stage's own order"),
    "student_int8": ("Two stages, int8", "8-bit weights, .tflite"),
    "student_tflite": ("Two stages, .tflite", "float32, for a device"),
    "saved_model": ("Two stages, SavedModel", "for a server"),
}
COST = ("parameters", "bytes", "latency_ms_p50", "latency_ms_p95")
A_COLUMN = 11  # characters of a metric's figures or heading
INTERVAL = "95 % interval"


def ranking_rows(report: Mapping[str, Any], task: str) -> list[Row]:
    """The models that were measured on a task, in the order they are shown."""
    models, known = report["models"], names_of_models(report)
    order = [key for key in known if key in models]
    order += [key for key in models if key not in known]
    rows = []
    for key in order:
        figures = models[key].get("metrics", {}).get(task)
        if figures is not None:
            cost = {name: models[key].get(name) for name in COST}
            rows.append(Row(key, *known.get(key, _unknown(key)), {**cost, **figures}))
    return rows


def names_of_models(report: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Name and meaning of every model that a report of this task may hold, in order."""
    if report.get("task") == "two-stage":
        return TWO_STAGE_MODELS
    return {**MODELS, **RANKING_MODELS}


def ranking_columns(report: Mapping[str, Any], task: str) -> list[Column]:
    """The task's leading metric with its interval, the others, then the cost."""
    leading = report["labels"][task]["metric"]
    measured = [row.figures for row in ranking_rows(report, task)]
    keys = dict.fromkeys(key for figures in measured for key in figures)
    others = [
        key for key in keys if key != leading and key not in COST and not key.endswith("_interval")
    ]
    all_metrics = 86 + A_COLUMN * len(others)  # from this width on there is room for the rest
    return [
        Column(metric_of(leading).name, leading, metric),
        Column(INTERVAL, f"{leading}_interval", interval, 74),
        *(
            Column(metric_of(key).name, key, metric, 86 + A_COLUMN * place)
            for place, key in enumerate(others)
        ),
        Column("Parameters", "parameters", count, all_metrics + 22),
        Column("Size", "bytes", size),
        Column("p50", "latency_ms_p50", milliseconds, 54),
        Column("p95", "latency_ms_p95", milliseconds, all_metrics + 10),
    ]


def ranking_table(report: Mapping[str, Any], width: int = 100) -> Table:
    """A block of rows a task as a `rich` table; a narrow terminal gets fewer columns."""
    outer = Table(box=None, show_header=False, pad_edge=False, padding=0)
    outer.add_column()
    for task in report["labels"]:
        shown = [column for column in ranking_columns(report, task) if column.from_width <= width]
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column(task.replace("_", " "), overflow="fold")
        for column in shown:
            table.add_column(column.heading, justify="right", no_wrap=True)
        for row in ranking_rows(report, task):
            style = "bold" if row.key == "student" else None
            table.add_row(Text(row.name), *(column.text(row) for column in shown), style=style)
        outer.add_row(table)
    return outer


def _unknown(key: str) -> tuple[str, str]:
    if key.startswith("twin_of_"):
        task = key.removeprefix("twin_of_").replace("_", " ")
        return f"Twin of {task}", "the same student without a teacher, this task alone"
    return key, ""
