"""Formatting of numbers. A number that is missing or not finite is `MISSING`.

Example:
>>> size(12_345), duration(75.4), milliseconds(1.234), percent(0.0007)
('12.3 kB', '1 min 15 s', '1.23 ms', '0.07 %')
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tfrs_distill.evaluation.metrics.metric import NOISE

MISSING = "-"


def _or_missing(show: Callable[[float], str]) -> Callable[[Any], str]:
    """Return `MISSING` if the value is not a finite number, else `show(number)`."""

    def shown(value: Any) -> str:
        if value is None or isinstance(value, (str, list, dict)):
            return MISSING
        number = float(value)
        return show(number) if math.isfinite(number) else MISSING

    shown.__doc__ = show.__doc__
    return shown


def _significant(number: float, digits: int) -> str:
    """`number` with at least `digits` significant digits, never in scientific notation."""
    if number == 0:
        return "0"
    decimals = max(digits - 1 - math.floor(math.log10(abs(number))), 0)
    return f"{number:.{decimals}f}"


def _scaled(number: float, units: list[tuple[float, str]]) -> str:
    """`number` with three digits, in the largest unit in which it is at least 1."""
    for step, unit in units:
        rounded = float(_significant(number / step, 3))
        if rounded >= 1:
            return f"{_significant(rounded, 3)} {unit}"
    return f"{_significant(number / step, 3)} {unit}"


@_or_missing
def metric(number: float) -> str:
    """A quality between 0 and 1, four decimals."""
    return f"{number:.4f}"


def interval(bounds: Any) -> str:
    """Two bounds as "low to high"."""
    if not bounds or MISSING in (metric(bounds[0]), metric(bounds[1])):
        return MISSING
    return f"{metric(bounds[0])} to {metric(bounds[1])}"


@_or_missing
def difference(number: float) -> str:
    """A difference of two metrics: four decimals, or two significant digits if it is smaller.

    Example:
    >>> difference(0.0123), difference(-0.0000123), difference(0.0)
    ('0.0123', '-0.000012', '0.0000')
    """
    if abs(number) <= NOISE:
        return f"{0:.4f}"
    return f"{number:.4f}" if abs(number) >= 0.00005 else _significant(number, 2)


@_or_missing
def percent(number: float) -> str:
    """A share as a percentage: one decimal, below 1 % two significant digits."""
    share = 100 * number
    if share != 0 and abs(share) < 0.95:
        return f"{_significant(share, 2).rstrip('0').rstrip('.')} %"
    return f"{share:.1f} %"


@_or_missing
def size(number: float) -> str:
    """Bytes in decimal units: 12.3 kB is 12,300 bytes."""
    if number < 1000:
        return f"{number:.0f} B"
    return _scaled(number, [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")])


@_or_missing
def milliseconds(number: float) -> str:
    """A latency given in milliseconds."""
    return "0 ms" if number == 0 else _scaled(number, [(1e3, "s"), (1.0, "ms"), (1e-3, "µs")])


@_or_missing
def duration(seconds: float) -> str:
    """A duration in seconds, minutes or hours."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


@_or_missing
def times(ratio: float) -> str:
    """A ratio, with at least two digits.

    Example:
    >>> times(1.449), times(3658.5)
    ('1.4×', '3,658×')
    """
    return f"{ratio:,.0f}×" if ratio >= 10 else f"{_significant(ratio, 2)}×"


@_or_missing
def count(number: float) -> str:
    """A whole number with commas between the thousands."""
    return f"{number:,.0f}"


def counted(number: Any, things: str, thing: str = "") -> str:
    """A number of things; `thing` is the singular, by default the plural minus its last letter.

    Example:
    >>> counted(1943, "users"), counted(1, "users"), counted(1, "queries", "query")
    ('1,943 users', '1 user', '1 query')
    """
    return f"{count(number)} {(thing or things[:-1]) if count(number) == '1' else things}"
