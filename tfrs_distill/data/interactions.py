"""Who met which item when: a data set before any split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.errors import InputError


@dataclass(frozen=True)
class Interactions:
    """A data set: a catalogue and the interactions with it, in file order.

    Args:
        name: short name of the data set, used for folder names, such as `"ml-100k"`.
        catalogue: the items.
        user_ids: ids as the data set writes them; user `user_ids[u]` has the user index `u`.
        users: int32 [num_interactions], user index of each interaction.
        items: int32 [num_interactions], item index (1 to `num_items`) of each interaction.
        ratings: float32 [num_interactions]; 1.0 where the data set has no ratings.
        timestamps: int64 [num_interactions], seconds.

    Raises:
        InputError: array lengths differ, or an index is outside its range.
    """

    name: str
    catalogue: Catalogue
    user_ids: tuple[str, ...]
    users: np.ndarray
    items: np.ndarray
    ratings: np.ndarray
    timestamps: np.ndarray

    def __post_init__(self) -> None:
        lengths = {len(a) for a in (self.users, self.items, self.ratings, self.timestamps)}
        if len(lengths) != 1:
            raise InputError(
                "`users`, `items`, `ratings` and `timestamps` must have one entry an interaction. "
                f"Received lengths {sorted(lengths)}."
            )
        if len(self.users) == 0:
            raise InputError(f"Data set {self.name!r} has no interactions.")
        if self.users.min() < 0 or self.users.max() >= len(self.user_ids):
            raise InputError(f"`users` must be within 0 to {len(self.user_ids) - 1}.")
        if self.items.min() < 1 or self.items.max() > self.catalogue.num_items:
            raise InputError(f"`items` must be within 1 to {self.catalogue.num_items}.")

    def __len__(self) -> int:
        return len(self.users)

    @property
    def num_users(self) -> int:
        """How many users there are."""
        return len(self.user_ids)

    def sequences(self) -> list[np.ndarray]:
        """Each user's items by time, int32; interactions at the same time keep file order."""
        order = np.lexsort((np.arange(len(self)), self.timestamps, self.users))
        users, items = self.users[order], self.items[order].astype(np.int32)
        return np.split(items, np.searchsorted(users, np.arange(1, self.num_users)))
