"""The page's charts: inline SVG; colours come from the page's style, which supports dark mode.

Points have a `<title>`, which a browser shows as a tooltip. `tag` escapes every text and attribute.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from tfrs_distill.pipeline.report.labels import Box, place
from tfrs_distill.pipeline.report.models import Figure, Row
from tfrs_distill.pipeline.report.numbers import metric, size

WIDTH, HEIGHT = 520.0, 340.0
FRAME = Box(left=46, top=14, right=WIDTH - 12, bottom=HEIGHT - 42)
SHARES = [(tick, f"{tick:g}") for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)]
Marks = Sequence[tuple[float, str]]  # along an axis


@dataclass(frozen=True)
class Curve:
    """A model's validation metric by epoch, higher is better; None if it was not measured."""

    key: str
    name: str
    values: Sequence[float | None]

    @property
    def best_epoch(self) -> int:
        """The epoch, from 1, with the highest value; the first one of equal values."""
        figures = [-math.inf if value is None else value for value in self.values]
        return figures.index(max(figures)) + 1

    @property
    def best(self) -> str:
        """The highest value and its epoch, in words."""
        return f"best {metric(self.values[self.best_epoch - 1])}, epoch {self.best_epoch}"


@dataclass(frozen=True)
class Calibration:
    """A model's points of a reliability plot: predicted and observed probability, and a title."""

    key: str
    points: Sequence[tuple[float, float, str]]


