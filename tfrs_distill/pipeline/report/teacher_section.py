"""The teachers side by side: a terminal's table, and a section of the page with its pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from tfrs_distill.pipeline.report.cautions import too_few
from tfrs_distill.pipeline.report.charts import FRAME, HEIGHT, WIDTH, Axis
from tfrs_distill.pipeline.report.numbers import MISSING, counted, metric, milliseconds, percent
from tfrs_distill.pipeline.report.table import Column, Row, interval

TWIN = "twin"


def teacher_table(report: Mapping[str, Any], width: int = 100) -> Table:
    """A `compare_teachers` as a `rich` table; a narrow terminal gets fewer columns.

    Args:
        report: what `compare_teachers` returned.
        width: characters of the terminal.
    """
    columns = [*_of_quality(report), *_of_calibration_and_cost()]
    shown = [column for column in columns if column.from_width <= width]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=_warning(report) or None)
    table.add_column("Teacher", overflow="fold")
    for column in shown:
        table.add_column(column.heading, justify="right", no_wrap=True)
    for row in _rows(report):
        style = "dim" if row.key == TWIN else None
        table.add_row(Text(row.name), *(column.text(row) for column in shown), style=style)
    return table


def teacher_section(report: Mapping[str, Any]) -> str:
    """A `compare_teachers` as a section of the HTML page: tables, and reliability as inline SVG.

    Args:
        report: what `compare_teachers` returned.
    """
    k, rows = report["k"], _rows(report)
    parts = "; ".join(
        f"{name}: {told['what']} ({counted(told['queries'], 'queries', 'query')})"
        for name, told in report["segments"].items()
    )
    tables = "".join(
        _table(
            "Teacher",
            [column.heading for column in columns],
            [[row.name, *(column.text(row) for column in columns)] for row in rows],
        )
        for columns in (_of_quality(report), _of_calibration_and_cost())
    )
    pictures = "".join(
        f'<figure class="{TWIN if name == TWIN else "teacher"}"><h3>{escape(name)}</h3>'
        f"{reliability(told['calibration'])}</figure>"
        for name, told in report["models"].items()
        if told["calibration"]
    )
    if pictures:
        pictures = (
            '<h3>Reliability</h3><p class="meta small">How often an item came next against how '
            "probable it was said to be; on the line both are the same.</p>"
            f'<div class="charts">{pictures}</div>'
        )
    return (
        "<section><h2>What the teachers know</h2>"
        f'<p class="note">{escape(_asked(report))} NDCG@{k} by segment: {escape(parts)}. '
        "NLL: negative log-likelihood of the next item, in nats. ECE: expected calibration error. "
        "T: the temperature that makes the NLL least. Times are for 1,000 items or queries.</p>"
        f'{tables}<div class="facts">{_agreement(report)}</div>{pictures}</section>'
    )


def _asked(report: Mapping[str, Any]) -> str:
    """Of what the figures are, and whether it is too little."""
    return f"On validation, among {_among(report)}. {_warning(report)}".strip()


def _among(report: Mapping[str, Any]) -> str:
    """What was chosen among."""
    named = report.get("candidates")
    return "the whole catalogue" if named is None else counted(named, "candidates")


def _warning(report: Mapping[str, Any]) -> str:
    """That the queries are too few for the intervals, where they are."""
    return too_few(report["queries"], "queries", "query")


def reliability(calibration: Mapping[str, Any]) -> str:
    """Observed against predicted probability of each bin, both on a log axis, as inline SVG.

    A bin in which nothing came next has a log of its own: it lies on the lower edge.

    Args:
        calibration: of one model of a `compare_teachers`.
    """
    bins = calibration["bins"]
    figures = [told[key] for told in bins for key in ("predicted", "observed") if told[key] > 0]
    low = 10.0 ** math.floor(math.log10(min(figures)))
    high = 10.0 ** math.ceil(math.log10(max(figures)))
    high = high if high > low else 10 * low
    x = Axis(low, high, FRAME.left, FRAME.right, log=True)
    y = Axis(low, high, FRAME.bottom, FRAME.top, log=True)
    parts = []
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        left, top, label = x(10.0**power), y(10.0**power), f"{10.0**power:g}"
        parts += [
            f'<line class="grid" x1="{left:.1f}" x2="{left:.1f}" y1="{FRAME.bottom}" '
            f'y2="{FRAME.top}"/>',
            f'<line class="grid" x1="{FRAME.left}" x2="{FRAME.right}" y1="{top:.1f}" '
            f'y2="{top:.1f}"/>',
            f'<text class="tick middle" x="{left:.1f}" y="{FRAME.bottom + 17}">{label}</text>',
            f'<text class="tick end" x="{FRAME.left - 5}" y="{top + 4:.1f}">{label}</text>',
        ]
    parts.append(
        f'<line class="axis" x1="{x(low):.1f}" y1="{y(low):.1f}" x2="{x(high):.1f}" '
        f'y2="{y(high):.1f}"/>'
    )
    places = [(x(told["predicted"]), y(max(told["observed"], low)), told) for told in bins]
    path = " ".join(f"{left:.1f},{top:.1f}" for left, top, _ in places)
    parts.append(f'<polyline class="line" points="{path}"/>')
    parts += [
        f'<circle class="dot" cx="{left:.1f}" cy="{top:.1f}" r="4"><title>expected '
        f"{told['expected_items']:.1f} next items, there were {told['observed_items']}</title>"
        "</circle>"
        for left, top, told in places
    ]
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" '
        f'aria-label="Observed against predicted probability">{"".join(parts)}</svg>'
    )


def _rows(report: Mapping[str, Any]) -> list[Row]:
    """Every model with its figures by one name each."""
    k = report["k"]
    rows = []
    for name, told in report["models"].items():
        everything = told["quality"]["all"]
        against = everything.get("vs_twin", {})
        figures = {segment: told["quality"][segment][f"ndcg@{k}"] for segment in report["segments"]}
        figures |= everything | told["cost"] | (told["calibration"] or {})
        figures |= {"difference": against.get("difference"), "bounds": against.get("interval")}
        rows.append(Row(name, name, "", figures))
    return rows


def _of_quality(report: Mapping[str, Any]) -> list[Column]:
    k = report["k"]
    return [
        Column(f"NDCG@{k}", f"ndcg@{k}", metric),
        Column("95 % interval", f"ndcg@{k}_interval", interval, 182),
        Column("vs twin", "difference", _signed, 40),
        Column("95 % interval", "bounds", interval, 80),
        Column(f"Recall@{k}", f"recall@{k}", metric, 162),
        *(Column(name, name, metric, 150) for name in report["segments"] if name != "all"),
    ]


def _of_calibration_and_cost() -> list[Column]:
    return [
        Column("NLL", "negative_log_likelihood", _two_decimals, 98),
        Column("ECE", "expected_calibration_error", percent, 90),
        Column("T", "temperature", _two_decimals, 106),
        Column("Items", "items_ms_per_1000", milliseconds, 50),
        Column("Queries", "queries_ms_per_1000", milliseconds, 60),
    ]


def _signed(number: Any) -> str:
    shown = metric(number)
    return shown if shown == MISSING or number < 0 else f"+{shown}"


def _two_decimals(number: Any) -> str:
    return MISSING if metric(number) == MISSING else f"{number:.2f}"


def _agreement(report: Mapping[str, Any]) -> str:
    """Both matrices of agreement, as tables."""
    agreement, k = report["agreement"], report["k"]
    names = agreement["names"]
    told: list[tuple[str, str, Callable[[Any], str]]] = [
        (f"Top {k} in common", f"overlap@{k}", percent),
        (f"Rank correlation, {_among(report)}", "rank_correlation", _two_decimals),
    ]
    found = []
    for heading, key, show in told:
        lines = [[name, *map(show, row)] for name, row in zip(names, agreement[key])]
        found.append(f"<div><h3>{escape(heading)}</h3>{_table('', names, lines)}</div>")
    return "".join(found)


def _table(corner: str, headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    heads = "".join(f"<th>{escape(heading)}</th>" for heading in [corner, *headings])
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in lines
    )
    return (
        f'<div class="scroll" tabindex="0"><table class="models"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
