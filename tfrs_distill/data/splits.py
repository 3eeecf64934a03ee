"""Training windows, and validation and test queries, split by time or at random."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tfrs_distill import columns
from tfrs_distill.columns import row_numbers
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.checked_arrays import item_indices, whole_numbers
from tfrs_distill.data.cuts import global_time_cuts, leave_one_out_cuts, user_time_cuts
from tfrs_distill.data.interactions import Interactions, in_sequences
from tfrs_distill.data.windows import Windows, attribute_indices
from tfrs_distill.errors import InputError

AT_RANDOM = "Use a random split: `split_at_random`."  # where there are no times


@dataclass(frozen=True)
class Queries:
    """Evaluation queries: histories, and the items that came next.

    With `catalogue.exclude_seen`, items in the history are never recommended, so a positive in its
    query's history cannot be recommended: `relevant` excludes it, and `answerable` excludes queries
    without relevant items.

    Args:
        catalogue: the items.
        users: int32 [num_queries], user indices.
        histories: one int32 array of item indices per query, oldest first, complete and unpadded.
        positives: one int32 array of item indices per query: the next items, in order.
        candidates: int32 item indices to rank, or None for the whole catalogue.
        user_attributes: int32 [num_queries, num_attributes], attributes of each query's user, 0 if
            missing; see `Splits.with_user_attributes`. None if no model reads any.

    Raises:
        InputError: the columns differ in length, or hold values that are not item indices.

    Example:
    >>> films = Catalogue(("50", "7"), ("Heat (1995)", "Babe (1995)"), ("Heat", "Babe"))
    >>> queries = Queries(films, [0, 1], ([1], []), ([2], [1, 2]))
    >>> len(queries), queries.num_positives
    (2, 3)
    """

    catalogue: Catalogue
    users: np.ndarray
    histories: tuple[np.ndarray, ...]
    positives: tuple[np.ndarray, ...]
    candidates: np.ndarray | None = None
    user_attributes: np.ndarray | None = None

    def __post_init__(self) -> None:
        plain: dict[str, object] = {"users": whole_numbers("users", self.users)}
        plain["user_attributes"] = attribute_indices(self.user_attributes, len(self.users))
        for name in ("histories", "positives"):
            plain[name] = tuple(
                whole_numbers(f"{name}[{row}]", items)
                for row, items in enumerate(getattr(self, name))
            )
        if self.candidates is not None:
            plain["candidates"] = whole_numbers("candidates", self.candidates)
        for name, column in plain.items():
            object.__setattr__(self, name, column)
        lengths = [len(self.users), len(self.histories), len(self.positives)]
        if len(set(lengths)) != 1:
            raise InputError(
                "`users`, `histories` and `positives` must have one entry per query. Received "
                f"lengths {lengths}."
            )
        parts = {"histories": self.histories, "positives": self.positives}
        if self.candidates is not None:
            parts["candidates"] = (self.candidates,)
        for name, arrays in parts.items():
            if any(array.ndim != 1 for array in arrays):
                raise InputError(f"`{name}` must be item indices in one dimension.")
            if arrays:
                item_indices(name, np.concatenate(arrays), self.catalogue.num_items)

    def __len__(self) -> int:
        return len(self.users)

    @cached_property
    def relevant(self) -> tuple[np.ndarray, ...]:
        """Relevant items, one array per query: the positives that may be recommended."""
        if not self.catalogue.exclude_seen:
            return self.positives
        seen = np.zeros(self.catalogue.num_items + 1, bool)
        relevant = []
        for positives, history in zip(self.positives, self.histories, strict=True):
            seen[history] = True
            relevant.append(positives[~seen[positives]])
            seen[history] = False
        return tuple(relevant)

    @property
    def num_positives(self) -> int:
        """Number of positives of all queries."""
        return sum(map(len, self.positives))

    @property
    def num_left_out(self) -> int:
        """Number of positives that are in their query's history and thus not relevant."""
        return self.num_positives - sum(map(len, self.relevant))

    @property
    def answerable_rows(self) -> np.ndarray:
        """The rows of queries that have a relevant item, int64."""
        return np.flatnonzero([len(items) > 0 for items in self.relevant])

    def answerable(self) -> Queries:
        """Return the queries that have a relevant item, with only relevant items as positives.

        Raises:
            InputError: there are none.
        """
        rows = self.answerable_rows
        if not len(rows):
            raise InputError(
                f"None of {len(self)} queries has a relevant item: all of their "
                f"{self.num_positives} positives are in the histories, whose items are never "
                "recommended. If users interact with the same item repeatedly, give "
                "`exclude_seen=False` to `split_by_time`, or `exclude_seen = false` in the "
                "recipe's [data]."
            )
        return replace(self, positives=self.relevant).subset(rows)

    def subset(self, rows: np.ndarray) -> Queries:
        """Return the queries at `rows` (indices or a boolean mask)."""
        rows = row_numbers(rows, len(self))
        return Queries(
            self.catalogue,
            self.users[rows],
            tuple(self.histories[row] for row in rows),
            tuple(self.positives[row] for row in rows),
            self.candidates,
            None if self.user_attributes is None else self.user_attributes[rows],
        )


