"""The paired difference of two models in words: its sign, its interval, its interpretation."""

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
    """The interval of a difference; None if it is missing or meaningless.

    An interval of zero width away from 0 is meaningless: every resample of one user is that user.
    """
    if interval(found.get("interval")) == MISSING:
        return None
    low, high = found["interval"]
    return None if high - low <= NOISE < abs(low) else (low, high)


def outcome_of(bounds: Bounds | None) -> str:
    """`HELPED` if the interval of a gain is above 0, `HURT` if below, else `NOT_MEASURABLE`."""
    if bounds is not None and bounds[0] > NOISE:
        return HELPED
    if bounds is not None and bounds[1] < -NOISE:
        return HURT
    return NOT_MEASURABLE


def gain_bounds(found: PairedDifference) -> Bounds | None:
    """The interval of the gain, lower bound first; None if none was measured."""
    bounds = bounds_of(found)
    if bounds is None:
        return None
    low, high = sorted(metric_of(found["metric"]).gain(bound) for bound in bounds)
    return low, high


def gain_outcome(found: PairedDifference) -> str:
    """`outcome_of` the interval of a paired difference, with its sign turned into a gain."""
    return outcome_of(gain_bounds(found))


def side(number: float, shown: str, other: str) -> str:
    """A metric compared with another model's, in words.

    Args:
        number: the metric minus the other's.
        shown: the size of the difference, without a sign.
        other: the other model, or its metric.

    Example:
    >>> side(-0.02, "0.0200", "its twin's"), side(0.0, "0.0000", "retrieval alone")
    ("0.0200 below its twin's", 'equal to retrieval alone')
    """
    if abs(number) <= NOISE:
        return f"equal to {other}"
    return f"{shown} {'above' if number > 0 else 'below'} {other}"


def difference_side(found: PairedDifference, other: str) -> str:
    """`side` with the difference itself."""
    return side(found["difference"], difference(abs(found["difference"])), other)


def interval_in_words(found: PairedDifference) -> str:
    """The interval of a difference, in brackets.

    Example:
    >>> interval_in_words({"interval": [-0.03, -0.01]})
    '(95 % interval of the difference -0.0300 to -0.0100)'
    """
    bounds = bounds_of(found)
    if bounds is None:
        alike = interval(found.get("interval")) != MISSING
        return f"(no interval was measured{': all resamples are equal' if alike else ''})"
    low, high = difference(bounds[0]), difference(bounds[1])
    if outcome_of(bounds) == NOT_MEASURABLE:
        return f"(the 95 % interval of the difference, {low} to {high}, contains 0)"
    return f"(95 % interval of the difference {low} to {high})"
