"""Data sets in folders: `read_folder` detects the layout of a folder and reads it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.readers import book_crossing, grouplens, recbole
from tfrs_distill.data.readers.delimited import Row
from tfrs_distill.data.readers.interaction_rows import Positions, interactions_of
from tfrs_distill.data.readers.item_texts import Item, catalogue_of
from tfrs_distill.errors import InputError

__all__ = ["data_set_name", "read_folder", "read_items"]


class _Layout(NamedTuple):
    """A layout: its interactions file, the other required files, and their readers.

    The first of the other files has the items. `name` is the data set's name if the folder and
    files do not contain it. `known_only` drops interactions with items that are not in the item
    file. `finish` selects the interactions and items to keep.
    """

    interactions: str
    others: tuple[str, ...]
    rows: Callable[[Path], tuple[Positions, Iterator[Row]]]
    items: Callable[[Path], Iterator[Item]]
    name: str = ""
    known_only: bool = False
    finish: Callable[[Interactions], Interactions] | None = None


GROUPLENS = (
    _Layout("u.data", ("u.item", "u.genre"), grouplens.u_rows, grouplens.u_items),
    _Layout("ratings.dat", ("movies.dat",), grouplens.dat_rows, grouplens.dat_items),
    _Layout("ratings.csv", ("movies.csv",), grouplens.ratings_rows, grouplens.movies_items),
)
BOOK_CROSSING = _Layout(
    book_crossing.RATINGS,
    (book_crossing.BOOKS,),
    book_crossing.rating_rows,
    book_crossing.books,
    book_crossing.NAME,
    known_only=True,
    finish=book_crossing.core,
)


def read_folder(path: str | os.PathLike[str]) -> Interactions:
    """Read a data set from a folder in one of these layouts.

    - GroupLens 100K: `u.data`, `u.item`, `u.genre`
    - GroupLens 1M, 10M: `ratings.dat`, `movies.dat`
    - GroupLens 20M, 25M, latest: `ratings.csv`, `movies.csv`
    - RecBole atomic files: `NAME.inter`, `NAME.item`
    - Book-Crossing: `BX-Book-Ratings.csv`, `BX-Books.csv`

    The catalogue holds all items of the item file, in file order. An item's text is its title and
    its genres: "Toy Story (1995). Animation, Children's, Comedy". For Book-Crossing the result is
    the 5-core: see `book_crossing`.

    Files are UTF-8, with or without a byte order mark, or Latin-1. RecBole files are read as by
    `pandas.read_csv`: fields may be quoted; `nan`, `None`, `NULL` and the like are missing values.
    Timestamps keep their unit: see `Interactions.time_unit`.

    Args:
        path: the folder.

    Raises:
        InputError: the folder is missing, empty or of another layout, or a row of a file is
            invalid; the message has file and line.
    """
    folder = Path(path)
    layout = _layout_of(folder)
    data_path, item_path = folder / layout.interactions, folder / layout.others[0]
    catalogue = catalogue_of(item_path, layout.items(item_path))
    positions, rows = layout.rows(data_path)
    data = interactions_of(
        data_path,
        rows,
        positions,
        name=data_set_name(folder),
        catalogue=catalogue,
        known_only=layout.known_only,
    )
    return data if layout.finish is None else layout.finish(data)


def data_set_name(path: str | os.PathLike[str]) -> str:
    """Return the name of a folder's data set: NAME of RecBole files, else the folder's name.

    Book-Crossing has the same name in any folder.

    Raises:
        InputError: `read_folder` cannot read the folder.
    """
    folder = Path(path)
    layout = _layout_of(folder)
    interactions = Path(layout.interactions)
    if layout.name or interactions.suffix == ".inter":
        return layout.name or interactions.stem
    return folder.resolve().name


def read_items(path: str | os.PathLike[str]) -> tuple[Path, Iterator[Item]]:
    """Return the item file of a folder that `read_folder` can read, and its items, line by line.

    Raises:
        InputError: as for `read_folder`; for a row, when it is reached.
    """
    folder = Path(path)
    layout = _layout_of(folder)
    item_path = folder / layout.others[0]
    return item_path, layout.items(item_path)


def _layout_of(folder: Path) -> _Layout:
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise InputError(f"The data folder {folder} {what}. {_layouts_read()}")
    found = sorted(file.name for file in folder.iterdir())
    if not found:
        raise InputError(f"The data folder {folder} is empty. {_layouts_read()}")
    layouts = _layouts_in(folder)
    if len(layouts) != 1:
        problem = "is of another layout" if not layouts else "holds more than one data set"
        raise InputError(
            f"The data folder {folder} {problem}. {_layouts_read()} Found: {_shown(found)}."
            + _better_folder(folder)
        )
    layout = layouts[0]
    missing = [name for name in layout.others if name not in found]
    if missing:
        raise InputError(
            f"The data folder {folder} holds {layout.interactions} but not {', '.join(missing)}, "
            "the file with the items."
        )
    return layout


def _layouts_in(folder: Path) -> list[_Layout]:
    recbole_layouts = (
        _Layout(file.name, (f"{file.stem}.item",), recbole.atomic_rows, recbole.atomic_items)
        for file in sorted(folder.glob("*.inter"))
    )
    known = (*GROUPLENS, *recbole_layouts, BOOK_CROSSING)
    return [layout for layout in known if (folder / layout.interactions).is_file()]


def _layouts_read() -> str:
    return (
        "Layouts read: GroupLens (u.data, u.item and u.genre; or ratings.dat and movies.dat; or "
        "ratings.csv and movies.csv), RecBole (NAME.inter and NAME.item) and Book-Crossing "
        f"({book_crossing.RATINGS} and {book_crossing.BOOKS})."
    )


def _shown(names: list[str], limit: int = 8) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _better_folder(folder: Path) -> str:
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir() and _layouts_in(path)]
    return f" Did you mean {inner[0]}?" if inner else ""