@dataclass(frozen=True)
class Splits:
    """One data set, split by time, or at random.

    Args:
        name: name of the data set.
        catalogue: the items.
        train: windows over the training part of every sequence of at least two.
        validation: history = train, positives = the part after it.
        test: history = train and validation, positives = the last part.
    """

    name: str
    catalogue: Catalogue
    train: Windows
    validation: Queries
    test: Queries

    def with_user_attributes(self, user_attributes: np.ndarray) -> Splits:
        """Return the same parts with the attributes of their users.

        Args:
            user_attributes: int32 [num_users, num_attributes], one row per user index, such as the
                output of `AttributeVocabulary.encode`.

        Raises:
            InputError: a user has no row.
        """
        parts = {name: getattr(self, name) for name in ("train", "validation", "test")}
        largest = max(int(part.users.max(initial=-1)) for part in parts.values())
        known = attribute_indices(user_attributes, len(user_attributes))
        if known is None or len(known) <= largest:
            raise InputError(
                f"`user_attributes` must have a row for each user, at least {largest + 1}. "
                f"Received: {len(user_attributes)}."
            )
        return replace(
            self,
            **{
                name: replace(part, user_attributes=known[part.users])
                for name, part in parts.items()
            },
        )


def pad_histories(
    histories: tuple[np.ndarray, ...] | list[np.ndarray], max_history: int | None = None
) -> np.ndarray:
    """Stack histories of different lengths: int32 [num_queries, width], padded with 0 in front.

    The width is the longest length, or `max_history`: then only the latest items are kept.
    """
    width = max((len(history) for history in histories), default=0)
    width = max(width, 1) if max_history is None else max_history
    padded = np.full((len(histories), width), columns.PADDING, np.int32)
    for row, history in enumerate(histories):
        latest = history[-width:]
        if len(latest):
            padded[row, -len(latest) :] = latest
    return padded


def windows_of(
    sequences: list[np.ndarray],
    users: np.ndarray,
    catalogue: Catalogue,
    *,
    max_history: int,
    weights: list[np.ndarray] | None = None,
) -> Windows:
    """Cut sequences into windows so that every item but the first is a label exactly once.

    Each window starts `max_history // 2` positions after the previous one, and has only labels that
    no earlier window has. So every label, except the first of a sequence, has at least half a
    window of history.

    Args:
        sequences: int32 item indices, oldest first, one array per user.
        users: int32, the user index of each sequence.
        catalogue: the items.
        max_history: positions in a window, at least 2.
        weights: float32, weights of each sequence's items as labels, one array per user; None for
            equal weights. Below 0 the item is a dislike. A sequence's first item is never a label,
            so its weight is not used.
    """
    if max_history < 2:
        raise InputError(f"`max_history` must be at least 2. Received: {max_history}.")
    stride = max_history // 2
    rows_history, rows_labels, rows_users, rows_weights = [], [], [], []
    for number, (user, sequence) in enumerate(zip(users, sequences)):
        inputs, labels = sequence[:-1], sequence[1:]
        num_done = 0
        start = 0
        while num_done < len(labels):
            end = min(start + max_history, len(labels))
            history = np.full(max_history, columns.PADDING, np.int32)
            label = np.full(max_history, columns.PADDING, np.int32)
            history[max_history - (end - start) :] = inputs[start:end]
            label[max_history - (end - num_done) :] = labels[num_done:end]
            rows_history.append(history)
            rows_labels.append(label)
            rows_users.append(user)
            if weights is not None:
                weight = np.zeros(max_history, np.float32)
                weight[label > columns.PADDING] = weights[number][1:][num_done:end]
                rows_weights.append(weight)
            num_done = end
            start += stride
    return Windows(
        catalogue,
        np.array(rows_users, np.int32),
        np.stack(rows_history),
        np.stack(rows_labels),
        weights=None if weights is None else np.stack(rows_weights),
    )


