"""MovieLens as GroupLens publishes it: `u.data` (100K), `ratings.dat` (1M, 10M), `ratings.csv`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tfrs_distill.data.readers.delimited import (
    Row,
    csv_rows,
    position_of,
    read_header,
    split_rows,
    with_num_fields,
)
from tfrs_distill.data.readers.interaction_rows import Positions
from tfrs_distill.data.readers.item_texts import Item
from tfrs_distill.errors import InputError

NUM_FIELDS_BEFORE_GENRES = 5  # of u.item: id, title, release date, video release date, URL
FIRST_FOUR = Positions(user=0, item=1, rating=2, timestamp=3)


def u_rows(path: Path) -> tuple[Positions, Iterator[Row]]:
    """Return the positions of the fields of `u.data` (MovieLens-100K), and its rows."""
    return FIRST_FOUR, with_num_fields(path, split_rows(path, "\t"), 4)


def u_items(path: Path) -> Iterator[Item]:
    """Yield the items of `u.item`; genre names come from `u.genre` in the same folder."""
    genres = _genre_names(path.with_name("u.genre"))
    num_fields = NUM_FIELDS_BEFORE_GENRES + len(genres)
    rows = split_rows(path, "|")
    for line, fields in with_num_fields(path, rows, num_fields):
        flags = fields[NUM_FIELDS_BEFORE_GENRES:]
        yield Item(line, fields[0], fields[1], [g for g, flag in zip(genres, flags) if flag == "1"])


def dat_rows(path: Path) -> tuple[Positions, Iterator[Row]]:
    """Return the positions of the fields of `ratings.dat` (MovieLens-1M, 10M), and its rows."""
    return FIRST_FOUR, with_num_fields(path, split_rows(path, "::"), 4)


def dat_items(path: Path) -> Iterator[Item]:
    """Yield the items of `movies.dat`."""
    for line, fields in with_num_fields(path, split_rows(path, "::"), 3):
        yield Item(line, fields[0], fields[1], fields[2].split("|"))


def ratings_rows(path: Path) -> tuple[Positions, Iterator[Row]]:
    """Return the positions of the fields of `ratings.csv` (later MovieLens sets), and its rows."""
    rows = csv_rows(path)
    names = read_header(path, rows)
    positions = Positions(
        *(position_of(path, names, name) for name in ("userId", "movieId", "rating", "timestamp"))
    )
    return positions, with_num_fields(path, rows, len(names))


def movies_items(path: Path) -> Iterator[Item]:
    """Yield the items of `movies.csv`."""
    rows = csv_rows(path)
    names = read_header(path, rows)
    item, title, genres = (
        position_of(path, names, name) for name in ("movieId", "title", "genres")
    )
    for line, fields in with_num_fields(path, rows, len(names)):
        yield Item(line, fields[item], fields[title], fields[genres].split("|"))


def _genre_names(path: Path) -> list[str]:
    """Return genre names in the order of their numbers: `u.genre` has lines such as `Action|1`."""
    names: dict[int, str] = {}
    for line, (name, number) in with_num_fields(path, split_rows(path, "|"), 2):
        if not number.isdecimal() or int(number) != len(names):
            raise InputError(
                f"{path}, line {line}: genre number {len(names)} was expected. Received: "
                f"{number!r}."
            )
        names[int(number)] = name
    return list(names.values())
