"""Book-Crossing, a data set of books with a large catalogue and no times."""

from __future__ import annotations

import os

from tfrs_distill.data.assets import BOOK_CROSSING
from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.readers import read_folder


def book_crossing(data_dir: str | os.PathLike[str] | None = None) -> Interactions:
    """Read the 5-core of Book-Crossing: 15,223 readers, 36,041 books, 564,730 interactions.

    Of the 1,149,780 ratings those stay whose book has a title in the set, and of them those of
    readers and books that have at least five, counted again until all have. Two thirds of them have
    the rating 0: the reader had to do with the book, and did not rate it; others are 1 to 10. There
    are no times: split by `split_at_random`. Ages and countries of the readers are in
    `read_user_attributes`.

    Book-Crossing is read, never redistributed: it is read from your copy of it, or fetched once
    (27 MB) into the asset cache.

    Reference: [Ziegler et al., 2005](https://doi.org/10.1145/1060745.1060754).

    Args:
        data_dir: a folder that `read_folder` reads, such as one with `BX-Book-Ratings.csv` and
            `BX-Books.csv`. None takes the asset.

    Raises:
        InputError: the folder cannot be read, or the asset cannot be fetched.
    """
    return read_folder(BOOK_CROSSING.folder() if data_dir is None else data_dir)