def split_by_time(
    interactions: Interactions,
    *,
    max_history: int = 64,
    train_fraction: float = 0.8,
    validation_fraction: float = 0.1,
    whole_ties: bool = False,
    exclude_seen: bool | None = None,
) -> Splits:
    """Split each user's sequence by time: first part trains, next validates, last tests.

    Of a user's n interactions the first `floor(n * train_fraction)` are training, the next up to
    `floor(n * (train_fraction + validation_fraction))` are validation. A user with an empty part
    has no query in that part.

    Args:
        interactions: the data set.
        max_history: positions in a training window.
        train_fraction: share of each user's interactions in training.
        validation_fraction: share of each user's interactions in validation.
        whole_ties: whether interactions of a user with equal timestamps stay together: a cut
            between them moves to the first. Otherwise their order (file order, or see
            `Interactions.shuffle_ties`) decides which of them is tested.
        exclude_seen: the setting of the splits' catalogue: False if users interact with the same
            item repeatedly. None keeps the setting of the interactions' catalogue (True by
            default).

    Raises:
        InputError: there are no timestamps, fractions are outside (0, 1), no user has two training
            interactions, or a part has no query.
    """
    interactions.require_times(AT_RANDOM)
    cuts = user_time_cuts(
        interactions,
        train_fraction=train_fraction,
        validation_fraction=validation_fraction,
        whole_ties=whole_ties,
    )
    return split_at(interactions, cuts, max_history=max_history, exclude_seen=exclude_seen)


def split_leave_one_out(
    interactions: Interactions, *, max_history: int = 64, exclude_seen: bool | None = None
) -> Splits:
    """Leave one out: test on each user's last interaction, validate on the one before it.

    All other interactions are training. Users with fewer than 3 interactions are only in training.
    As in every split, a query ranks the whole catalogue, and a test history includes the validation
    interaction.

    Reference: [Kang and McAuley, 2018](https://arxiv.org/abs/1808.09781), section IV-A.

    Args:
        interactions: the data set.
        max_history: positions in a training window.
        exclude_seen: as for `split_by_time`.

    Raises:
        InputError: there are no timestamps, or no user has 4 interactions (two training ones,
            one validation, one test).

    Example:
    >>> names = tuple("abcd")
    >>> from tfrs_distill.data.catalogue import Catalogue
    >>> data = Interactions("tiny", Catalogue(names, names, names), ("ann",), [0] * 4, [4, 3, 2, 1],
    ...                     [1.0] * 4, [10, 20, 30, 40])
    >>> test = split_leave_one_out(data).test
    >>> test.histories, test.positives
    ((array([4, 3, 2], dtype=int32),), (array([1], dtype=int32),))
    """
    interactions.require_times(AT_RANDOM)
    cuts = leave_one_out_cuts(interactions)
    return split_at(interactions, cuts, max_history=max_history, exclude_seen=exclude_seen)


def split_by_global_time(
    interactions: Interactions,
    *,
    max_history: int = 64,
    train_fraction: float = 0.8,
    validation_fraction: float = 0.1,
    exclude_seen: bool | None = None,
) -> Splits:
    """Split all users at the same two times, so that no training data is later than a test.

    The times are those of the interactions at `floor(num_interactions * fraction)` in order of
    time. Interactions exactly at such a time belong to the later part. A user without interactions
    before a part has no history, and so no query in it (as in Gusak et al.); a user whose history
    begins after training has one. `split_facts` counts the excluded users.

    Reference: [Gusak et al., 2025](https://arxiv.org/abs/2507.16289).

    Args:
        interactions: the data set.
        max_history: positions in a training window.
        train_fraction: share of all interactions in training.
        validation_fraction: share of all interactions in validation.
        exclude_seen: as for `split_by_time`.

    Raises:
            InputError: there are no timestamps, fractions are outside (0, 1), no user has two
                training interactions, or a part has no query.

        Example: ann is in training and test; bob's history begins after training, and he is in
        test.
    >>> names = tuple("abcdefghij")
    >>> from tfrs_distill.data.catalogue import Catalogue
    >>> data = Interactions("tiny", Catalogue(names, names, names), ("ann", "bob"),
    ...                     [0] * 8 + [1] * 2, range(1, 11), [1.0] * 10,
    ...                     [10, 20, 30, 40, 50, 60, 80, 100, 85, 90])
    >>> splits = split_by_global_time(data, train_fraction=0.6, validation_fraction=0.2)
    >>> splits.validation.users, splits.test.users, splits.test.histories[1]
    (array([0], dtype=int32), array([0, 1], dtype=int32), array([9], dtype=int32))
    """
    interactions.require_times(AT_RANDOM)
    cuts = global_time_cuts(
        interactions, train_fraction=train_fraction, validation_fraction=validation_fraction
    )
    return split_at(interactions, cuts, max_history=max_history, exclude_seen=exclude_seen)


