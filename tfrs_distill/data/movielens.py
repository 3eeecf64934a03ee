"""MovieLens-100K, the default data set."""

from __future__ import annotations

import os

from tfrs_distill.data.assets import movielens_100k_folder
from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.readers import read_folder


def movielens_100k(data_dir: str | os.PathLike[str] | None = None) -> Interactions:
    """943 users, 1,682 films, 100,000 ratings with timestamps, titles and genres.

    MovieLens may not be redistributed, so nothing of it is in this package: it is read from your
    own copy, or fetched once into the asset cache. Where neither is possible, see `from_tfds`.

    Args:
        data_dir: a folder that `read_folder` reads, of any MovieLens set. None takes the asset.

    Raises:
        InputError: the folder cannot be read, or the asset cannot be fetched.
    """
    return read_folder(movielens_100k_folder() if data_dir is None else data_dir)