class Axis:
    """Maps numbers to px along one side of the frame.

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
        """The position of `number` in px."""
        number = math.log10(number) if self.log else number
        share = (number - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.start + share * (self.end - self.start)


def tag(name: str, *inner: str, **attributes: Any) -> Markup:
    """An element, with its attributes and texts escaped; `Markup` inside it stays.

    Example:
    >>> tag("text", "a < b", x=1.25, text_anchor="end")
    Markup('<text x="1.2" text-anchor="end">a &lt; b</text>')
    """
    start = Markup(" ").join(
        Markup('{}="{}"').format(
            key.rstrip("_").replace("_", "-"),
            f"{value:.1f}" if isinstance(value, float) else value,
        )
        for key, value in attributes.items()
    )
    opening = Markup("<{}{}{}>").format(name, " " if attributes else "", start)
    return opening + Markup().join(inner) + Markup("</{}>").format(name)


def style_of(key: str, form_of: str = "") -> str:
    """The CSS classes of a model's colour and line; an exported form has its model's."""
    if form_of:
        return f"{form_of} variant"
    if key in ("plain", "self_taught", "scrambled"):  # the same colour, different line styles
        return f"other {key}"
    return key if key in ("teacher", "student", "twin") else "other"


def curves_chart(curves: Sequence[Curve], title: str) -> Markup:
    """A curve by epoch for each model; its best epoch is marked."""
    values = [value for curve in curves for value in curve.values if value is not None]
    longest = max(2, *(len(curve.values) for curve in curves))
    x = Axis(1, longest, FRAME.left, FRAME.right)
    y = Axis(*_padded(min(values), max(values)), FRAME.bottom, FRAME.top)
    epochs = [tick for tick in ticks(1, longest) if tick == int(tick)]
    parts = [*_grid_y(y), *_grid_x(x, [(epoch, f"{epoch:.0f}") for epoch in epochs], "epoch")]
    return _svg([*parts, *(_curve(curve, x, y) for curve in curves)], title)


def size_chart(models: Sequence[Row], key: str, title: str) -> Markup:
    """A metric with its interval by bytes on a log axis; a model without bytes is a level line.

    Empty if no measured model has a size.
    """
    measured = [(row, figure) for row in models for figure in [row.figure(key)] if figure]
    sized = [(row, figure) for row, figure in measured if row.cost.get("bytes")]
    levels = [(row, figure) for row, figure in measured if not row.cost.get("bytes")]
    if not sized:
        return Markup()
    heights = [height for _, figure in sized for height in figure]
    heights += [value for _, (value, _, _) in levels]
    sizes = [row.cost["bytes"] for row, _ in sized]
    x = Axis(min(sizes) / 2.2, max(sizes) * 2.2, FRAME.left, FRAME.right, log=True)
    y = Axis(*_padded(min(heights), max(heights)), FRAME.bottom, FRAME.top)
    marks = [(tick, _round_size(tick)) for tick in _decades(x)]
    parts = [*_grid_y(y), *_grid_x(x, marks, "bytes on disk")]
    taken = [box for row, figure in sized for box in _point_boxes(row, figure, x, y)]
    for row, (value, _, _) in levels:
        level, box = _level(row, y(value))
        parts.append(level)
        taken.append(box)
    for row, figure in reversed(sized):  # the first rows are most important: drawn last, on top
        parts.append(_point(row, figure, x, y))
    for row, (value, _, _) in sized:
        left = x(row.cost["bytes"])
        name = row.name.removeprefix("Student, ")  # the colour shows the model of the file
        box = place(left, y(value), name, taken, FRAME)
        taken.append(box)
        end = "end " if box.right <= left else ""
        anchor = box.right if end else box.left
        parts.append(
            _text(anchor, box.bottom - 3, name, f"label {end}{style_of(row.key, row.form_of)}")
        )
    return _svg(parts, title)


def pareto_chart(points: Sequence[tuple[float, float, str, str]], limit: float) -> Markup:
    """A metric by bytes on a log axis, and a line through the points of class "student".

    Args:
        points: bytes, metric, title and CSS class of each.
        limit: the allowed bytes, shown as a vertical line.
    """
    sizes, figures = [point[0] for point in points], [point[1] for point in points]
    least, most = min(*sizes, limit), max(*sizes, limit)
    x = Axis(least / 1.3, most * 1.3, FRAME.left, FRAME.right, log=True)
    y = Axis(*_padded(min(figures), max(figures)), FRAME.bottom, FRAME.top)
    marks = [(tick, _round_size(tick)) for tick in _decades(x)]
    parts = [*_grid_y(y), *_grid_x(x, marks, "bytes of the file")]
    parts.append(_line("level twin", x(limit), FRAME.top, x(limit), FRAME.bottom))
    best = sorted((x(size), y(figure)) for size, figure, _, style in points if style == "student")
    parts.append(tag("g", _path(best), class_="student"))
    for size_of, figure, title, style in sorted(points, key=lambda point: point[3] == "student"):
        dot = _dot(x(size_of), y(figure), 5, title)
        parts.append(tag("g", dot, class_=style))
    return _svg(parts, "figure by bytes of the compressed students")


def forest(figures: Sequence[Figure | None], styles: Sequence[str], *zero: float) -> list[Markup]:
    """Each value and its interval as a dot on a line, all on one axis; empty for None.

    Args:
        figures: one per row.
        styles: their CSS classes.
        *zero: the value of no difference, shown as a vertical line; omitted for no line.
    """
    known = [number for figure in figures for number in figure or ()] or [0.0, 1.0]
    axis = Axis(min(*known, *zero), max(*known, *zero), 6, 134)
    return [_forest(*pair, axis, *zero) for pair in zip(figures, styles)]


def _forest(figure: Figure | None, style: str, axis: Axis, *zero: float) -> Markup:
    if figure is None:
        return Markup()
    middle, start, end = map(axis, figure)
    return tag(
        "svg",
        _line("rail", 6, 9, 134, 9),
        *(_line("zero", axis(level), 1, axis(level), 17) for level in zero),
        _line("whisker", start, 9, end, 9),
        _dot(middle, 9, 4),
        class_=f"forest {style}",
        viewBox="0 0 140 18",
        width=140,
        height=18,
        aria_hidden="true",
    )


def reliability_chart(models: Sequence[Calibration], *, log: bool = False) -> Markup:
    """Observed by predicted probability, one line per model.

    Args:
        models: their points.
        log: whether both axes are logarithmic, over whole powers of ten; a point with an observed
            probability of 0, which has no logarithm, is then on the lower edge. Otherwise 0 to 1.
    """
    low, high, marks = 0.0, 1.0, SHARES
    if log:
        figures = [side for one in models for point in one.points for side in point[:2] if side > 0]
        first, last = math.floor(math.log10(min(figures))), math.ceil(math.log10(max(figures)))
        powers = range(first, max(last, first + 1) + 1)
        marks = [(10.0**power, f"{10.0**power:g}") for power in powers]
        low, high = marks[0][0], marks[-1][0]
    x = Axis(low, high, FRAME.left, FRAME.right, log=log)
    y = Axis(low, high, FRAME.bottom, FRAME.top, log=log)
    parts = [
        *_grid_y(y, marks),
        *_grid_x(x, marks, "predicted probability", rising=True),
        _line("axis", x(low), y(low), x(high), y(high)),
    ]
    for one in models:
        places = [(x(predicted), y(max(seen, low)), text) for predicted, seen, text in one.points]
        dots = [_dot(left, top, 4, text) for left, top, text in places]
        path = _path((left, top) for left, top, _ in places)
        parts.append(tag("g", path, *dots, class_=style_of(one.key)))
    return _svg(parts, "Observed against predicted probability")


def map_chart(
    places: Sequence[tuple[float, float]], groups: Sequence[str], names: Sequence[str], title: str
) -> Markup:
    """Points of a plane, each with its name; both axes have the same scale.

    Args:
        places: of the points.
        groups: of each point, the CSS class of its colour; the last group is drawn first, below.
        names: of each point.
        title: of the chart.
    """
    ends = [(min(numbers), max(numbers)) for numbers in zip(*places)]
    room = (FRAME.right - FRAME.left, FRAME.bottom - FRAME.top)
    scale = min(px / ((high - low) or 1.0) for (low, high), px in zip(ends, room))
    (left, top), (x, y) = (
        [sum(pair) / 2 for pair in pairs]
        for pairs in (((FRAME.left, FRAME.right), (FRAME.top, FRAME.bottom)), ends)
    )
    parts = [
        tag(
            "g",
            *(
                _dot(left + scale * (place[0] - x), top - scale * (place[1] - y), 3, name, "point")
                for place, of, name in zip(places, groups, names)
                if of == group
            ),
            class_=group,
        )
        for group in reversed(dict.fromkeys(sorted(groups)))
    ]
    return _svg(parts, title)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _decades(axis: Axis) -> list[float]:
    """1, 10, 100 ... within a log axis; also 2 and 5 times each if there are few."""
    powers = range(math.floor(axis.low), math.ceil(axis.high) + 1)
    factors = (1,) if axis.high - axis.low > 2 else (1, 2, 5)
    numbers = [factor * 10.0**power for power in powers for factor in factors]
    return [number for number in numbers if axis.low <= math.log10(number) <= axis.high]


def _round_size(number: float) -> str:
    """A round number of bytes without trailing zeros: 1 MB."""
    figure, _, unit = size(number).partition(" ")
    return f"{float(figure):g} {unit}"


def _padded(low: float, high: float) -> tuple[float, float]:
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    return low - room, high + room


def _curve(curve: Curve, x: Axis, y: Axis) -> Markup:
    points = [
        (x(epoch), y(value), f"{curve.name}, epoch {epoch}: {metric(value)}")
        for epoch, value in enumerate(curve.values, 1)
        if value is not None
    ]
    best = curve.best_epoch
    return tag(
        "g",
        _path((left, top) for left, top, _ in points),
        _dot(x(best), y(curve.values[best - 1] or 0.0), 4.5),
        *(_dot(left, top, 5, text, "hover") for left, top, text in points),
        class_=style_of(curve.key),
    )


def _point_boxes(row: Row, figure: Figure, x: Axis, y: Axis) -> tuple[Box, Box]:
    """The area of a point: the boxes of its dot and its interval."""
    left, (top, low, high) = x(row.cost["bytes"]), map(y, figure)
    return Box(left - 6, top - 6, left + 6, top + 6), Box(left - 2, high, left + 2, low)


def _point(row: Row, figure: Figure, x: Axis, y: Axis) -> Markup:
    left, (top, low, high) = x(row.cost["bytes"]), map(y, figure)
    return tag(
        "g",
        tag("title", f"{row.name}: {metric(figure[0])}, {size(row.cost['bytes'])}"),
        _line("whisker", left, low, left, high),
        _dot(left, top, 6 if row.key == "student" else 4.5),
        class_=style_of(row.key, row.form_of),
    )


def _level(row: Row, top: float) -> tuple[Markup, Box]:
    """A dashed line for a model without a size, with its name at the right end."""
    style = style_of(row.key, row.form_of)
    box = Box(FRAME.right - 7 * len(row.name), top - 16, FRAME.right, top + 2)
    line = _line(f"level {style}", FRAME.left, top, FRAME.right, top)
    return line + _text(FRAME.right, top - 5, row.name, f"label end {style}"), box


def _grid_y(axis: Axis, marks: Marks | None = None) -> list[Markup]:
    if marks is None:
        numbers = ticks(axis.low, axis.high)
        decimals = max(len(f"{number:.10g}".partition(".")[2]) for number in numbers)
        marks = [(number, f"{number:.{decimals}f}") for number in numbers]
    parts = []
    for number, text in marks:
        parts.append(_line("grid", FRAME.left, axis(number), FRAME.right, axis(number)))
        parts.append(_text(FRAME.left - 7, axis(number) + 4, text, "tick end"))
    return parts


def _grid_x(axis: Axis, marks: Marks, name: str, *, rising: bool = False) -> list[Markup]:
    """Marks below the frame; `rising` ones are lines up to its top."""
    bottom = FRAME.bottom
    parts = [] if rising else [_line("axis", FRAME.left, bottom, FRAME.right, bottom)]
    for number, text in marks:
        left = axis(number)
        end = FRAME.top if rising else bottom + 4
        parts.append(_line("grid" if rising else "axis", left, bottom, left, end))
        parts.append(_text(left, bottom + 17, text, "tick middle"))
    return [*parts, _text((FRAME.left + FRAME.right) / 2, HEIGHT - 6, name, "tick middle")]


def _line(style: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return tag("line", class_=style, x1=x1, x2=x2, y1=y1, y2=y2)


def _path(points: Iterable[tuple[float, float]]) -> Markup:
    return tag("polyline", class_="line", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points))


def _dot(x: float, y: float, radius: float, title: str = "", style: str = "dot") -> Markup:
    inner = [tag("title", title)] if title else []
    return tag("circle", *inner, class_=style, cx=x, cy=y, r=radius)


def _text(left: float, top: float, text: str, style: str) -> Markup:
    return tag("text", text, class_=style, x=left, y=top)


def _svg(parts: Sequence[str], title: str) -> Markup:
    box = f"0 0 {WIDTH:.0f} {HEIGHT:.0f}"
    return tag("svg", *parts, class_="chart", viewBox=box, role="img", aria_label=title)
