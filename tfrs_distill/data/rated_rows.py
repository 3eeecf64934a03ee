"""Ratings as ranking rows, with features from the user's earlier interactions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tfrs_distill import columns
from tfrs_distill.data.assets import MOVIELENS_100K
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.cuts import user_time_cuts
from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.item_features import ItemAttributes, attribute_vectors, item_attributes
from tfrs_distill.data.movielens import movielens_100k
from tfrs_distill.data.ranking_examples import RankingExamples, RankingSplits
from tfrs_distill.data.readers.user_attributes import UserAttributes, read_user_attributes
from tfrs_distill.data.times import seconds_since_1970, times_line
from tfrs_distill.errors import InputError

LIKED_FROM = 4.0  # lowest rating that is a like
HOURS = tuple(str(hour) for hour in range(24))
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
FIRST_DAY_OF_TIME = WEEKDAYS.index("Thursday")  # 1970-01-01
HOUR_SECONDS, DAY_SECONDS = 3600, 86400


@dataclass(frozen=True, eq=False)
class RatingTables:
    """Vocabularies of the index columns, and item vectors.

    Args:
        catalogue: the items, for `item_id` and `history`.
        vocabularies: by column, the values of the indices: index `i + 1` is entry `i`, 0 is
            unknown.
        item_vectors: float32 [num_items, dim], item `i + 1` in row `i`: see `attribute_vectors`;
            None if the items have no attributes.
        times: how the timestamps were interpreted, as part of a sentence.
    """

    catalogue: Catalogue
    vocabularies: Mapping[str, tuple[str, ...]]
    item_vectors: np.ndarray | None
    times: str


def split_ratings(
    interactions: Interactions,
    *,
    max_history: int = 32,
    liked_from: float = LIKED_FROM,
    items: ItemAttributes | None = None,
    users: UserAttributes | None = None,
) -> tuple[RankingSplits, RatingTables]:
    """Turn ratings into ranking rows, split 80 / 10 / 10 % by time for each user.

    The parts are those of `split_by_time`, and every interaction is a row, including a user's
    first. The features of a row use only earlier interactions of its user, from any part. Features:

    - `item_id`; `history`, `history_ratings`: the last `max_history` items before the row, oldest
      first, and their ratings, padded with 0 in front;
    - `user_mean_rating`: the mean of all earlier ratings, NaN before the first;
    - `hour_of_day`, `weekday`: of the rating in UTC, as indices (1 = midnight, Monday); 0 (unknown)
      if the unit of the timestamps is unknown (see `Interactions.time_unit`);
    - `age` (years), `gender`, `occupation` (indices), if `users` is given; NaN and 0 for users that
      it does not contain.

    Batches also have `user_id` as index. On a phone it is not available, nor are age, gender and
    occupation. Labels: `rating`, and `like`: 1 if the rating is at least `liked_from`, else 0. The
    rows of a user are one candidate list.

    Args:
        interactions: with ratings. `read_table` sets a missing rating to 1, or drops the
            interaction if `min_rating` is given.
        max_history: length of a row's history.
        liked_from: lowest rating that is a like.
        items: item attributes, in the order of the catalogue.
        users: user attributes.

    Raises:
        InputError: there are no timestamps, `max_history` is below 1, or a part would have no rows.

    Example:
    >>> items = Catalogue(("50", "7"), ("Heat (1995)", "Babe (1995)"), ("Heat", "Babe"))
    >>> data = Interactions("tiny", items, ("ann",), [0] * 10, [1, 2] * 5, [5, 3] * 5, range(10))
    >>> splits, tables = split_ratings(data, max_history=2)
    >>> splits.test.features["history_ratings"].tolist(), splits.test.labels["like"].tolist()
    ([[3.0, 5.0]], [0.0])
    """
    if max_history < 1:
        raise InputError(f"`max_history` must be at least 1. Received: {max_history}.")
    vocabularies = {
        columns.USER_ID: interactions.user_ids,
        columns.ITEM_ID: interactions.catalogue.item_ids,
        "hour_of_day": HOURS,
        "weekday": WEEKDAYS,
    }
    if users is not None:
        for name, values in (("gender", users.genders), ("occupation", users.occupations)):
            vocabularies[name] = tuple(sorted(set(values) - {""}))
    tables = RatingTables(
        interactions.catalogue,
        vocabularies,
        None if items is None else attribute_vectors(items),
        times_line(interactions.timestamps),
    )
    rows = _rows(interactions, users, vocabularies, max_history, liked_from)
    return _split(interactions, rows), tables


def movielens_ranking(
    data_dir: str | os.PathLike[str] | None = None, *, max_history: int = 32
) -> tuple[RankingSplits, RatingTables]:
    """Read MovieLens as ranking rows, as `split_ratings` makes them.

    Includes genres and year of each film and, if the folder has a users' file, age, gender and
    occupation; ratings of 4 and more are likes.

    Args:
        data_dir: a folder with any MovieLens set that `read_folder` can read. None downloads the
            asset.
        max_history: as for `split_ratings`.

    Raises:
        InputError: the folder cannot be read, the asset cannot be downloaded, or as for
            `split_ratings`.
    """
    folder = MOVIELENS_100K.folder() if data_dir is None else data_dir
    interactions = movielens_100k(folder)
    return split_ratings(
        interactions,
        max_history=max_history,
        items=item_attributes(folder, interactions.catalogue),
        users=read_user_attributes(folder),
    )


def _rows(
    interactions: Interactions,
    attributes: UserAttributes | None,
    vocabularies: Mapping[str, tuple[str, ...]],
    max_history: int,
    liked_from: float,
) -> RankingExamples:
    """Return every interaction as a row, sorted by user and time."""
    order = interactions.rows_by_time()
    users, items = interactions.users[order], interactions.items[order]
    ratings = interactions.ratings[order]
    places = np.arange(len(order)) - _first_rows(users)
    features = {
        columns.ITEM_ID: items,
        columns.HISTORY: _before(items, places, max_history),
        columns.HISTORY_RATINGS: _before(ratings, places, max_history),
        "user_mean_rating": _mean_before(ratings, places),
        **_moments(seconds_since_1970(interactions.timestamps[order]), len(order)),
    }
    if attributes is not None:
        of_user = _of_users(interactions.user_ids, attributes, vocabularies)
        features |= {name: values[users] for name, values in of_user.items()}
    labels = {"rating": ratings, "like": (ratings >= liked_from).astype(np.float32)}
    return RankingExamples(
        features, labels, users=users + 1, queries=users + 1, catalogue=interactions.catalogue
    )


def _moments(seconds: np.ndarray | None, num_rows: int) -> dict[str, np.ndarray]:
    """Return hour and weekday as indices, 0 if the time is unknown."""
    if seconds is None:
        return {name: np.zeros(num_rows, np.int32) for name in ("hour_of_day", "weekday")}
    return {
        "hour_of_day": seconds // HOUR_SECONDS % 24 + 1,
        "weekday": (seconds // DAY_SECONDS + FIRST_DAY_OF_TIME) % 7 + 1,
    }


def _split(interactions: Interactions, rows: RankingExamples) -> RankingSplits:
    sequences = interactions.sequences()
    interactions.require_times("Give timestamps: each user's last ratings are the test data.")
    cuts = user_time_cuts(interactions)
    users = rows.users - 1
    places = np.arange(len(rows)) - _first_rows(users)
    part = (places[:, None] >= cuts[users]).sum(axis=1)  # 0 train, 1 validation, 2 test
    missing = set(range(3)) - set(part.tolist())
    if missing:
        name = ("train", "validation", "test")[min(missing)]
        raise InputError(
            f"Data set {interactions.name!r}: no row is left for {name}. The longest sequence has "
            f"{max(map(len, sequences))} interactions; 10 are the minimum for an 80/10/10 split."
        )
    return RankingSplits(interactions.name, *(rows.subset(part == number) for number in range(3)))


def _first_rows(users: np.ndarray) -> np.ndarray:
    """Return, for each row of sorted `users`, the first row of its user."""
    return np.searchsorted(users, users)


def _before(values: np.ndarray, places: np.ndarray, width: int) -> np.ndarray:
    """Return the last values of a sequence before each row, `[num_rows, width]`, 0 in front.

    `places` are the positions of the rows in their sequences, from 0.
    """
    padded = np.concatenate([np.zeros(width, values.dtype), values])
    windows = np.lib.stride_tricks.sliding_window_view(padded, width)[: len(values)]
    inside = np.arange(width) >= width - places[:, None]
    return np.where(inside, windows, np.zeros((), values.dtype))


def _mean_before(ratings: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the mean of a sequence's ratings before each row, NaN for the first row."""
    sums = np.concatenate([[0.0], np.cumsum(ratings, dtype=np.float64)])
    rows = np.arange(len(ratings))
    means = np.full(len(ratings), np.nan)
    return np.divide(sums[rows] - sums[rows - places], places, out=means, where=places > 0)


def _of_users(
    user_ids: tuple[str, ...],
    attributes: UserAttributes,
    vocabularies: Mapping[str, tuple[str, ...]],
) -> dict[str, np.ndarray]:
    """Return age, gender and occupation of each user of the data set, by user index."""
    row_of = {user_id: row for row, user_id in enumerate(attributes.user_ids)}
    rows = [row_of.get(user_id, -1) for user_id in user_ids]  # -1: the entry added at the end
    found = {"age": np.append(attributes.ages, np.nan)[rows]}
    for name, values in (("gender", attributes.genders), ("occupation", attributes.occupations)):
        index_of = {value: index for index, value in enumerate(vocabularies[name], start=1)}
        found[name] = np.array([*(index_of.get(value, 0) for value in values), 0])[rows]
    return found
