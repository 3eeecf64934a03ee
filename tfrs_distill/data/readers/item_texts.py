"""Build a catalogue from a file's items: titles for people, texts for a teacher."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.errors import InputError

NO_GENRE = frozenset({"", "unknown", "(no genres listed)"})


class Item(NamedTuple):
    """One item as its file describes it, and its line number.

    The text has the `details` after the genres; they are not attributes.
    """

    line: int
    item_id: str
    title: str
    genres: Sequence[str]
    details: Sequence[str] = ()


def item_text(title: str, genres: Sequence[str]) -> str:
    """Return the text of an item: its title, then its genres, without those of no meaning.

    Example:
    >>> item_text("Toy Story (1995)", ["Animation", "Children's", "Comedy"])
    "Toy Story (1995). Animation, Children's, Comedy"
    >>> item_text("Heat (1995)", ["unknown"])
    'Heat (1995)'
    """
    known = [genre for genre in genres if genre not in NO_GENRE]
    return f"{title}. {', '.join(known)}" if known else title


def catalogue_of(path: Path, items: Iterable[Item]) -> Catalogue:
    """Return the catalogue of all items of a file, in file order.

    Raises:
        InputError: an id is empty or occurs twice, an item has no title, or there is no item.
    """
    line_of: dict[str, int] = {}
    titles: list[str] = []
    texts: list[str] = []
    for line, item_id, title, genres, details in items:
        title = title.strip()
        if not item_id:
            raise InputError(f"{path}, line {line}: the item id is empty.")
        if item_id in line_of:
            raise InputError(
                f"{path}, line {line}: item id {item_id!r} is already on line {line_of[item_id]}. "
                "Every item must have one line."
            )
        if not title:
            raise InputError(
                f"{path}, line {line}: item {item_id!r} has no title, so a teacher has no text to "
                "read. Give it one, or remove the item and its interactions. (In RecBole's files "
                "`nan`, `None`, `NULL` and the like are missing values.)"
            )
        line_of[item_id] = line
        titles.append(title)
        texts.append(item_text(title, [*genres, *details]))
    if not titles:
        raise InputError(f"{path} holds no items.")
    return Catalogue(tuple(line_of), tuple(titles), tuple(texts))
