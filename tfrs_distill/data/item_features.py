"""Attributes of the items that their file gives beside a title: genres and year, as numbers."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import numpy as np

from tfrs_distill.columns import plain_array, plain_texts
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.readers import read_items
from tfrs_distill.data.readers.item_texts import NO_GENRE
from tfrs_distill.errors import InputError

YEAR = re.compile(r"\((\d{4})[^)]*\)\s*$")


@dataclass(frozen=True)
class ItemAttributes:
    """What is known of each item beside its title, in catalogue order.

    Args:
        genres: the genres of each item; none where the file names none.
        years: float64 [num_items], NaN where the title names no year.

    Raises:
        InputError: lengths differ; genres are no lists of texts, or years no numbers.
    """

    genres: tuple[tuple[str, ...], ...]
    years: np.ndarray

    def __post_init__(self) -> None:
        genres = tuple(plain_texts(f"genres[{i}]", names) for i, names in enumerate(self.genres))
        years = plain_array("years", self.years)
        if years.dtype.kind not in "iuf":
            raise InputError(f"`years` must hold numbers. Received the dtype {years.dtype}.")
        object.__setattr__(self, "genres", genres)
        object.__setattr__(self, "years", years.astype(np.float64, copy=False))
        if self.years.shape != (len(self.genres),):
            raise InputError(
                "`genres` and `years` must have one entry an item. Received: "
                f"{len(self.genres)} genres, years of shape {self.years.shape}."
            )

    @property
    def genre_names(self) -> tuple[str, ...]:
        """Every genre that an item has, sorted."""
        return tuple(sorted({genre for genres in self.genres for genre in genres}))


def item_attributes(path: str | os.PathLike[str], catalogue: Catalogue) -> ItemAttributes:
    """Return genres and years of a catalogue's items, from a folder in any layout of `read_folder`.

    The year is that at the end of the title, as GroupLens writes it: "Toy Story (1995)". Genres
    that say nothing ("unknown", "(no genres listed)") are left out.

    Args:
        path: the folder that the data set was read from.
        catalogue: the items.

    Raises:
        InputError: the folder cannot be read, or it has no line for an item of the catalogue.
    """
    item_path, items = read_items(path)
    found = {item.item_id: item for item in items}
    missing = [item_id for item_id in catalogue.item_ids if item_id not in found]
    if missing:
        raise InputError(
            f"{item_path} has no line for {len(missing)} of the catalogue's {catalogue.num_items} "
            f"items, first: item {missing[0]!r}. Give the folder that the data set was read from."
        )
    of_catalogue = [found[item_id] for item_id in catalogue.item_ids]
    genres = tuple(tuple(g for g in item.genres if g not in NO_GENRE) for item in of_catalogue)
    years = [year_of(item.title) for item in of_catalogue]
    return ItemAttributes(genres, np.array([np.nan if y is None else y for y in years], np.float64))


def year_of(title: str) -> int | None:
    """Return the year in brackets at a title's end.

    Example:
    >>> year_of("2001: A Space Odyssey (1968)"), year_of("M*A*S*H (1972-1983)"), year_of("1984")
    (1968, 1972, None)
    """
    found = YEAR.search(title)
    return int(found[1]) if found else None


def attribute_vectors(attributes: ItemAttributes) -> np.ndarray:
    """Return genres as 0 or 1 and, last, the year: one vector an item.

    The year is `(year - mean) / standard deviation` over the items that have one; an item without
    has 0 there. An item without genres and year is 0 throughout.

    Args:
        attributes: of the items.

    Returns:
        float32 [num_items, num_genres + 1]; columns in the order of `genre_names`, then the year.

    Raises:
        InputError: no item has a genre or a year.

    Example:
    >>> films = ItemAttributes((("Drama",), ("Crime", "Drama"), ()), np.array([1990, 2000, np.nan]))
    >>> films.genre_names, attribute_vectors(films).tolist()
    (('Crime', 'Drama'), [[0.0, 1.0, -1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    """
    names, years = attributes.genre_names, attributes.years
    known = np.isfinite(years)
    if not names and not known.any():
        raise InputError(
            "No item has a genre or a year, so there are no attributes to learn from. Leave this "
            "modality out."
        )
    column = {name: position for position, name in enumerate(names)}
    vectors = np.zeros((len(years), len(names) + 1))
    for row, genres in enumerate(attributes.genres):
        vectors[row, [column[genre] for genre in genres]] = 1.0
    if known.any():
        spread = years[known].std() or 1.0
        vectors[known, -1] = (years[known] - years[known].mean()) / spread
    return vectors.astype(np.float32)
