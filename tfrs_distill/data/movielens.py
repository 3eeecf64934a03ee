"""MovieLens, the default data set, from a folder, the asset, or TensorFlow Datasets."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from tfrs_distill.data.assets import MOVIELENS_1M, MOVIELENS_100K
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.readers import read_folder
from tfrs_distill.data.readers.item_texts import item_text
from tfrs_distill.errors import InputError, MissingExtraError

BATCH_SIZE = 4096


def movielens_100k(data_dir: str | os.PathLike[str] | None = None) -> Interactions:
    """Read MovieLens-100K: 943 users, 1,682 films, 100,000 ratings with titles and genres.

    MovieLens may not be redistributed, so it is not part of this package: it is read from your
    copy, or downloaded once into the asset cache. If neither is possible, see `from_tfds`.

    Args:
        data_dir: a folder with any MovieLens set that `read_folder` can read. None downloads the
            asset.

    Raises:
        InputError: the folder cannot be read, or the asset cannot be downloaded.
    """
    return read_folder(MOVIELENS_100K.folder() if data_dir is None else data_dir)


def movielens_1m(data_dir: str | os.PathLike[str] | None = None) -> Interactions:
    """Read MovieLens-1M: 6,040 users, 3,883 films (3,706 of them rated), 1,000,209 ratings.

    Like `movielens_100k`, from your copy or downloaded once (14 MB) into the asset cache. In the
    asset, item ids are the titles, such as "Toy Story (1995)", which are unique, and user ids have
    the form "1m_1". GroupLens' own files (`ratings.dat`, `movies.dat`) have numeric ids. Genres and
    years are in `item_attributes`; age groups, genders and occupations (GroupLens' numbers, "0" to
    "20") are in `read_user_attributes` of `MOVIELENS_1M.folder()` of `data.assets`.

    Args:
        data_dir: a folder with any MovieLens set that `read_folder` can read. None downloads the
            asset.

    Raises:
        InputError: the folder cannot be read, or the asset cannot be downloaded.
    """
    return read_folder(MOVIELENS_1M.folder() if data_dir is None else data_dir)


def from_tfds(
    name: str = "movielens/100k-ratings", data_dir: str | os.PathLike[str] | None = None
) -> Interactions:
    """Read the ratings of a MovieLens set from TensorFlow Datasets (TFDS).

    TFDS prepares the set if needed. The catalogue holds the rated films, sorted by id. TFDS
    shuffles the rows, so interactions of a user in the same second can be in another order than in
    GroupLens' files. Without network, TFDS retries for some minutes before it fails.

    Args:
        name: name of a `movielens/*-ratings` set.
        data_dir: data folder of TFDS. None for its default, `~/tensorflow_datasets`.

    Raises:
        MissingExtraError: `tensorflow-datasets` is not installed.
        InputError: TFDS does not have the set or cannot download it, or the set has no ratings.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise MissingExtraError("tensorflow-datasets", "tfds", "Reading a TFDS data set") from error
    unversioned = name.partition(":")[0]
    if not (unversioned.startswith("movielens/") and unversioned.endswith("-ratings")):
        raise InputError(
            "A TFDS set of MovieLens ratings was expected, such as 'movielens/100k-ratings'. "
            f"Received: {name!r}."
        )
    try:
        dataset, info = tfds.load(name, split="train", data_dir=data_dir, with_info=True)
    except Exception as error:  # TFDS passes on the errors of its network and file libraries
        raise InputError(
            f"TFDS could not load {name!r}: {type(error).__name__}: {str(error)[:300]}. Check the "
            "name and the network, or give a folder with MovieLens data by `--data-dir DIR`."
        ) from error
    return _interactions(unversioned, dataset, info.features["movie_genres"].feature)


def _interactions(name: str, dataset: Any, genre_label: Any) -> Interactions:
    """Return the interactions of a TFDS ratings set."""
    users: list[str] = []
    items: list[str] = []
    ratings: list[np.ndarray] = []
    timestamps: list[np.ndarray] = []
    described: dict[str, tuple[str, list[str]]] = {}
    for batch in dataset.ragged_batch(BATCH_SIZE):
        users += _texts(batch["user_id"])
        items += _texts(batch["movie_id"])
        ratings.append(batch["user_rating"].numpy())
        timestamps.append(batch["timestamp"].numpy())
        described |= _new_films(batch, described, genre_label)
    if not users:
        raise InputError(f"The TFDS set {name!r} has no ratings.")
    item_ids = sorted(described, key=lambda item_id: (len(item_id), item_id))  # 2 before 10
    item_index = {item_id: index for index, item_id in enumerate(item_ids, start=1)}
    user_index = {user: index for index, user in enumerate(dict.fromkeys(users))}
    return Interactions(
        name.replace("/", "-"),
        Catalogue(
            tuple(item_ids),
            tuple(described[item_id][0] for item_id in item_ids),
            tuple(item_text(*described[item_id]) for item_id in item_ids),
        ),
        tuple(user_index),
        np.array([user_index[user] for user in users], np.int32),
        np.array([item_index[item] for item in items], np.int32),
        np.concatenate(ratings).astype(np.float32),
        np.concatenate(timestamps).astype(np.int64),
    )


def _new_films(
    batch: Any, known: dict[str, tuple[str, list[str]]], genre_label: Any
) -> dict[str, tuple[str, list[str]]]:
    """Return title and names of genres by id, of the films of a batch that are not `known`."""
    titles, genres = _texts(batch["movie_title"]), batch["movie_genres"].to_list()
    return {
        item_id: (titles[row], [genre_label.int2str(genre) for genre in genres[row]])
        for row, item_id in enumerate(_texts(batch["movie_id"]))
        if item_id not in known
    }


def _texts(column: Any) -> list[str]:
    return [value.decode() for value in column.numpy().tolist()]
