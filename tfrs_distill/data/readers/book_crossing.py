"""Book-Crossing: book ratings by users of a web site, without timestamps."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.readers.delimited import (
    Row,
    csv_rows,
    position_of,
    read_header,
    with_num_fields,
)
from tfrs_distill.data.readers.interaction_rows import Positions
from tfrs_distill.data.readers.item_texts import Item

RATINGS, BOOKS, USERS = "BX-Book-Ratings.csv", "BX-Books.csv", "BX-Users.csv"
NAME = "book-crossing"
MIN_INTERACTIONS = 5  # interactions of a reader, and of a book
MISSING_VALUES = frozenset({"", "0", "NULL", "n/a"})
MAX_AGE = 100  # years; higher values are treated as missing


def rating_rows(path: Path) -> tuple[Positions, Iterator[Row]]:
    """Return the positions of the fields of `BX-Book-Ratings.csv`, and its rows.

    A rating is 1 to 10, or 0 for an implicit interaction without a rating.
    """
    (user, item, rating), rows = _rows(path, "User-ID", "ISBN", "Book-Rating")
    return Positions(user, item, rating, timestamp=None), rows


def books(path: Path) -> Iterator[Item]:
    """Yield the books of `BX-Books.csv` that have a title.

    The text is title, author, year and publisher: "Beloved. Toni Morrison, 1994, Plume".
    """
    names = ("ISBN", "Book-Title", "Book-Author", "Year-Of-Publication", "Publisher")
    places, rows = _rows(path, *names)
    for line, fields in rows:
        isbn, title, *details = (fields[place] for place in places)
        title = _text(title)
        if title:
            known = [text for text in map(_text, details) if text not in MISSING_VALUES]
            yield Item(line, isbn, title, (), known)


def reader_rows(path: Path) -> Iterator[tuple[int, str, str, str]]:
    """Yield line, id, age and country of each reader in `BX-Users.csv`, "" = missing."""
    places, rows = _rows(path, "User-ID", "Location", "Age")
    for line, fields in rows:
        user_id, location, age = (fields[place] for place in places)
        age = "" if age in MISSING_VALUES or age.isdecimal() and int(age) > MAX_AGE else age
        country = _text(location).rpartition(",")[2].strip()
        yield line, user_id, age, "" if country in MISSING_VALUES else country


def core(interactions: Interactions) -> Interactions:
    """Return the 5-core, with only the first row of each reader and book.

    Raises:
        InputError: no interactions remain.
    """
    pairs = interactions.users.astype(np.int64) * (interactions.catalogue.num_items + 1)
    _, first = np.unique(pairs + interactions.items, return_index=True)
    return interactions.subset(np.sort(first)).core(MIN_INTERACTIONS)


def _rows(path: Path, *wanted: str) -> tuple[list[int], Iterator[Row]]:
    """Return the positions of the columns, and the rows.

    The encoding is not detected per file: some lines have Latin-1 titles, others UTF-8.
    """
    rows = csv_rows(path, ";", escape="\\", encoding="latin-1")
    names = read_header(path, rows)
    places = [position_of(path, names, name) for name in wanted]
    return places, with_num_fields(path, rows, len(names))


def _text(field: str) -> str:
    """Decode a field to readable text.

    Example:
    >>> _text("Sch\u00f6n &amp; gut "), _text("Sch\u00c3\u00b6n")
    ('Sch\u00f6n & gut', 'Sch\u00f6n')
    """
    if not field.isascii():
        try:
            field = field.encode("latin-1").decode("utf-8")
        except UnicodeDecodeError:
            pass  # the text is Latin-1
    return (html.unescape(field) if "&" in field else field).strip()
