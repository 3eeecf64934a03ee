"""The catalogue: id, title and text of every item, and its index in batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from tfrs_distill.columns import plain_texts
from tfrs_distill.errors import InputError


@dataclass(frozen=True)
class Catalogue:
    """The items that a recommender can recommend.

    Item `item_ids[i]` has the item index `i + 1` in every batch; index 0 is padding.

    Args:
        item_ids: unique ids as in the data set: strings, bytes or integers; kept as strings.
        titles: title of each item, for people.
        texts: text of each item, for a text teacher; never empty.
        exclude_seen: whether items in a user's history are never recommended to that user, as with
            films. False for repeated interactions with the same item (music, shops). Evaluation,
            baselines, re-ranking and exported files use this setting.

    Raises:
        InputError: lengths differ, ids are not unique, an entry is missing, or an item has no text.

    Example:
    >>> catalogue = Catalogue(("50", "7"), ("Heat (1995)", "Babe (1995)"), ("Heat", "Babe"))
    >>> catalogue.num_items, catalogue.indices(["7", "50"])
    (2, [2, 1])
    """

    item_ids: tuple[str, ...]
    titles: tuple[str, ...]
    texts: tuple[str, ...]
    exclude_seen: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("item_ids", "titles", "texts"):
            object.__setattr__(self, name, plain_texts(name, getattr(self, name)))
        lengths = {len(self.item_ids), len(self.titles), len(self.texts)}
        if len(lengths) != 1:
            raise InputError(
                "`item_ids`, `titles` and `texts` must have one entry per item. Received: "
                f"{len(self.item_ids)} ids, {len(self.titles)} titles, {len(self.texts)} texts."
            )
        if not self.item_ids:
            raise InputError("A catalogue needs at least one item. Received: no items.")
        seen: set[str] = set()
        for item_id in self.item_ids:
            if item_id in seen:
                raise InputError(f"Item ids must be unique. Received: id {item_id!r} twice.")
            seen.add(item_id)
        without_text = [i for i, text in zip(self.item_ids, self.texts) if not text.strip()]
        if without_text:
            raise InputError(
                f"Every item needs a text for the teacher to read. {len(without_text)} of "
                f"{len(self.item_ids)} items have none, first: item {without_text[0]!r}. Give each "
                "at least a title, or remove the item."
            )

    @property
    def num_items(self) -> int:
        """Number of items, without padding."""
        return len(self.item_ids)

    def indices(self, item_ids: Iterable[str | bytes | int]) -> list[int]:
        """Return the item indices (1 to `num_items`) of ids in any of the accepted types.

        Raises:
            InputError: an id is not in the catalogue.
        """
        item_ids = plain_texts("item_ids", item_ids)
        index_of = {item_id: index for index, item_id in enumerate(self.item_ids, start=1)}
        unknown = [item_id for item_id in item_ids if item_id not in index_of]
        if unknown:
            raise InputError(
                f"Item id {unknown[0]!r} is not among the {self.num_items} items of the catalogue."
            )
        return [index_of[item_id] for item_id in item_ids]

    def joined(self, other: Catalogue) -> Catalogue:
        """Return these items followed by the items of `other` whose ids are not here.

        Example:
        >>> films = Catalogue(("50",), ("Heat (1995)",), ("Heat",))
        >>> films.joined(Catalogue(("7", "50"), ("Babe", "?"), ("Babe", "?"))).titles
        ('Heat (1995)', 'Babe')
        """
        here = set(self.item_ids)
        rows = [row for row, item_id in enumerate(other.item_ids) if item_id not in here]
        names = ("item_ids", "titles", "texts")
        both: dict[str, Any] = {
            name: (*getattr(self, name), *(getattr(other, name)[row] for row in rows))
            for name in names
        }
        return replace(self, **both)

    def fingerprint(self) -> str:
        """Return the sha256 of ids, titles and texts in order, separated by NUL bytes."""
        digest = hashlib.sha256()
        for texts in (self.item_ids, self.titles, self.texts):
            for value in texts:
                digest.update(value.encode() + b"\0")
            digest.update(b"\1")
        return digest.hexdigest()
