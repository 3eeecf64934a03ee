"""The teachers side by side: the values of the page's section."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tfrs_distill.evaluation.metrics import too_few_to_resample
from tfrs_distill.pipeline.report.cautions import few
from tfrs_distill.pipeline.report.charts import Calibration, reliability_chart
from tfrs_distill.pipeline.report.numbers import (
    MISSING,
    counted,
    interval,
    metric,
    milliseconds,
    percent,
)
from tfrs_distill.pipeline.report.table import INTERVAL, Column

TWIN = "twin"
Comparison = Mapping[str, Any]  # what `compare_teachers` returned


def teacher_section(compared: Comparison) -> dict[str, Any]:
    """The values of the template's section about the teachers.

    Args:
        compared: the result of `compare_teachers`.
    """
    agreement, k = compared["agreement"], compared["k"]
    matrices: list[tuple[str, str, Callable[[Any], str]]] = [
        (f"Top {k} in common", f"overlap@{k}", percent),
        (f"Rank correlation, {_among(compared)}", "rank_correlation", _two_decimals),
    ]
    return {
        "k": k,
        "question": f"On validation, ranking {_among(compared)}. {_warning(compared)}".strip(),
        "segments": "; ".join(
            f"{name}: {part['what']} ({counted(part['queries'], 'queries', 'query')})"
            for name, part in compared["segments"].items()
        ),
        "names": list(compared["models"]),
        "tables": [_of_quality(compared), _of_calibration_and_cost(compared)],
        "agreement": [
            (
                heading,
                agreement["names"],
                [
                    Column(name, [show(row[place]) for row in agreement[key]])
                    for place, name in enumerate(agreement["names"])
                ],
            )
            for heading, key, show in matrices
        ],
        "reliability": [
            (name, TWIN if name == TWIN else "teacher", _reliability(name, model["calibration"]))
            for name, model in compared["models"].items()
            if model["calibration"]
        ],
    }


def _reliability(name: str, calibration: Mapping[str, Any]) -> str:
    points = [
        (
            one["predicted"],
            one["observed"],
            f"next items: {one['expected_items']:.1f} expected, {one['observed_items']} observed",
        )
        for one in calibration["bins"]
    ]
    return reliability_chart([Calibration(TWIN if name == TWIN else "teacher", points)], log=True)


def _among(compared: Comparison) -> str:
    """The items that were ranked."""
    named = compared.get("candidates")
    return "the whole catalogue" if named is None else counted(named, "candidates")


def _warning(compared: Comparison) -> str:
    """A warning if there are too few queries for reliable intervals; else empty."""
    number = compared["queries"]
    return few(number, "queries", "query") if too_few_to_resample(number) else ""


def _of_quality(compared: Comparison) -> list[Column]:
    k = compared["k"]
    models = [model["quality"] for model in compared["models"].values()]
    everything = [quality["all"] for quality in models]
    beside_twin = [figures.get("vs_twin", {}) for figures in everything]
    return [
        Column(f"NDCG@{k}", [metric(one[f"ndcg@{k}"]) for one in everything]),
        Column(INTERVAL, [interval(one[f"ndcg@{k}_interval"]) for one in everything], 10),
        Column("vs twin", [_signed(one.get("difference")) for one in beside_twin], 1),
        Column(INTERVAL, [interval(one.get("interval")) for one in beside_twin], 4),
        Column(f"Recall@{k}", [metric(one[f"recall@{k}"]) for one in everything], 9),
        *(
            Column(segment, [metric(one[segment][f"ndcg@{k}"]) for one in models], 8)
            for segment in compared["segments"]
            if segment != "all"
        ),
    ]


def _of_calibration_and_cost(compared: Comparison) -> list[Column]:
    def of(heading: str, part: str, key: str, show: Callable[[Any], str], rank: int) -> Column:
        figures = [model[part] or {} for model in compared["models"].values()]
        return Column(heading, [show(one.get(key)) for one in figures], rank)

    return [
        of("NLL", "calibration", "negative_log_likelihood", _two_decimals, 6),
        of("ECE", "calibration", "expected_calibration_error", percent, 5),
        of("T", "calibration", "temperature", _two_decimals, 7),
        of("Items", "cost", "items_ms_per_1000", milliseconds, 2),
        of("Queries", "cost", "queries_ms_per_1000", milliseconds, 3),
    ]


def _signed(number: Any) -> str:
    shown = metric(number)
    return shown if shown == MISSING or number < 0 else f"+{shown}"


def _two_decimals(number: Any) -> str:
    return MISSING if metric(number) == MISSING else f"{number:.2f}"
