"""RecBole atomic files: `NAME.inter` and `NAME.item`, tab-separated, with a typed header.

RecBole reads them by `pandas.read_csv`, and so they are read here: fields may be quoted, and the
texts of `MISSING` stand for no value.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.readers.delimited import (
    Row,
    csv_rows,
    position_of,
    read_header,
    with_num_fields,
)
from tfrs_distill.data.readers.interaction_rows import Positions, interactions_of
from tfrs_distill.data.readers.item_texts import Item, catalogue_of
from tfrs_distill.errors import InputError

TITLE_COLUMNS = ("movie_title", "movie_name", "title", "item_name", "name")
YEAR_COLUMNS = ("release_year", "year")
GENRE_COLUMNS = ("class", "genre", "genres", "categories", "type")
MISSING = frozenset(
    "#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|<NA>|N/A|NA|NULL|NaN|None|n/a|nan|"
    "null".split("|")
)  # `na_values` of pandas.read_csv


def read_atomic(inter_path: Path) -> Interactions:
    """The data set of `NAME.inter` and the `NAME.item` beside it.

    Interactions need the columns `user_id`, `item_id` and `timestamp`; without a column `rating`
    every rating is 1.0. Items need `item_id` and a title; a release year joins the title, as
    GroupLens writes it: "Toy Story (1995)".

    Args:
        inter_path: the `.inter` file.

    Raises:
        InputError: a file or a row cannot be used; the message has file and line.
    """
    item_path = inter_path.with_suffix(".item")
    catalogue = catalogue_of(item_path, atomic_items(item_path))
    names, rows = typed_rows(inter_path)
    positions = Positions(
        user=position_of(inter_path, names, "user_id"),
        item=position_of(inter_path, names, "item_id"),
        rating=_first_position(names, ("rating",)),
        timestamp=position_of(inter_path, names, "timestamp"),
    )
    return interactions_of(inter_path, rows, positions, name=inter_path.stem, catalogue=catalogue)


def atomic_items(path: Path) -> Iterator[Item]:
    """The items of `NAME.item`.

    Raises:
        InputError: there is no column of titles or ids, or a row cannot be used.
    """
    names, rows = typed_rows(path)
    item = position_of(path, names, "item_id")
    title = _first_position(names, TITLE_COLUMNS)
    if title is None:
        raise InputError(
            f"{path}, line 1: items without text. A column with the title was expected, called one "
            f"of {', '.join(TITLE_COLUMNS)}. Received the columns: {', '.join(names)}."
        )
    year, genres = _first_position(names, YEAR_COLUMNS), _first_position(names, GENRE_COLUMNS)
    for line, fields in rows:
        yield Item(
            line,
            fields[item],
            fields[title] if year is None else _with_year(fields[title], fields[year]),
            () if genres is None else fields[genres].split(" "),
        )


def typed_rows(path: Path) -> tuple[list[str], Iterator[Row]]:
    """The column names of an atomic file without their types, and the rows under them.

    A field of `MISSING` is "".

    Raises:
        InputError: the header is missing or not typed; for a row of another length, once reached.
    """
    rows = csv_rows(path, "\t")
    header = read_header(path, rows)
    untyped = [field for field in header if ":" not in field]
    if untyped:
        raise InputError(
            f"{path}, line 1: a typed header such as `user_id:token` was expected. Received: "
            f"{untyped[0]!r}."
        )
    present = (
        (line, ["" if field in MISSING else field for field in fields])
        for line, fields in with_num_fields(path, rows, len(header))
    )
    return [field.rpartition(":")[0] for field in header], present


def _first_position(names: list[str], wanted: tuple[str, ...]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def _with_year(title: str, year: str) -> str:
    year = year.removesuffix(".0")  # pandas writes a column with gaps so
    return f"{title} ({year})" if title.strip() and year.isdecimal() else title
