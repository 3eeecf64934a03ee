"""MovieLens as GroupLens publishes it: `u.data` (100K), `ratings.dat` (1M, 10M), `ratings.csv`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.readers.delimited import (
    csv_rows,
    position_of,
    read_header,
    split_rows,
    with_num_fields,
)
from tfrs_distill.data.readers.interaction_rows import Positions, interactions_of
from tfrs_distill.data.readers.item_texts import Item, catalogue_of
from tfrs_distill.errors import InputError

NUM_FIELDS_BEFORE_GENRES = 5  # of u.item: id, title, release date, video release date, URL
FIRST_FOUR = Positions(user=0, item=1, rating=2, timestamp=3)


def read_u_data(folder: Path) -> Interactions:
    """MovieLens-100K: `u.data`, `u.item` and `u.genre`.

    Raises:
        InputError: a file or a row cannot be used; the message has file and line.
    """
    data_path, item_path = folder / "u.data", folder / "u.item"
    rows = with_num_fields(data_path, split_rows(data_path, "\t"), 4)
    catalogue = catalogue_of(item_path, u_items(item_path))
    return interactions_of(data_path, rows, FIRST_FOUR, name=_name(folder), catalogue=catalogue)


def u_items(path: Path) -> Iterator[Item]:
    """The items of `u.item`, whose genres the `u.genre` beside it names."""
    genres = _genre_names(path.with_name("u.genre"))
    num_fields = NUM_FIELDS_BEFORE_GENRES + len(genres)
    rows = split_rows(path, "|")
    for line, fields in with_num_fields(path, rows, num_fields):
        flags = fields[NUM_FIELDS_BEFORE_GENRES:]
        yield Item(line, fields[0], fields[1], [g for g, flag in zip(genres, flags) if flag == "1"])


def read_dat(folder: Path) -> Interactions:
    """MovieLens-1M and 10M: `ratings.dat` and `movies.dat`, fields separated by `::`.

    Raises:
        InputError: a file or a row cannot be used; the message has file and line.
    """
    data_path, item_path = folder / "ratings.dat", folder / "movies.dat"
    rows = with_num_fields(data_path, split_rows(data_path, "::"), 4)
    catalogue = catalogue_of(item_path, dat_items(item_path))
    return interactions_of(data_path, rows, FIRST_FOUR, name=_name(folder), catalogue=catalogue)


def dat_items(path: Path) -> Iterator[Item]:
    """The items of `movies.dat`."""
    for line, fields in with_num_fields(path, split_rows(path, "::"), 3):
        yield Item(line, fields[0], fields[1], fields[2].split("|"))


def read_csv(folder: Path) -> Interactions:
    """MovieLens-latest, 20M, 25M, 32M: `ratings.csv` and `movies.csv`.

    Raises:
        InputError: a file or a row cannot be used; the message has file and line.
    """
    data_path, item_path = folder / "ratings.csv", folder / "movies.csv"
    catalogue = catalogue_of(item_path, csv_items(item_path))
    rows = csv_rows(data_path)
    names = read_header(data_path, rows)
    user, film, rating, timestamp = (
        position_of(data_path, names, name) for name in ("userId", "movieId", "rating", "timestamp")
    )
    positions = Positions(user=user, item=film, rating=rating, timestamp=timestamp)
    rows = with_num_fields(data_path, rows, len(names))
    return interactions_of(data_path, rows, positions, name=_name(folder), catalogue=catalogue)


def csv_items(path: Path) -> Iterator[Item]:
    """The items of `movies.csv`."""
    rows = csv_rows(path)
    names = read_header(path, rows)
    item, title, genres = (
        position_of(path, names, name) for name in ("movieId", "title", "genres")
    )
    for line, fields in with_num_fields(path, rows, len(names)):
        yield Item(line, fields[item], fields[title], fields[genres].split("|"))


def _genre_names(path: Path) -> list[str]:
    """Genre names in the order of their numbers: `u.genre` has lines such as `Action|1`."""
    names: dict[int, str] = {}
    for line, (name, number) in with_num_fields(path, split_rows(path, "|"), 2):
        if not number.isdecimal() or int(number) != len(names):
            raise InputError(
                f"{path}, line {line}: genre number {len(names)} was expected. Received: "
                f"{number!r}."
            )
        names[int(number)] = name
    return list(names.values())


def _name(folder: Path) -> str:
    return folder.resolve().name
