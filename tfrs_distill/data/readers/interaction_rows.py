"""Rows of an interactions file -> `Interactions`: ids to indices, text to numbers."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.readers.delimited import Row, batches_of
from tfrs_distill.errors import InputError

Number = TypeVar("Number", int, float)


class Positions(NamedTuple):
    """Where in a row each field stands; `rating` is None where the file has no ratings."""

    user: int
    item: int
    rating: int | None
    timestamp: int


def interactions_of(
    path: Path, rows: Iterator[Row], positions: Positions, *, name: str, catalogue: Catalogue
) -> Interactions:
    """The interactions of a file, in file order.

    Memory: 20 bytes an interaction and one batch of rows, whatever the length of the file.

    Args:
        path: the file, for errors.
        rows: its rows, all of the same number of fields.
        positions: where the user, the item, the rating and the timestamp stand in a row.
        name: of the data set.
        catalogue: the items that interactions may be with.

    Raises:
        InputError: there is no row; a user id is empty; an item is not in the catalogue; a rating
            or a timestamp is not a finite number. The message has the line.
    """
    item_index = {item_id: index for index, item_id in enumerate(catalogue.item_ids, start=1)}
    user_index: dict[str, int] = {}
    users, items, ratings, timestamps = array("i"), array("i"), array("f"), array("q")
    for batch in batches_of(rows):
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
            ratings.extend(_numbers(path, lines, "rating", column, _rating))
        column = fields[positions.timestamp]
        timestamps.extend(_numbers(path, lines, "time", column, _seconds))
    if not users:
        raise InputError(f"{path} holds no interactions.")
    return Interactions(
        name,
        catalogue,
        tuple(user_index),
        np.frombuffer(users, np.int32),
        np.frombuffer(items, np.int32),
        np.ones(len(users), np.float32) if not ratings else np.frombuffer(ratings, np.float32),
        np.frombuffer(timestamps, np.int64),
    )


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
    path: Path, lines: list[int], what: str, column: Sequence[str], parse: Callable[[str], Number]
) -> list[Number]:
    numbers = []
    for line, text in zip(lines, column):
        try:
            numbers.append(parse(text))
        except (ValueError, OverflowError) as error:
            raise InputError(f"{path}, line {line}: {what} {text!r} is not a number.") from error
    return numbers


def _rating(text: str) -> float:
    number = float(text)
    if not abs(number) < 3.4e38 or "_" in text:  # what a float32 holds; False for NaN
        raise ValueError(text)
    return number


def _seconds(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = math.floor(float(text))  # a ValueError for NaN, an OverflowError for infinity
    if not abs(number) < 2**63 or "_" in text:
        raise ValueError(text)
    return number
