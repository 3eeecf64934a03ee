"""The paired difference of two models in words: which side, how sure, and what follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfrs_distill.pipeline.report.numbers import MISSING, NOISE, difference, metric

HELPED, NOT_MEASURABLE, HURT = "helped", "not measurable", "hurt"

Told = Mapping[str, Any]
Bounds = tuple[float, float]


def bounds_of(told: Told) -> Bounds | None:
    """The interval of a difference; None where there is none that says anything.

    An interval of no width away from 0 says nothing: every resample of one user is that user.
    """
    interval = told.get("interval")
    if not interval or MISSING in (metric(interval[0]), metric(interval[1])):
        return None
    low, high = interval
    return None if high - low <= NOISE < abs(low) else (low, high)


def outcome_of(bounds: Bounds | None) -> str:
    """What the interval of a gain says: it lies above 0, below, or it measures nothing."""
    if bounds is not None and bounds[0] > NOISE:
        return HELPED
    if bounds is not None and bounds[1] < -NOISE:
        return HURT
    return NOT_MEASURABLE


def side(number: float, shown: str, other: str) -> str:
    """Where a figure lies beside another model's.

    Args:
        number: the figure less the other's.
        shown: how much that is, without a sign.
        other: the other model, or what is its own.

    Example:
    >>> side(-0.02, "0.0200", "its twin's"), side(0.0, "0.0000", "retrieval alone")
    ("0.0200 below its twin's", 'level with retrieval alone')
    """
    if abs(number) <= NOISE:
        return f"level with {other}"
    return f"{shown} {'above' if number > 0 else 'below'} {other}"


def difference_side(told: Told, other: str) -> str:
    """`side` by the difference itself."""
    return side(told["difference"], difference(abs(told["difference"])), other)


def interval_in_words(told: Told) -> str:
    """How sure a difference is, in brackets.

    Example:
    >>> interval_in_words({"interval": [-0.03, -0.01]})
    '(95 % interval of the difference -0.0300 to -0.0100)'
    """
    bounds = bounds_of(told)
    if bounds is None:
        interval = told.get("interval") or (None, None)
        alike = MISSING not in (metric(interval[0]), metric(interval[1]))
        return f"(no interval was measured{': all resamples are alike' if alike else ''})"
    low, high = difference(bounds[0]), difference(bounds[1])
    if outcome_of(bounds) == NOT_MEASURABLE:
        return f"(the 95 % interval of the difference, {low} to {high}, contains 0)"
    return f"(95 % interval of the difference {low} to {high})"
