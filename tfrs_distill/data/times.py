"""Timestamps of interactions as in their file: their unit, and conversion to seconds."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from tfrs_distill.columns import plain_array
from tfrs_distill.errors import InputError

UNITS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
NO_TIMES = "no times"
NAMES = {
    "s": "in seconds",
    "ms": "in milliseconds",
    "us": "in microseconds",
    "ns": "in nanoseconds",
    "date": "as dates",
}
FIRST, LAST = 10**8, 42 * 10**8  # seconds since 1970: 3 March 1973 and 4 February 2103
DATE = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?))?\s?"
    r"(?:Z|UTC|([+-])(\d\d):?(\d\d)?)?"
)
A_DATE = "2024-01-15T10:30:00Z"
YEARS = range(1700, 2200)  # in which int64 holds nanoseconds


def as_times(values: Any) -> np.ndarray:
    """Convert timestamps to int64, float64 or datetime64 without loss of precision.

    Args:
        values: numbers; NumPy, pandas or Python dates; or ISO 8601 texts. Dates with a time zone
            are converted to UTC, others are taken as UTC.

    Raises:
        InputError: a value is missing or infinite, or neither a number nor a date.

    Example:
    >>> as_times([10.9, 10.1]).tolist(), as_times(["2024-01-15T01:00:00+01:00"])
    ([10.9, 10.1], array(['2024-01-15T00:00:00.000000000'], dtype='datetime64[ns]'))
    """
    times = plain_array("timestamps", values)
    if times.dtype.kind in "OUS":
        return np.array([_moment(row, value) for row, value in enumerate(times.tolist())], "M8[ns]")
    if times.dtype.kind not in "iufM":
        raise InputError(
            f"`timestamps` must hold numbers or dates. Received the dtype {times.dtype}."
        )
    missing = ~np.isfinite(times)
    if missing.any():
        row = np.argwhere(missing)[0][0]
        raise InputError(f"`timestamps` must be finite. Received: {times[row]} in row {row}.")
    if times.dtype.kind == "M":
        return times
    if times.dtype.kind == "f":
        return times.astype(np.float64, copy=False)
    if times.size and times.max() > np.iinfo(np.int64).max:
        raise InputError(f"`timestamps` must fit into int64. Received: {times.max()}.")
    return times.astype(np.int64, copy=False)


def date_nanoseconds(text: str) -> int:
    """Return an ISO 8601 date and time in nanoseconds since 1970, UTC.

    Raises:
        ValueError: it is not such a date, or outside the years 1700 to 2199.

    Example:
    >>> date_nanoseconds("1970-01-02"), date_nanoseconds("1970-01-01 02:00:00.5+01:00")
    (86400000000000, 3600500000000)
    """
    found = DATE.fullmatch(text.strip())
    if not found or int(text.strip()[:4]) not in YEARS:
        raise ValueError(text)
    day, time, sign, hours, minutes = found.groups()
    nanoseconds = int(np.datetime64(f"{day}T{time or '00:00'}", "ns").astype(np.int64))
    if sign is None:
        return nanoseconds
    ahead = (int(hours) * 60 + int(minutes or 0)) * 60 * UNITS_PER_SECOND["ns"]
    return nanoseconds - ahead if sign == "+" else nanoseconds + ahead


def time_unit(times: np.ndarray) -> str | None:
    """Return the unit of timestamps since 1970: `"s"`, `"ms"`, `"us"`, `"ns"`, `"date"` or None.

    The unit is the one for which the median is between March 1973 and February 2103; the ranges of
    the four units do not overlap. None means that no unit fits, for example for another origin or a
    scale of 0..1: then only their order is used, not hour and weekday.

    Args:
        times: at least one timestamp, as returned by `as_times`.

    Raises:
        InputError: every value fits a unit, but not all the same one: units are mixed.

    Example:
    >>> time_unit(np.array([881250949])), time_unit(np.array([881250949000])), time_unit(
    ...     np.array([0.25, 1.0]))
    ('s', 'ms', None)
    """
    if times.dtype.kind == "M":
        return "date"
    inside = {
        unit: (times >= FIRST * scale) & (times < LAST * scale)
        for unit, scale in UNITS_PER_SECOND.items()
    }
    counts = {unit: int(rows.sum()) for unit, rows in inside.items() if rows.any()}
    if len(counts) > 1 and sum(counts.values()) == len(times):
        shares = ", ".join(f"{count} {NAMES[unit]}" for unit, count in counts.items())
        raise InputError(
            f"`timestamps` must be in one unit. Received, by their size: {shares}. Convert them "
            "all to one unit."
        )
    middle = np.sort(times)[len(times) // 2]
    return next((u for u, s in UNITS_PER_SECOND.items() if FIRST * s <= middle < LAST * s), None)


def seconds_since_1970(times: np.ndarray) -> np.ndarray | None:
    """Return whole seconds since 1970, int64; None if `time_unit` finds no unit.

    Example:
    >>> seconds_since_1970(np.array([881250949999]))
    array([881250949])
    """
    unit = time_unit(times)
    if unit is None:
        return None
    if unit == "date":
        return times.astype("M8[s]").astype(np.int64)
    seconds: np.ndarray = np.floor_divide(times, UNITS_PER_SECOND[unit]).astype(np.int64)
    return seconds


def times_line(times: np.ndarray) -> str:
    """Describe the unit and range of timestamps, as part of a sentence; all 0 means none.

    Example:
    >>> times_line(np.array([881250949000, 893286638000]))
    'times in milliseconds, 1997-12-04 to 1998-04-22'
    >>> times_line(np.array([0.5, 0.25]))
    'times of an unknown unit (0.25 to 0.5), of which only the order is used'
    >>> times_line(np.array([0, 0]))
    'no times'
    """
    if times.dtype.kind != "M" and not times.any():
        return NO_TIMES
    seconds = seconds_since_1970(times)
    if seconds is None:
        return (
            f"times of an unknown unit ({times.min()} to {times.max()}), of which only the order "
            "is used"
        )
    first, last = (str(np.datetime64(int(at), "s"))[:10] for at in (seconds.min(), seconds.max()))
    return f"times {NAMES[str(time_unit(times))]}, {first} to {last}"


def _moment(row: int, value: Any) -> np.datetime64:
    """Return a date given as Python object, pandas object or text."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    text = value.isoformat() if hasattr(value, "isoformat") else value
    try:
        return np.datetime64(date_nanoseconds(text), "ns")
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f"`timestamps` must hold numbers or dates such as {A_DATE}. Received: {value!r} in row "
            f"{row}."
        ) from error
