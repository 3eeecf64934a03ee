"""The page's charts: inline SVG whose colours come from the page's style, so that dark mode works.

Points carry a `<title>`, which a browser shows when the pointer rests on them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tfrs_distill.pipeline.report.labels import Box, place
from tfrs_distill.pipeline.report.numbers import MISSING, metric, size
from tfrs_distill.pipeline.report.table import MODELS, Row, interval, rows

WIDTH, HEIGHT = 520.0, 340.0
FRAME = Box(left=46, top=14, right=WIDTH - 12, bottom=HEIGHT - 42)


class Axis:
    """Numbers to px along one side of the frame.

    Args:
        low: the number at `start`.
        high: the number at `end`.
        start: px.
        end: px.
        log: whether equal ratios get equal lengths.
    """

    def __init__(
        self, low: float, high: float, start: float, end: float, *, log: bool = False
    ) -> None:
        self.log = log
        self.low, self.high = (math.log10(low), math.log10(high)) if log else (low, high)
        self.start, self.end = start, end

    def __call__(self, number: float) -> float:
        """Where `number` lies, in px."""
        number = math.log10(number) if self.log else number
        share = (number - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.start + share * (self.end - self.start)


def training_curves(report: Mapping[str, Any]) -> str:
    """Validation NDCG by epoch for each model that was trained; its best epoch is marked."""
    return curves_chart(curves_of(report), f"Validation NDCG@{report['k']} by epoch")


def curves_chart(curves: Mapping[str, Sequence[float | None]], title: str) -> str:
    """A curve by epoch for each model, higher is better; its best epoch is marked."""
    if not curves:
        return ""
    values = [value for curve in curves.values() for value in curve if value is not None]
    longest = max(len(curve) for curve in curves.values())
    x = Axis(1, max(longest, 2), FRAME.left, FRAME.right)
    y = Axis(*_padded(min(values), max(values)), FRAME.bottom, FRAME.top)
    epochs = [tick for tick in ticks(1, max(longest, 2)) if tick == int(tick)]
    parts = [_grid_y(y), _grid_x(x, [(epoch, f"{epoch:.0f}") for epoch in epochs], "epoch")]
    parts += [_curve(name, curve, x, y) for name, curve in curves.items()]
    return _svg(parts, title)


def curves_of(report: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """The validation curves by model; those without a single figure are left out."""
    key = f"validation_ndcg@{report['k']}"
    curves = {name: list(told.get(key) or []) for name, told in report.get("training", {}).items()}
    return {name: curve for name, curve in curves.items() if any(v is not None for v in curve)}


def best_epoch(curve: Sequence[float | None]) -> int:
    """The epoch, from 1, of the highest figure; the first of equals."""
    figures = [-math.inf if value is None else value for value in curve]
    return figures.index(max(figures)) + 1


def quality_against_size(report: Mapping[str, Any]) -> str:
    """NDCG with its interval against bytes on a log axis; models without bytes are a level."""
    k = report["k"]
    return size_chart(rows(report), f"ndcg@{k}", f"NDCG@{k} against bytes on disk")


def size_chart(models: Sequence[Row], key: str, title: str) -> str:
    """A figure with its interval against bytes on a log axis; models without bytes are a level."""
    measured = [row for row in models if row.figures.get(key) is not None]
    sized = [row for row in measured if row.figures.get("bytes")]
    levels = [row for row in measured if row not in sized]
    if not sized:
        return ""
    heights = [bound for row in sized for bound in _bounds(row, key)]
    heights += [row.figures[key] for row in levels]
    sizes = [row.figures["bytes"] for row in sized]
    x = Axis(min(sizes) / 2.2, max(sizes) * 2.2, FRAME.left, FRAME.right, log=True)
    y = Axis(*_padded(min(heights), max(heights)), FRAME.bottom, FRAME.top)
    parts = [
        _grid_y(y),
        _grid_x(x, [(tick, _round_size(tick)) for tick in _decades(x)], "bytes on disk"),
    ]
    boxes = {row.key: _point_box(row, key, x, y) for row in sized}
    taken = [box for pair in boxes.values() for box in pair]
    for row in levels:
        text, box = _level(row, key, y)
        parts.append(text)
        taken.append(box)
    for row in reversed(sized):  # the first rows matter most and are drawn last, on top
        parts.append(_point(row, key, x, y))
    for row in sized:
        left, top = x(row.figures["bytes"]), y(row.figures[key])
        name = row.name.removeprefix("Student, ")  # the colour says whose file it is
        box = place(left, top, name, taken, FRAME)
        taken.append(box)
        end = "end " if box.right <= left else ""
        anchor = box.right if end else box.left
        parts.append(_text(anchor, box.bottom - 3, name, f"label {end}{_style(row.key)}"))
    return _svg(parts, title)


def forest(row: Row, key: str, low: float, high: float) -> str:
    """One model's figure and interval as a dot on a line; all rows share `low` and `high`."""
    value = row.figures.get(key)
    if value is None:
        return ""
    axis = Axis(low, high, 6, 134)
    start, end = (axis(bound) for bound in _bounds(row, key))
    return (
        f'<svg class="forest {_style(row.key)}" viewBox="0 0 140 18" width="140" height="18" '
        'aria-hidden="true"><line class="rail" x1="6" x2="134" y1="9" y2="9"/>'
        f'<line class="whisker" x1="{start:.1f}" x2="{end:.1f}" y1="9" y2="9"/>'
        f'<circle class="dot" cx="{axis(value):.1f}" cy="9" r="4"/></svg>'
    )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _decades(axis: Axis) -> list[float]:
    """1, 10, 100 ... within a log axis; 2 and 5 of each as well where there are few."""
    powers = range(math.floor(axis.low), math.ceil(axis.high) + 1)
    factors = (1,) if axis.high - axis.low > 2 else (1, 2, 5)
    numbers = [factor * 10.0**power for power in powers for factor in factors]
    return [number for number in numbers if axis.low <= math.log10(number) <= axis.high]