def split_at_random(
    interactions: Interactions,
    *,
    seed: int,
    max_history: int = 64,
    train_fraction: float = 0.8,
    validation_fraction: float = 0.1,
    exclude_seen: bool | None = None,
) -> Splits:
    """Split each user's interactions at random into training, validation and test.

    For data without timestamps, such as `book_crossing`: the task is to predict which items of a
    user were held out, not the future. The parts have the same sizes as in `split_by_time`. The
    order inside histories and windows is random too, so build models with `reads_order=False`. A
    model that reads only part of a long history reads a random part.

    Args:
        interactions: the data set. Timestamps are ignored.
        seed: seed of the order.
        max_history: positions in a training window.
        train_fraction: share of each user's interactions in training.
        validation_fraction: share of each user's interactions in validation.
        exclude_seen: as for `split_by_time`.

    Raises:
        InputError: fractions are outside (0, 1), no user has two training interactions, or a part
            has no query.

    Example:
    >>> names = tuple("abcdefghij")
    >>> from tfrs_distill.data.catalogue import Catalogue
    >>> data = Interactions("tiny", Catalogue(names, names, names), ("ann",), [0] * 10,
    ...                     range(1, 11), [1.0] * 10, [0] * 10)
    >>> test = split_at_random(data, seed=0).test
    >>> sorted([*test.histories[0].tolist(), *test.positives[0].tolist()]) == list(range(1, 11))
    True
    >>> len(test.positives[0])
    1
    """
    shuffled = interactions.in_random_order(seed)
    cuts = user_time_cuts(
        shuffled, train_fraction=train_fraction, validation_fraction=validation_fraction
    )
    return split_at(shuffled, cuts, max_history=max_history, exclude_seen=exclude_seen)


def split_at(
    interactions: Interactions,
    cuts: np.ndarray,
    *,
    max_history: int,
    exclude_seen: bool | None = None,
) -> Splits:
    """Split each user's sequence at its two cuts; a part without a history before it has no query.

    A dislike (weight below 0) is a label in training and an item of histories like all others, so
    that it is not recommended again. It is not a positive in evaluation.

    Args:
        interactions: the data set.
        cuts: int64 [num_users, 2], start of validation and start of test in each sequence: see
            `data.cuts`.
        max_history: positions in a training window.
        exclude_seen: as for `split_by_time`.

    Raises:
        InputError: no user has two training interactions, or a part has no query.
    """
    sequences = interactions.sequences()
    of_users = None
    if interactions.weights is not None:
        of_users = in_sequences(interactions, interactions.weights)
    users = np.arange(interactions.num_users, dtype=np.int32)
    trainable = np.flatnonzero(cuts[:, 0] >= 2)
    longest = max(map(len, sequences))
    if not len(trainable):
        raise InputError(
            f"Data set {interactions.name!r}: no user has 2 training interactions after the "
            "split, so there is no next item to train on. The longest sequence has "
            f"{longest} interactions; give data with more."
        )
    catalogue = interactions.catalogue
    if exclude_seen is not None:
        catalogue = replace(catalogue, exclude_seen=exclude_seen)
    weights = None
    if of_users is not None:
        weights = [of_users[user][: cuts[user, 0]] for user in trainable]
    train = windows_of(
        [sequences[user][: cuts[user, 0]] for user in trainable],
        users[trainable],
        catalogue,
        max_history=max_history,
        weights=weights,
    )

    def queries(name: str, starts: np.ndarray, ends: np.ndarray) -> Queries:
        queried = np.flatnonzero((starts > 0) & (starts < ends))
        positives = [sequences[user][starts[user] : ends[user]] for user in queried]
        if of_users is not None:
            liked = [of_users[user][starts[user] : ends[user]] > 0 for user in queried]
            positives = [items[of] for items, of in zip(positives, liked)]
            some = np.array([len(items) > 0 for items in positives], bool)
            queried, positives = queried[some], [items for items in positives if len(items)]
        if not len(queried):
            raise InputError(
                f"Data set {interactions.name!r}: no user is left in the {name} split, which "
                "needs an interaction in it that is not a dislike and one before it. The longest "
                "sequence has "
                f"{longest} interactions; 10 are the minimum for an 80/10/10 split of each user, 4 "
                "for leave-one-out, and a split at one time needs users on both sides of it."
            )
        return Queries(
            catalogue,
            users[queried],
            tuple(sequences[user][: starts[user]] for user in queried),
            tuple(positives),
        )

    lengths = np.array([len(sequence) for sequence in sequences])
    return Splits(
        interactions.name,
        catalogue,
        train,
        queries("validation", cuts[:, 0], cuts[:, 1]),
        queries("test", cuts[:, 1], lengths),
    )
