"""Who met which item when: a data set before any split."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from tfrs_distill.columns import plain_array, plain_texts
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.checked_arrays import float32_array, whole_numbers
from tfrs_distill.data.times import as_times, time_unit
from tfrs_distill.errors import InputError


@dataclass(frozen=True)
class Interactions:
    """A data set: a catalogue and the interactions with it, in file order.

    Columns may be lists, NumPy arrays or pandas Series, whatever their index is: the first entry of
    each is the first interaction's. They are kept as the arrays below.

    Args:
        name: short name of the data set, used for folder names, such as `"ml-100k"`.
        catalogue: the items.
        user_ids: ids as the data set writes them; user `user_ids[u]` has the user index `u`.
        users: int32 [num_interactions], user index of each interaction.
        items: int32 [num_interactions], item index (1 to `num_items`) of each interaction.
        ratings: float32 [num_interactions]; 1.0 where the data set has no ratings.
        timestamps: int64, float64 or datetime64 [num_interactions], in the unit and with the
            precision that they come in: see `time_unit`. Texts of ISO 8601 become datetime64, UTC.
            0 throughout where the data set has no times: see `has_times`.
        weights: float32 [num_interactions], not 0: how much each counts in a loss whose label it
            is, below 0 where it is a dislike, which pushes its item down; see `Windows` and
            `with_dislikes`. None where all count alike.

    Raises:
        InputError: array lengths differ, an index is outside its range, a column holds something
            else than it should, a weight is 0 or NaN, or times are in several units.

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
                "`users`, `items`, `ratings` and `timestamps` must have one entry an interaction. "
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
                f"`weights` must have one entry an interaction, {len(self)} in all, or be None. "
                f"Received: {list(self.weights.shape)}."
            )
        if self.weights is not None and not (np.abs(self.weights) > 0).all():
            row = int(np.argmin(np.abs(self.weights) > 0))
            raise InputError(
                "`weights` must be numbers other than 0, below 0 of dislikes. Received: "
                f"{self.weights[row]} in row {row}. Leave out interactions that are not to count."
            )
        time_unit(self.timestamps)

    def __len__(self) -> int:
        return len(self.users)

    @property
    def num_users(self) -> int:
        """How many users there are."""
        return len(self.user_ids)

    @property
    def time_unit(self) -> str | None:
        """What the timestamps count: `"s"`, `"ms"`, `"us"` or `"ns"` since 1970, by their size.

        `"date"` where they are dates, None where their size fits no unit: then they have an order,
        but no hour and no weekday.
        """
        return time_unit(self.timestamps)

    @property
    def has_times(self) -> bool:
        """Whether any time stamp is known: they are 0 throughout where a data set has no times."""
        return self.timestamps.dtype.kind == "M" or bool(self.timestamps.any())

    def require_times(self, instead: str) -> None:
        """Raise an `InputError` where there are no times.

        Args:
            instead: what to do then, as a sentence.
        """
        if not self.has_times:
            raise InputError(
                f"Data set {self.name!r} has no times, so nothing says what a user did last. "
                f"{instead}"
            )

    def rows_by_time(self) -> np.ndarray:
        """Return the interactions' numbers user after user, oldest first; ties keep file order."""
        return np.lexsort((self.timestamps, self.users))

    def sequences(self) -> list[np.ndarray]:
        """Return each user's items by time, int32; ties keep file order: see `shuffle_ties`."""
        return in_sequences(self, self.items)

    def shuffle_ties(self, seed: int) -> Interactions:
        """Return them in another file order, so that chance orders those of one user and time.

        Where many interactions share a time stamp, file order may hold what time does not, such as
        the order of a page; of a shuffled tie no order can be learnt.

        Args:
            seed: of the shuffle.

        Example:
        >>> films = Catalogue(("50", "7"), ("Heat (1995)", "Babe (1995)"), ("Heat", "Babe"))
        >>> data = Interactions("tiny", films, ("ann",), [0, 0], [2, 1], [5.0, 3.0], [10, 10])
        >>> {tuple(data.shuffle_ties(seed).sequences()[0].tolist()) for seed in range(9)} == {
        ...     (1, 2), (2, 1)}
        True
        """
        return self.subset(np.random.default_rng(seed).permutation(len(self)))

    def in_random_order(self, seed: int) -> Interactions:
        """Return them without times, each user's in an order of chance.

        Args:
            seed: of the order.

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
        """Return what is left once users and items of few interactions are left out.

        Those that have fewer only then are left out too, and so on. What is left keeps its order;
        the catalogue is that of the items that are left.

        Args:
            least: interactions of a user and of an item that stays.

        Raises:
            InputError: nothing is left.

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
                f"Data set {self.name!r}: nothing is left of {len(self):,} interactions once users "
                f"and items with fewer than {least} are left out, again and again. Give more data."
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
        """Return some interactions, of the same users and items: a mask, or numbers in an order."""
        columns = ["users", "items", "ratings", "timestamps"]
        columns += [] if self.weights is None else ["weights"]
        return replace(self, **{name: getattr(self, name)[rows] for name in columns})

    def joined(self, later: Interactions) -> Interactions:
        """Return these interactions and later ones, of the users and items of both.

        Users and items are the same where their ids are. Those that only `later` has come behind
        the others, so that an index of today keeps its meaning. Where only one has weights, the
        other's are 1.

        Args:
            later: other interactions; their times are of the same kind.

        Raises:
            InputError: one has dates and the other numbers as times.

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
                "Interactions are joined by their time, so all must have dates or all numbers. "
                f"Received: {self.timestamps.dtype} and {later.timestamps.dtype}."
            )
        catalogue = self.catalogue.joined(later.catalogue)
        user_ids = tuple(dict.fromkeys([*self.user_ids, *later.user_ids]))
        user_of = {user_id: user for user, user_id in enumerate(user_ids)}
        users = np.array([user_of[user_id] for user_id in later.user_ids])[later.users]
        items = np.array(catalogue.indices(later.catalogue.item_ids))[later.items - 1]
        columns = {
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
        """Return them with some as dislikes, which count against their items with the weight -1.

        The others keep their weights, or get 1. A dislike is met: it is in histories and is never
        recommended again where what was seen is not. But a loss makes the item less likely there
        instead of more, it is nothing to be found, and EASE and popularity do not count it.

        Args:
            disliked: bool [num_interactions].

        Raises:
            InputError: another shape or type, or all of them are disliked.

        Example:
        >>> films = Catalogue(("50", "7"), ("Heat (1995)", "Babe (1995)"), ("Heat", "Babe"))
        >>> data = Interactions("tiny", films, ("ann",), [0, 0], [2, 1], [5.0, 1.0], [10, 11])
        >>> data.with_dislikes(data.ratings < 3).weights.tolist()
        [1.0, -1.0]
        """
        disliked = plain_array("disliked", disliked)
        if disliked.dtype != bool or disliked.shape != self.users.shape:
            raise InputError(
                f"`disliked` must be bool [{len(self)}], an entry an interaction. Received: "
                f"{disliked.dtype} {list(disliked.shape)}."
            )
        if disliked.all():
            raise InputError(
                f"All {len(self):,} interactions of {self.name!r} are disliked, so nothing is left "
                f"to recommend. Their ratings are from {self.ratings.min():g} to "
                f"{self.ratings.max():g}: count fewer of them as dislikes."
            )
        weights = 1.0 if self.weights is None else self.weights
        return replace(self, weights=np.where(disliked, -1.0, weights))

    def of_some_users(self, number: int, seed: int) -> Interactions:
        """Return what `number` users did, drawn at random, with the whole catalogue.

        Args:
            number: of users; where there are no more, all of them stay.
            seed: of the draw.

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
    """Return an entry an interaction as an array a user, in the order of `sequences`."""
    rows = interactions.rows_by_time()
    starts = np.searchsorted(interactions.users[rows], np.arange(1, interactions.num_users))
    return np.split(column[rows], starts)


def dislikes_sentence(disliked: np.ndarray, below: float) -> str:
    """Say how many interactions count against their items, and what that means."""
    return (
        f"{int(disliked.sum()):,} of {len(disliked):,} interactions are rated below {below:g}: as "
        "labels they count against their items with the weight -1, in histories they stay, EASE "
        "and popularity leave them out, and they are not to be found."
    )
