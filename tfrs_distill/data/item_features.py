"""Item attributes besides the title: genres, year, ..., as numbers."""

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
    """Attributes of each item besides its title, in catalogue order.

    Args:
        labels: labels of each item, such as its genres; may be empty.
        numbers: float64 [num_items, len(number_names)], such as years; NaN if missing.
        number_names: names of the numbers.

    Raises:
        InputError: lengths differ, labels are not lists of texts, or numbers are not numeric.
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
                "`labels` and `numbers` must have one entry per item, and `numbers` one column per "
                f"name. Received: {len(self.labels)} labels, {len(self.number_names)} names, "
                f"numbers of shape {self.numbers.shape}."
            )

    @property
    def label_names(self) -> tuple[str, ...]:
        """All labels of the items, sorted."""
        return tuple(sorted({label for labels in self.labels for label in labels}))


def item_attributes(path: str | os.PathLike[str], catalogue: Catalogue) -> ItemAttributes:
    """Return genres and years of a catalogue's items, from a folder that `read_folder` can read.

    The year is the one at the end of a GroupLens title: "Toy Story (1995)". Genres without meaning
    ("unknown", "(no genres listed)") are dropped. `read_item_attributes` does the same for a
    table's columns.

    Args:
        path: the folder of the data set.
        catalogue: the items.

    Raises:
        InputError: the folder cannot be read, or an item of the catalogue is missing.
    """
    item_path, items = read_items(path)
    found = {item.item_id: item for item in items}
    of_catalogue = in_catalogue(found, catalogue, str(item_path))
    genres = tuple(tuple(g for g in item.genres if g not in NO_GENRE) for item in of_catalogue)
    years = [year_of(item.title) for item in of_catalogue]
    numbers = np.array([[np.nan if y is None else y] for y in years], np.float64)
    return ItemAttributes(genres, numbers, ("year",))


def in_catalogue(found: Mapping[str, T], catalogue: Catalogue, title: str) -> list[T]:
    """Return the values found by item id, in the order of the catalogue.

    Raises:
        InputError: an item is missing in the source, which is called `title`.
    """
    missing = [item_id for item_id in catalogue.item_ids if item_id not in found]
    if missing:
        raise InputError(
            f"{title} has no line for {len(missing)} of the catalogue's {catalogue.num_items} "
            f"items, first: item {missing[0]!r}. Give what the data set was read from."
        )
    return [found[item_id] for item_id in catalogue.item_ids]


def year_of(title: str) -> int | None:
    """Return the year in brackets at the end of a title.

    Example:
    >>> year_of("2001: A Space Odyssey (1968)"), year_of("M*A*S*H (1972-1983)"), year_of("1984")
    (1968, 1972, None)
    """
    found = YEAR.search(title)
    return int(found[1]) if found else None


def attribute_vectors(attributes: ItemAttributes) -> np.ndarray:
    """Encode item attributes as one vector per item: labels as 0 or 1, then standardised numbers.

    A number becomes `(number - mean) / standard deviation` over the items that have it; a missing
    number becomes 0. An item without labels and numbers is a zero vector.

    Args:
        attributes: attributes of the items.

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
            "attributes to learn from. Remove this modality."
        )
    column = {name: position for position, name in enumerate(names)}
    vectors = np.zeros((len(numbers), len(names) + numbers.shape[1]))
    for row, labels in enumerate(attributes.labels):
        vectors[row, [column[label] for label in labels]] = 1.0
    for place, (values, has) in enumerate(zip(numbers.T, known.T), start=len(names)):
        if has.any():
            vectors[has, place] = (values[has] - values[has].mean()) / (values[has].std() or 1.0)
    return vectors.astype(np.float32)
