"""RecBole atomic files: `NAME.inter` and `NAME.item`, tab-separated, with a typed header.

RecBole reads them with `pandas.read_csv`, and this module does the same: fields may be quoted, and
the texts of `MISSING` are missing values.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tfrs_distill.data.readers.delimited import (
    Row,
    csv_rows,
    position_of,
    read_header,
    with_num_fields,
)
from tfrs_distill.data.readers.interaction_rows import Positions
from tfrs_distill.data.readers.item_texts import Item
from tfrs_distill.errors import InputError

TITLE_COLUMNS = ("movie_title", "movie_name", "title", "item_name", "name")
YEAR_COLUMNS = ("release_year", "year")
GENRE_COLUMNS = ("class", "genre", "genres", "categories", "type")
MISSING = frozenset(
    "#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|<NA>|N/A|NA|NULL|NaN|None|n/a|nan|"
    "null".split("|")
)  # `na_values` of pandas.read_csv


def atomic_rows(path: Path) -> tuple[Positions, Iterator[Row]]:
    """Return the positions of the fields of `NAME.inter`, and its rows; `rating` is optional.

    Raises:
        InputError: a column is missing; for a row, when it is reached.
    """
    names, rows = typed_rows(path)
    user, item, timestamp = (
        position_of(path, names, name) for name in ("user_id", "item_id", "timestamp")
    )
    return Positions(user, item, _first_position(names, ("rating",)), timestamp), rows


def atomic_items(path: Path) -> Iterator[Item]:
    """Yield the items of `NAME.item`; a release year is added to the title: "Toy Story (1995)".

    Raises:
        InputError: there is no column of titles or ids, or a row is invalid.
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
    """Return the column names of an atomic file without their types, and the rows under them.

    A missing value (see `MISSING`) becomes "".

    Raises:
        InputError: the header is missing or not typed; for a row of another length, when it is
            reached.
    """
    rows = csv_rows(path, "\t")
    header = read_header(path, rows)
    untyped = [field for field in header if ":" not in field]
    if untyped:
        raise InputError(
            f"{path}, line 1: a typed header such as `user_id:token` was expected. Received: "
            f"{untyped[0]!r}."
        )
    filled = (
        (line, ["" if field in MISSING else field for field in fields])
        for line, fields in with_num_fields(path, rows, len(header))
    )
    return [field.rpartition(":")[0] for field in header], filled


def _first_position(names: list[str], wanted: tuple[str, ...]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def _with_year(title: str, year: str) -> str:
    year = year.removesuffix(".0")  # pandas writes integer columns with missing values as floats
    return f"{title} ({year})" if title.strip() and year.isdecimal() else title
