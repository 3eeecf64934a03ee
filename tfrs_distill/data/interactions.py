"""User-item interactions: a data set before any split."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tfrs_distill.columns import plain_array, plain_texts
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.checked_arrays import float32_array, whole_numbers
from tfrs_distill.data.times import as_times, time_unit
from tfrs_distill.errors import InputError


@dataclass(frozen=True)
class Interactions:
    """A data set: a catalogue and user-item interactions, in file order.

    Columns may be lists, NumPy arrays or pandas Series. The index of a Series is ignored: entries
    are matched by position. They are stored as the arrays below.

    Args:
        name: short name of the data set, used for folder names, such as `"ml-100k"`.
        catalogue: the items.
        user_ids: ids as in the data set; user `user_ids[u]` has the user index `u`.
        users: int32 [num_interactions], user index of each interaction.
        items: int32 [num_interactions], item index (1 to `num_items`) of each interaction.
        ratings: float32 [num_interactions]; 1.0 if the data set has no ratings.
        timestamps: int64, float64 or datetime64 [num_interactions], in their original unit and
            precision: see `time_unit`. ISO 8601 texts become datetime64 in UTC. All 0 if the data
            set has no timestamps: see `has_times`.
        weights: float32 [num_interactions], not 0: the weight of each interaction as a label in a
            loss. A weight below 0 marks a dislike, which lowers the score of its item: see
            `Windows` and `with_dislikes`. None for equal weights.

    Raises:
        InputError: array lengths differ, an index is out of range, a column has the wrong type, a
            weight is 0 or NaN, or timestamps have several units.

    Example:
    >>> films = Catalogue(("50", "7"), ("Heat (1995)", "Babe (1995)"), ("Heat", "Babe"))
    >>> data = Interactions("tiny", films, ("ann",), [0, 0], [2, 1], [5.0, 3.0], [10.9, 10.1])
    >>> data.sequences(), data.time_unit
    ([array([1, 2], dtype=int32)], None)
    """

    name: str
    catalogue: Catalogue
    user_ids: tuple[str, ...]
    users: np.ndarray
    items: np.ndarray
    ratings: np.ndarray
    timestamps: np.ndarray
    weights: np.ndarray | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        plain = {
            "user_ids": plain_texts("user_ids", self.user_ids),
            "users": whole_numbers("users", self.users),
            "items": whole_numbers("items", self.items),
            "ratings": float32_array("ratings", self.ratings),
            "timestamps": as_times(self.timestamps),
        }
        if self.weights is not None:
            plain["weights"] = float32_array("weights", self.weights)
        for name, column in plain.items():
            object.__setattr__(self, name, column)
        columns = (self.users, self.items, self.ratings, self.timestamps)
        lengths = {len(column) if column.ndim == 1 else column.shape for column in columns}
        if len(lengths) != 1 or any(column.ndim != 1 for column in columns):
            raise InputError(
                "`users`, `items`, `ratings` and `timestamps` must have one entry per interaction. "
                f"Received lengths {sorted(lengths, key=str)}."
            )
        if len(self.users) == 0:
            raise InputError(f"Data set {self.name!r} has no interactions.")
        if self.users.min() < 0 or self.users.max() >= len(self.user_ids):
            raise InputError(f"`users` must be within 0 to {len(self.user_ids) - 1}.")
        if self.items.min() < 1 or self.items.max() > self.catalogue.num_items:
            raise InputError(f"`items` must be within 1 to {self.catalogue.num_items}.")
        if self.weights is not None and self.weights.shape != self.users.shape:
            raise InputError(
                f"`weights` must have one entry per interaction, {len(self)} in all, or be None. "
                f"Received: {list(self.weights.shape)}."
            )
        if self.weights is not None and not (np.abs(self.weights) > 0).all():
            row = int(np.argmin(np.abs(self.weights) > 0))
            raise InputError(
                "`weights` must be numbers other than 0; below 0 for dislikes. Received: "
                f"{self.weights[row]} in row {row}. Remove interactions that should not count."
            )
        time_unit(self.timestamps)

    def __len__(self) -> int:
        return len(self.users)

    @property
    def num_users(self) -> int:
        """Number of users."""
        return len(self.user_ids)

    @property
    def time_unit(self) -> str | None:
        """Unit of the timestamps since 1970, from their size: `"s"`, `"ms"`, `"us"` or `"ns"`.

        `"date"` for dates. None if the size fits no unit: then only their order is used, not hour
        and weekday.
        """
        return time_unit(self.timestamps)

    @property
    def has_times(self) -> bool:
        """Whether there are timestamps: a data set without them has 0 everywhere."""
        return self.timestamps.dtype.kind == "M" or bool(self.timestamps.any())

    def require_times(self, instead: str) -> None:
        """Raise an `InputError` if there are no timestamps.

        Args:
            instead: a sentence with an alternative, for the message.
        """
        if not self.has_times:
            raise InputError(
                f"Data set {self.name!r} has no timestamps, so the order of interactions is "
                f"unknown. {instead}"
            )

    def rows_by_time(self) -> np.ndarray:
        """Return interaction indices sorted by user, then by time; ties keep file order."""
        return np.lexsort((self.timestamps, self.users))

    def sequences(self) -> list[np.ndarray]:
        """Return each user's items by time, int32; ties keep file order: see `shuffle_ties`."""
        return in_sequences(self, self.items)

    def shuffle_ties(self, seed: int) -> Interactions:
        """Return the interactions in random file order, so that ties in time are in random order.

        If many interactions of a user have the same timestamp, the file order may carry information
        that time does not, such as the order of items on a page. After shuffling, no model can
        learn it.

        Args:
            seed: seed of the shuffle.

        Example:
        >>> films = Catalogue(("50", "7"), ("Heat (1995)", "Babe (1995)"), ("Heat", "Babe"))
        >>> data = Interactions("tiny", films, ("ann",), [0, 0], [2, 1], [5.0, 3.0], [10, 10])
        >>> {tuple(data.shuffle_ties(seed).sequences()[0].tolist()) for seed in range(9)} == {
        ...     (1, 2), (2, 1)}
        True
        """
        return self.subset(np.random.default_rng(seed).permutation(len(self)))

    def in_random_order(self, seed: int) -> Interactions:
        """Return the interactions without timestamps, each user's in random order.

        Args:
            seed: seed of the order.

        Example:
        >>> films = Catalogue(("50", "7"), ("Heat (1995)", "Babe (1995)"), ("Heat", "Babe"))
        >>> data = Interactions("tiny", films, ("ann",), [0, 0], [2, 1], [5.0, 3.0], [10, 11])
        >>> orders = [data.in_random_order(seed) for seed in range(9)]
        >>> {tuple(order.sequences()[0].tolist()) for order in orders} == {(1, 2), (2, 1)}
        True
        >>> orders[0].has_times
        False
        """
        return replace(self, timestamps=np.zeros(len(self), np.int64)).shuffle_ties(seed)

    def core(self, least: int) -> Interactions:
        """Drop users and items with few interactions, repeatedly, until all have `least` (k-core).

        The order is kept; the catalogue has only the remaining items.

        Args:
            least: the minimum number of interactions of a user and of an item.

        Raises:
            InputError: no interactions remain.

        Example: c has one interaction; without it bob has one too.
        >>> names = tuple("abc")
        >>> data = Interactions("tiny", Catalogue(names, names, names), ("ann", "bob", "eve"),
        ...                     [0, 0, 1, 1, 2, 2], [1, 2, 2, 3, 1, 2], [1.0] * 6, [0] * 6)
        >>> left = data.core(2)
        >>> left.user_ids, left.catalogue.item_ids, left.items.tolist()
        (('ann', 'eve'), ('a', 'b'), [1, 2, 1, 2])
        """
        keep = np.ones(len(self), bool)
        while keep.any():
            of_users = np.bincount(self.users[keep], minlength=self.num_users)
            of_items = np.bincount(self.items[keep], minlength=self.catalogue.num_items + 1)
            stays = keep & (of_users[self.users] >= least) & (of_items[self.items] >= least)
            if (stays == keep).all():
                break
            keep = stays
        if not keep.any():
            raise InputError(
                f"Data set {self.name!r}: none of {len(self):,} interactions remain after users "
                f"and items with fewer than {least} are dropped repeatedly. Give more data."
            )
        users, items = np.unique(self.users[keep]), np.unique(self.items[keep])
        whole, some = self.catalogue, self.subset(keep)
        catalogue = replace(
            whole,
            item_ids=tuple(whole.item_ids[item - 1] for item in items),
            titles=tuple(whole.titles[item - 1] for item in items),
            texts=tuple(whole.texts[item - 1] for item in items),
        )
        return replace(
            some,
            catalogue=catalogue,
            user_ids=tuple(self.user_ids[user] for user in users),
            users=np.searchsorted(users, some.users),
            items=np.searchsorted(items, some.items) + 1,
        )

    def subset(self, rows: np.ndarray) -> Interactions:
        """Return some interactions (a mask, or indices in any order) with all users and items."""
        columns = ["users", "items", "ratings", "timestamps"]
        columns += [] if self.weights is None else ["weights"]
        return replace(self, **{name: getattr(self, name)[rows] for name in columns})

    def joined(self, later: Interactions) -> Interactions:
        """Return these interactions followed by later ones, with the users and items of both.

        Users and items are matched by id. Those that only `later` has get indices after the others,
        so that existing indices do not change. If only one side has weights, the other side's
        weights are 1.

        Args:
            later: other interactions, with timestamps of the same kind.

        Raises:
            InputError: the timestamps of one are dates and those of the other are numbers.

        Example:
        >>> films = Catalogue(("50",), ("Heat (1995)",), ("Heat",))
        >>> more = Catalogue(("7", "50"), ("Babe (1995)", "Heat"), ("Babe", "Heat"))
        >>> data = Interactions("tiny", films, ("ann",), [0], [1], [5], [10])
        >>> both = data.joined(Interactions("new", more, ("bob", "ann"), [1, 0], [1, 2], [4, 4],
        ...                                 [11, 12]))
        >>> both.user_ids, both.catalogue.item_ids, both.users.tolist(), both.items.tolist()
        (('ann', 'bob'), ('50', '7'), [0, 0, 1], [1, 2, 1])
        """
        if (self.timestamps.dtype.kind == "M") != (later.timestamps.dtype.kind == "M"):
            raise InputError(
                "Interactions are joined by time, so all timestamps must be dates or all numbers. "
                f"Received: {self.timestamps.dtype} and {later.timestamps.dtype}."
            )
        catalogue = self.catalogue.joined(later.catalogue)
        user_ids = tuple(dict.fromkeys([*self.user_ids, *later.user_ids]))
        user_of = {user_id: user for user, user_id in enumerate(user_ids)}
        users = np.array([user_of[user_id] for user_id in later.user_ids])[later.users]
        items = np.array(catalogue.indices(later.catalogue.item_ids))[later.items - 1]
        columns: dict[str, Any] = {
            "users": np.concatenate([self.users, users]),
            "items": np.concatenate([self.items, items]),
            "ratings": np.concatenate([self.ratings, later.ratings]),
            "timestamps": np.concatenate([self.timestamps, later.timestamps]),
        }
        if self.weights is not None or later.weights is not None:
            weights = [np.ones(len(d)) if d.weights is None else d.weights for d in (self, later)]
            columns["weights"] = np.concatenate(weights)
        return replace(self, catalogue=catalogue, user_ids=user_ids, **columns)

    def with_dislikes(self, disliked: np.ndarray) -> Interactions:
        """Mark some interactions as dislikes, with weight -1.

        The others keep their weights, or get 1. A dislike stays in histories, and with
        `exclude_seen` its item is not recommended again. But as a label it makes its item less
        likely, it is not relevant in evaluation, and EASE and popularity do not count it.

        Args:
            disliked: bool [num_interactions].

        Raises:
            InputError: wrong shape or type, or all interactions are disliked.

        Example:
        >>> films = Catalogue(("50", "7"), ("Heat (1995)", "Babe (1995)"), ("Heat", "Babe"))
        >>> data = Interactions("tiny", films, ("ann",), [0, 0], [2, 1], [5.0, 1.0], [10, 11])
        >>> data.with_dislikes(data.ratings < 3).weights.tolist()
        [1.0, -1.0]
        """
        disliked = plain_array("disliked", disliked)
        if disliked.dtype != bool or disliked.shape != self.users.shape:
            raise InputError(
                f"`disliked` must be bool [{len(self)}], one entry per interaction. Received: "
                f"{disliked.dtype} {list(disliked.shape)}."
            )
        if disliked.all():
            raise InputError(
                f"All {len(self):,} interactions of {self.name!r} are disliked, so no item can be "
                f"recommended. Their ratings are from {self.ratings.min():g} to "
                f"{self.ratings.max():g}: count fewer of them as dislikes."
            )
        weights = 1.0 if self.weights is None else self.weights
        return replace(self, weights=np.where(disliked, -1.0, weights))

    def of_some_users(self, number: int, seed: int) -> Interactions:
        """Return the interactions of `number` users, drawn at random, with the whole catalogue.

        Args:
            number: number of users; all if the data set has no more.
            seed: seed of the draw.

        Example:
        >>> films = Catalogue(("50", "7"), ("Heat (1995)", "Babe (1995)"), ("Heat", "Babe"))
        >>> data = Interactions("tiny", films, ("ann", "bob"), [0, 1], [2, 1], [5, 3], [10, 11])
        >>> some = data.of_some_users(1, seed=0)
        >>> (some.user_ids, some.items.tolist()) in [(("ann",), [2]), (("bob",), [1])]
        True
        """
        if number >= self.num_users:
            return self
        drawn = np.sort(np.random.default_rng(seed).permutation(self.num_users)[:number])
        some = self.subset(np.isin(self.users, drawn))
        user_ids = tuple(self.user_ids[user] for user in drawn)
        return replace(some, user_ids=user_ids, users=np.searchsorted(drawn, some.users))


def in_sequences(interactions: Interactions, column: np.ndarray) -> list[np.ndarray]:
    """Return a column (one entry per interaction) as one array per user, in `sequences` order."""
    rows = interactions.rows_by_time()
    starts = np.searchsorted(interactions.users[rows], np.arange(1, interactions.num_users))
    return np.split(column[rows], starts)


def dislikes_sentence(disliked: np.ndarray, below: float) -> str:
    """Describe how many interactions are dislikes, and their effect."""
    return (
        f"{int(disliked.sum()):,} of {len(disliked):,} interactions are rated below {below:g}: as "
        "labels they have the weight -1, in histories they stay, EASE and popularity exclude "
        "them, and they are not relevant items."
    )