def _round_size(number: float) -> str:
    """Bytes of a round number, without the zeros behind the point: 1 MB."""
    figure, _, unit = size(number).partition(" ")
    return f"{float(figure):g} {unit}"


def _padded(low: float, high: float) -> tuple[float, float]:
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    return low - room, high + room


def _bounds(row: Row, key: str) -> tuple[float, float]:
    bounds: Any = row.figures.get(f"{key}_interval")
    if interval(bounds) == MISSING:
        return row.figures[key], row.figures[key]
    return bounds[0], bounds[1]


def _style(key: str) -> str:
    """The CSS class of a model's colour."""
    if key in ("student_int8", "student_tflite", "saved_model"):
        return "student variant"
    return key if key in MODELS else "other"


def _curve(name: str, curve: Sequence[float | None], x: Axis, y: Axis) -> str:
    shown = MODELS.get(name, (name,))[0]
    points = [(epoch, value) for epoch, value in enumerate(curve, 1) if value is not None]
    line = " ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in points)
    dots = "".join(
        f'<circle class="hover" cx="{x(epoch):.1f}" cy="{y(value):.1f}" r="5">'
        f"<title>{escape(shown)}, epoch {epoch}: {metric(value)}</title></circle>"
        for epoch, value in points
    )
    best = best_epoch(curve)
    mark = f'<circle class="dot" cx="{x(best):.1f}" cy="{y(curve[best - 1] or 0):.1f}" r="4.5"/>'
    return f'<g class="{_style(name)}"><polyline class="line" points="{line}"/>{mark}{dots}</g>'


def _point_box(row: Row, key: str, x: Axis, y: Axis) -> tuple[Box, Box]:
    """What a point covers: its dot and its interval."""
    left, top = x(row.figures["bytes"]), y(row.figures[key])
    low, high = _bounds(row, key)
    dot = Box(left - 6, top - 6, left + 6, top + 6)
    return dot, Box(left - 2, y(high), left + 2, y(low))


def _point(row: Row, key: str, x: Axis, y: Axis) -> str:
    left, top = x(row.figures["bytes"]), y(row.figures[key])
    low, high = _bounds(row, key)
    title = f"{row.name}: {metric(row.figures[key])}, {size(row.figures['bytes'])}"
    radius = 6 if row.key == "student" else 4.5
    return (
        f'<g class="{_style(row.key)}"><title>{escape(title)}</title>'
        f'<line class="whisker" x1="{left:.1f}" x2="{left:.1f}" y1="{y(low):.1f}" '
        f'y2="{y(high):.1f}"/>'
        f'<circle class="dot" cx="{left:.1f}" cy="{top:.1f}" r="{radius}"/></g>'
    )


def _level(row: Row, key: str, y: Axis) -> tuple[str, Box]:
    """A dashed line for a model that has no size, its name at the right end."""
    top = y(row.figures[key])
    box = Box(FRAME.right - 7 * len(row.name), top - 16, FRAME.right, top + 2)
    line = f'x1="{FRAME.left}" x2="{FRAME.right}" y1="{top:.1f}" y2="{top:.1f}"'
    name = _text(FRAME.right, top - 5, row.name, f"label end {_style(row.key)}")
    return f'<line class="level {_style(row.key)}" {line}/>{name}', box


def _grid_y(axis: Axis) -> str:
    parts = []
    marks = ticks(axis.low, axis.high)
    decimals = max(len(f"{tick:.10g}".partition(".")[2]) for tick in marks)
    for tick in marks:
        top = axis(tick)
        parts.append(
            f'<line class="grid" x1="{FRAME.left}" x2="{FRAME.right}" y1="{top:.1f}" '
            f'y2="{top:.1f}"/>' + _text(FRAME.left - 7, top + 4, f"{tick:.{decimals}f}", "tick end")
        )
    return "".join(parts)


def _grid_x(axis: Axis, marks: Sequence[tuple[float, str]], name: str) -> str:
    bottom = FRAME.bottom
    parts = [
        f'<line class="axis" x1="{FRAME.left}" x2="{FRAME.right}" y1="{bottom}" y2="{bottom}"/>'
    ]
    for number, text in marks:
        left = axis(number)
        parts.append(
            f'<line class="axis" x1="{left:.1f}" x2="{left:.1f}" y1="{bottom}" y2="{bottom + 4}"/>'
        )
        parts.append(_text(left, bottom + 17, text, "tick middle"))
    parts.append(_text((FRAME.left + FRAME.right) / 2, HEIGHT - 6, name, "tick middle"))
    return "".join(parts)


def _text(left: float, top: float, text: str, style: str) -> str:
    return f'<text class="{style}" x="{left:.1f}" y="{top:.1f}">{escape(text)}</text>'


def _svg(parts: Sequence[str], title: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )
