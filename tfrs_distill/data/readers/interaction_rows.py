"""Convert the rows of a file to `Interactions`: ids to indices, text to numbers."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.readers.delimited import Row, batches_of
from tfrs_distill.data.times import A_DATE, DATE, date_nanoseconds, times_line
from tfrs_distill.errors import InputError

logger = logging.getLogger(__name__)
Number = TypeVar("Number", bound=float)


class Positions(NamedTuple):
    """Position of each field in a row; None if the file has no ratings or no timestamps."""

    user: int
    item: int
    rating: int | None
    timestamp: int | None


def interactions_of(
    path: Path,
    rows: Iterator[Row],
    positions: Positions,
    *,
    name: str,
    catalogue: Catalogue,
    known_only: bool = False,
) -> Interactions:
    """Return the interactions of a file, in file order.

    Timestamps are numbers, stored as int64, or as float64 if one has a fraction; or ISO 8601 dates.
    The first row decides. The detected kind is logged. Without timestamps all are 0, see
    `Interactions.has_times`.

    Memory: 20 bytes per interaction and one batch of rows, for files of any length.

    Args:
        path: the file, for error messages.
        rows: its rows, all with the same number of fields.
        positions: positions of the user, the item, the rating and the timestamp in a row.
        name: name of the data set.
        catalogue: the items.
        known_only: whether rows with other items are dropped instead of being an error.

    Raises:
        InputError: there is no row; a user id is empty; an item is not in the catalogue; a rating
            or a timestamp is not a finite number or date. The message has the line.
    """
    item_index = {item_id: index for index, item_id in enumerate(catalogue.item_ids, start=1)}
    user_index: dict[str, int] = {}
    users, items, ratings = array("i"), array("i"), array("f")
    timestamps: array[Any] = array("q")
    dates: bool | None = None
    for batch in batches_of(rows):
        if known_only:
            batch = [row for row in batch if row[1][positions.item] in item_index]
            if not batch:
                continue
        lines = [line for line, _ in batch]
        fields = list(zip(*(fields for _, fields in batch), strict=True))
        column = fields[positions.user]
        _require(path, lines, "user", column, bool, "is not an id")
        users.extend([user_index.setdefault(user, len(user_index)) for user in column])
        column = fields[positions.item]
        _require(path, lines, "item", column, item_index.__contains__, "is not in the item file")
        items.extend([item_index[item] for item in column])
        if positions.rating is not None:
            column = fields[positions.rating]
            ratings.extend(_numbers(path, lines, "rating", column, _rating, "a number"))
        if positions.timestamp is None:
            timestamps.extend([0] * len(lines))
            continue
        column = fields[positions.timestamp]
        if dates is None:
            dates = DATE.fullmatch(column[0].strip()) is not None
        parse: Callable[[str], int | float] = date_nanoseconds if dates else _time
        expected = "a date, as before it" if dates else f"a number or a date such as {A_DATE}"
        times = _numbers(path, lines, "time", column, parse, expected)
        if timestamps.typecode == "q" and any(isinstance(time, float) for time in times):
            timestamps = array("d", timestamps)
        timestamps.extend(times)
    if not users:
        of_items = " with an item of the item file" if known_only else ""
        raise InputError(f"{path} holds no interactions{of_items}.")
    numbers = np.frombuffer(timestamps, timestamps.typecode)
    interactions = Interactions(
        name,
        catalogue,
        tuple(user_index),
        np.frombuffer(users, np.int32),
        np.frombuffer(items, np.int32),
        np.ones(len(users), np.float32) if not ratings else np.frombuffer(ratings, np.float32),
        numbers.view("M8[ns]") if dates else numbers,
    )
    logger.info("%s: %s.", path, times_line(interactions.timestamps))
    return interactions


def _require(
    path: Path,
    lines: list[int],
    what: str,
    column: Sequence[str],
    holds: Callable[[str], object],
    otherwise: str,
) -> None:
    if not all(map(holds, column)):
        line, text = next((n, text) for n, text in zip(lines, column) if not holds(text))
        raise InputError(f"{path}, line {line}: {what} {text!r} {otherwise}.")


def _numbers(
    path: Path,
    lines: list[int],
    what: str,
    column: Sequence[str],
    parse: Callable[[str], Number],
    expected: str,
) -> list[Number]:
    numbers = []
    for line, text in zip(lines, column):
        try:
            numbers.append(parse(text))
        except (ValueError, OverflowError) as error:
            raise InputError(f"{path}, line {line}: {what} {text!r} is not {expected}.") from error
    return numbers


def _rating(text: str) -> float:
    number = float(text)
    if not abs(number) < 3.4e38 or "_" in text:  # what a float32 holds; False for NaN
        raise ValueError(text)
    return number


def _time(text: str) -> int | float:
    """Return the exact integer, also if it is written with a fraction of 0 or a power of 10."""
    whole, _, fraction = text.partition(".")
    try:
        number: int | float = int(whole if not fraction.strip("0") else text)
    except ValueError:
        number = float(text)
        number = int(number) if number.is_integer() else number
    if not abs(number) < 2**63 or "_" in text:  # False for NaN
        raise ValueError(text)
    return number
