"""The paired difference of two models in words: which side, how sure, and what follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfrs_distill.evaluation.metrics.metric import NOISE
from tfrs_distill.pipeline.report.models import metric_of
from tfrs_distill.pipeline.report.numbers import MISSING, difference, interval

HELPED, NOT_MEASURABLE, HURT = "helped", "not measurable", "hurt"

PairedDifference = Mapping[str, Any]  # `metric`, `difference`, `interval`, `ratio`
Bounds = tuple[float, float]


def bounds_of(found: PairedDifference) -> Bounds | None:
    """The interval of a difference; None where there is none that says anything.

    An interval of no width away from 0 says nothing: every resample of one user is that user.
    """
    if interval(found.get("interval")) == MISSING:
        return None
    low, high = found["interval"]
    return None if high - low <= NOISE < abs(low) else (low, high)


def outcome_of(bounds: Bounds | None) -> str:
    """What the interval of a gain says: it lies above 0, below, or it measures nothing."""
    if bounds is not None and bounds[0] > NOISE:
        return HELPED
    if bounds is not None and bounds[1] < -NOISE:
        return HURT
    return NOT_MEASURABLE


def gain_bounds(found: PairedDifference) -> Bounds | None:
    """The interval of the gain, lower bound first; None where none was measured."""
    bounds = bounds_of(found)
    if bounds is None:
        return None
    low, high = sorted(metric_of(found["metric"]).gain(bound) for bound in bounds)
    return low, high


def gain_outcome(found: PairedDifference) -> str:
    """What the interval of a paired difference says; one that touches 0 measures nothing."""
    return outcome_of(gain_bounds(found))


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


def difference_side(found: PairedDifference, other: str) -> str:
    """`side` by the difference itself."""
    return side(found["difference"], difference(abs(found["difference"])), other)


def interval_in_words(found: PairedDifference) -> str:
    """How sure a difference is, in brackets.

    Example:
    >>> interval_in_words({"interval": [-0.03, -0.01]})
    '(95 % interval of the difference -0.0300 to -0.0100)'
    """
    bounds = bounds_of(found)
    if bounds is None:
        alike = interval(found.get("interval")) != MISSING
        return f"(no interval was measured{': all resamples are alike' if alike else ''})"
    low, high = difference(bounds[0]), difference(bounds[1])
    if outcome_of(bounds) == NOT_MEASURABLE:
        return f"(the 95 % interval of the difference, {low} to {high}, contains 0)"
    return f"(95 % interval of the difference {low} to {high})"
