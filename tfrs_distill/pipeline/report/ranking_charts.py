"""Pictures of a ranking report: reliability of probabilities, and a confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from tfrs_distill.pipeline.report.charts import FRAME, HEIGHT, WIDTH, Axis
from tfrs_distill.pipeline.report.numbers import count, counted, percent
from tfrs_distill.pipeline.report.table import MODELS

TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def reliability_chart(bins: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Observed share of positives against the predicted probability, a line a model.

    Args:
        bins: by model, `predicted` and `observed` (both 0 to 1) and `rows` of each filled bin.
    """
    x = Axis(0.0, 1.0, FRAME.left, FRAME.right)
    y = Axis(0.0, 1.0, FRAME.bottom, FRAME.top)
    parts = [
        f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{FRAME.bottom}" '
        f'y2="{FRAME.top}"/><line class="grid" x1="{FRAME.left}" x2="{FRAME.right}" '
        f'y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text class="tick middle" x="{x(tick):.1f}" y="{FRAME.bottom + 17}">{tick:g}</text>'
        f'<text class="tick end" x="{FRAME.left - 5}" y="{y(tick) + 4:.1f}">{tick:g}</text>'
        for tick in TICKS
    ]
    parts.append(
        f'<line class="axis" x1="{x(0):.1f}" y1="{y(0):.1f}" x2="{x(1):.1f}" y2="{y(1):.1f}"/>'
        f'<text class="tick middle" x="{(FRAME.left + FRAME.right) / 2:.1f}" y="{HEIGHT - 6}">'
        "predicted probability</text>"
    )
    for name, told in bins.items():
        places = [(x(one["predicted"]), y(one["observed"]), one) for one in told]
        path = " ".join(f"{left:.1f},{top:.1f}" for left, top, _ in places)
        dots = "".join(
            f'<circle class="dot" cx="{left:.1f}" cy="{top:.1f}" r="4"><title>'
            f"{escape(_shown(name))}: said {percent(one['predicted'])}, was "
            f"{percent(one['observed'])} of {counted(one['rows'], 'rows')}</title></circle>"
            for left, top, one in places
        )
        parts.append(
            f'<g class="{_style(name)}"><polyline class="line" points="{path}"/>{dots}</g>'
        )
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" '
        f'aria-label="Observed share against predicted probability">{"".join(parts)}</svg>'
    )


def confusion_table(matrix: Sequence[Sequence[float]], task: str) -> str:
    """True against predicted class at 0.5, with each cell's share of its true class.

    Args:
        matrix: rows of each true class, negative first, by predicted class, negative first.
        task: whose positives they are.
    """
    shown = task.replace("_", " ")
    lines = []
    for name, row in zip((f"not {shown}", shown), matrix):
        total = sum(row)
        cells = "".join(
            f"<td>{count(cell)}<small> {percent(cell / total) if total else ''}</small></td>"
            for cell in row
        )
        lines.append(f"<tr><td>{escape(name)}</td>{cells}</tr>")
    return (
        f"<table><thead><tr><th>truly</th><th>said: not {escape(shown)}</th>"
        f"<th>said: {escape(shown)}</th></tr></thead><tbody>{''.join(lines)}</tbody></table>"
    )


def legend(names: Sequence[str], notes: Mapping[str, str]) -> str:
    """A line's colour and pattern beside each model's name, with a note."""
    items = "".join(
        f'<li class="{_style(name)}"><svg viewBox="0 0 22 10" aria-hidden="true">'
        '<line class="line" x1="1" x2="21" y1="5" y2="5"/></svg>'
        f"<b>{escape(_shown(name))}</b> {escape(notes.get(name, ''))}</li>"
        for name in names
    )
    return f'<ul class="legend">{items}</ul>'


def _shown(name: str) -> str:
    return MODELS.get(name, (name.replace("_", " "),))[0]


def _style(name: str) -> str:
    return name if name in ("teacher", "student", "twin") else "other"
