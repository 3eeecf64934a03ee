import numpy as np
import pytest

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.interactions import Interactions
from tfrs_distill.errors import InputError

CATALOGUE = Catalogue(("a", "b", "c"), ("A", "B", "C"), ("a", "b", "c"))


def interactions(users, items, timestamps, num_users=3):
    return Interactions(
        "tiny",
        CATALOGUE,
        tuple(f"u{n}" for n in range(num_users)),
        np.array(users, np.int32),
        np.array(items, np.int32),
        np.ones(len(items), np.float32),
        np.array(timestamps, np.int64),
    )


def test_sequences_are_by_time_and_ties_keep_file_order():
    data = interactions(
        users=[2, 0, 2, 0, 2], items=[3, 1, 2, 3, 1], timestamps=[9, 5, 4, 1, 9], num_users=3
    )
    sequences = data.sequences()
    assert [s.tolist() for s in sequences] == [[3, 1], [], [2, 3, 1]]
    assert all(s.dtype == np.int32 for s in sequences)
    assert (len(data), data.num_users) == (5, 3)


@pytest.mark.parametrize(
    ("users", "items", "timestamps", "words"),
    [
        ([0, 1], [1, 1], [1], r"one entry an interaction\. Received lengths \[1, 2\]"),
        ([], [], [], r"Data set 'tiny' has no interactions"),
        ([0, 3], [1, 1], [1, 2], r"`users` must be within 0 to 2"),
        ([0, -1], [1, 1], [1, 2], r"`users` must be within 0 to 2"),
        ([0, 1], [0, 1], [1, 2], r"`items` must be within 1 to 3"),
        ([0, 1], [1, 4], [1, 2], r"`items` must be within 1 to 3"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(users, items, timestamps, words):
    with pytest.raises(InputError, match=words):
        interactions(users, items, timestamps)
