"""Attributes of the items that are known beside a title: genres, year, ..., as numbers."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from tfrs_distill.columns import plain_array, plain_texts
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.readers import read_items
from tfrs_distill.data.readers.item_texts import NO_GENRE
from tfrs_distill.errors import InputError

T = TypeVar("T")
YEAR = re.compile(r"\((\d{4})[^)]*\)\s*$")


@dataclass(frozen=True)
class ItemAttributes:
    """What is known of each item beside its title, in catalogue order.

    Args:
        labels: what each item is, such as its genres; none where nothing is said.
        numbers: float64 [num_items, len(number_names)], such as years; NaN where there is none.
        number_names: what the numbers are.

    Raises:
        InputError: lengths differ; labels are no lists of texts, or numbers no numbers.
    """

    labels: tuple[tuple[str, ...], ...]
    numbers: np.ndarray
    number_names: tuple[str, ...]

    def __post_init__(self) -> None:
        labels = tuple(plain_texts(f"labels[{i}]", names) for i, names in enumerate(self.labels))
        numbers = plain_array("numbers", self.numbers)
        if numbers.dtype.kind not in "iuf":
            raise InputError(f"`numbers` must hold numbers. Received the dtype {numbers.dtype}.")
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "numbers", numbers.astype(np.float64, copy=False))
        object.__setattr__(self, "number_names", plain_texts("number_names", self.number_names))
        if self.numbers.shape != (len(self.labels), len(self.number_names)):
            raise InputError(
                "`labels` and `numbers` must have one entry an item, and `numbers` a column a "
                f"name. Received: {len(self.labels)} labels, {len(self.number_names)} names, "
                f"numbers of shape {self.numbers.shape}."
            )

    @property
    def label_names(self) -> tuple[str, ...]:
        """Every label that an item has, sorted."""
        return tuple(sorted({label for labels in self.labels for label in labels}))


def item_attributes(path: str | os.PathLike[str], catalogue: Catalogue) -> ItemAttributes:
    """Return genres and years of a catalogue's items, from a folder in any layout of `read_folder`.

    The year is that at the end of the title, as GroupLens writes it: "Toy Story (1995)". Genres
    that say nothing ("unknown", "(no genres listed)") are left out. `read_item_attributes` does the
    same of a table's columns.

    Args:
        path: the folder that the data set was read from.
        catalogue: the items.

    Raises:
        InputError: the folder cannot be read, or it has no line for an item of the catalogue.
    """
    item_path, items = read_items(path)
    found = {item.item_id: item for item in items}
    of_catalogue = in_catalogue(found, catalogue, str(item_path))
    genres = tuple(tuple(g for g in item.genres if g not in NO_GENRE) for item in of_catalogue)
    years = [year_of(item.title) for item in of_catalogue]
    numbers = np.array([[np.nan if y is None else y] for y in years], np.float64)
    return ItemAttributes(genres, numbers, ("year",))


def in_catalogue(found: Mapping[str, T], catalogue: Catalogue, title: str) -> list[T]:
    """Return what was found of each item by its id, in the order of the catalogue.

    Raises:
        InputError: nothing was found of an item, in what is called `title`.
    """
    missing = [item_id for item_id in catalogue.item_ids if item_id not in found]
    if missing:
        raise InputError(
            f"{title} has no line for {len(missing)} of the catalogue's {catalogue.num_items} "
            f"items, first: item {missing[0]!r}. Give what the data set was read from."
        )
    return [found[item_id] for item_id in catalogue.item_ids]


def year_of(title: str) -> int | None:
    """Return the year in brackets at a title's end.

    Example:
    >>> year_of("2001: A Space Odyssey (1968)"), year_of("M*A*S*H (1972-1983)"), year_of("1984")
    (1968, 1972, None)
    """
    found = YEAR.search(title)
    return int(found[1]) if found else None


def attribute_vectors(attributes: ItemAttributes) -> np.ndarray:
    """Return labels as 0 or 1 and, last, numbers: one vector an item.

    A number is `(number - mean) / standard deviation` over the items that have it; an item without
    has 0 there. An item without labels and numbers is 0 throughout.

    Args:
        attributes: of the items.

    Returns:
        float32 [num_items, num_labels + num_numbers]; columns in the order of `label_names`, then
        of `number_names`.

    Raises:
        InputError: no item has a label or a number.

    Example:
    >>> films = ItemAttributes(
    ...     (("Drama",), ("Crime", "Drama"), ()), np.array([[1990], [2000], [np.nan]]), ("year",))
    >>> films.label_names, attribute_vectors(films).tolist()
    (('Crime', 'Drama'), [[0.0, 1.0, -1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    """
    names, numbers = attributes.label_names, attributes.numbers
    known = np.isfinite(numbers)
    if not names and not known.any():
        raise InputError(
            "No item has a label, such as a genre, or a number, such as a year, so there are no "
            "attributes to learn from. Leave this modality out."
        )
    column = {name: position for position, name in enumerate(names)}
    vectors = np.zeros((len(numbers), len(names) + numbers.shape[1]))
    for row, labels in enumerate(attributes.labels):
        vectors[row, [column[label] for label in labels]] = 1.0
    for place, (values, has) in enumerate(zip(numbers.T, known.T), start=len(names)):
        if has.any():
            vectors[has, place] = (values[has] - values[has].mean()) / (values[has].std() or 1.0)
    return vectors.astype(np.float32)
