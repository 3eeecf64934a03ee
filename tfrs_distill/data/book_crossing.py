"""Book-Crossing, a data set of books with a large catalogue and no timestamps."""

from __future__ import annotations

import os

from tfrs_distill.data.assets import BOOK_CROSSING
from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.readers import read_folder


def book_crossing(data_dir: str | os.PathLike[str] | None = None) -> Interactions:
    """Read the 5-core of Book-Crossing: 15,223 readers, 36,041 books, 564,730 interactions.

    The full set has 1,149,780 ratings. Ratings of books without a title are dropped; then readers
    and books with fewer than five ratings are dropped, repeatedly, until all have five. Two thirds
    of the remaining ratings are 0, which means an implicit interaction without a rating; the others
    are 1 to 10. There are no timestamps: split with `split_at_random`. Ages and countries of the
    readers are in `read_user_attributes`.

    Book-Crossing is not redistributed: it is read from your copy, or downloaded once (27 MB) into
    the asset cache.

    Reference: [Ziegler et al., 2005](https://doi.org/10.1145/1060745.1060754).

    Args:
        data_dir: a folder that `read_folder` can read, such as one with `BX-Book-Ratings.csv` and
            `BX-Books.csv`. None downloads the asset.

    Raises:
        InputError: the folder cannot be read, or the asset cannot be downloaded.
    """
    return read_folder(BOOK_CROSSING.folder() if data_dir is None else data_dir)
