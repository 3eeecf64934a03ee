"""The output of `tfrs-distill evaluate`: tables of models, of differences and of segments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from tfrs_distill.evaluation.metrics import LIST_METRICS, OF_WHOLE_LISTS
from tfrs_distill.pipeline.report.cautions import few
from tfrs_distill.pipeline.report.models import metric_of
from tfrs_distill.pipeline.report.numbers import (
    MISSING,
    counted,
    difference,
    interval,
    metric,
    percent,
)
from tfrs_distill.pipeline.report.segments import explained_segments, segment_columns
from tfrs_distill.pipeline.report.table import INTERVAL, Column, fitted_table


def evaluation_blocks(found: Mapping[str, Any], width: int) -> Iterator[str | Table]:
    """The output for a result of `evaluate_scorers`: sentences and tables, in order.

    Args:
        found: the result of `evaluate_scorers`.
        width: of the terminal.
    """
    models = found["models"]
    name_of = dict(zip(models, short_names(list(models))))
    shown = list(name_of.values())
    number = counted(found["queries"], "queries", "query")
    sentence = f"{found['data']}, {found['split']}: {number}."
    if found["num_left_out"]:
        sentence += f" {found['num_left_out']:,} positives are in the histories and are excluded."
    if found["interval_too_narrow"]:
        sentence += f" {few(found['queries'], 'queries', 'query')}"
    yield sentence
    for k in found["k"]:
        columns = list(_of_length(k, [model["figures"] for model in models.values()]))
        yield fitted_table(Column(f"First {k}", shown), columns, width, [None] * len(shown))
    columns = list(_of_scores(models, f"overlap@{found['k'][0]}", shown[0]))
    if columns:
        yield fitted_table(Column("Model", shown), columns, width, [None] * len(shown))
    if found["comparisons"]:
        yield _differences(found, name_of, width)
    yield explained_segments(found["segments"])
    segments, columns = segment_columns(found["segments"], name_of.__getitem__)
    yield fitted_table(Column("Segment", segments), columns, width, [None] * len(segments))


def short_names(paths: Sequence[str]) -> list[str]:
    """The shortest ends of the paths that are all different; at least a file with its folder.

    Example:
    >>> short_names(["runs/a/1/student.tflite", "runs/b/1/student.tflite", "mine.py:most"])
    ['a/1/student.tflite', 'b/1/student.tflite', 'mine.py:most']
    >>> short_names(["runs/a/1"])
    ['a/1']
    """
    parts = [Path(path).parts for path in paths]
    lengths = range(2, max(map(len, parts)) + 2)
    length = next(n for n in lengths if len({part[-n:] for part in parts}) == len(parts))
    return [str(Path(*part[-length:])) for part in parts]


def _of_length(k: int, figures: Sequence[Mapping[str, Any]]) -> Iterator[Column]:
    for rank, one in enumerate((*LIST_METRICS, *OF_WHOLE_LISTS)):
        key = f"{one.key}@{k}"
        if key not in figures[0]:
            continue
        show = percent if one.is_share else metric
        yield Column(one.name, [show(of[key]) for of in figures], rank)
        if rank == 0:
            bounds = [of.get(f"{key}_interval") for of in figures]
            yield Column(INTERVAL, [interval(of) for of in bounds], 1)


def _of_scores(models: Mapping[str, Any], overlap: str, first: str) -> Iterator[Column]:
    """Calibration, and the agreement with the first model."""
    for heading, key, show in (
        ("NLL", "negative_log_likelihood", metric),
        ("ECE", "expected_calibration_error", percent),
        ("T", "temperature", metric),
        ("NLL at T", "negative_log_likelihood_at_temperature", metric),
    ):
        cells = [show((model["calibration"] or {}).get(key)) for model in models.values()]
        if set(cells) != {MISSING}:
            yield Column(heading, cells, 1)
    if len(models) > 1:
        shared = [percent(model[overlap]) for model in models.values()]
        yield Column(f"{metric_of(overlap).name} with {first}", shared)
        alike = [metric(model["rank_correlation"]) for model in models.values()]
        yield Column("Rank correlation", alike)


def _differences(found: Mapping[str, Any], name_of: Mapping[str, str], width: int) -> Table:
    compared = found["comparisons"]
    first = name_of[next(iter(name_of))]

    def of(key: str, show: Any) -> list[str]:
        return [show(one[key]) for one in compared.values()]

    columns = [
        Column(f"NDCG@{found['k'][0]} minus {first}", of("difference", difference)),
        Column(INTERVAL, of("interval", interval)),
        Column("p", of("p", metric)),
        Column("Queries better", of("gained", percent), 1),
        Column("Queries worse", of("lost", percent), 1),
    ]
    names = [name_of[path] for path in compared]
    return fitted_table(Column("Model", names), columns, width, [None] * len(names))
