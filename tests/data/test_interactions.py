from dataclasses import replace

import numpy as np
import pytest
from tiny_data import tiny_catalogue

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
        ([0, 1], [1, 1], [1], r"one entry per interaction\. Received lengths \[1, 2\]"),
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


def test_drawn_users_keep_all_their_interactions_and_every_item():
    random = np.random.default_rng(0)
    users, items = random.integers(0, 9, 200), random.integers(1, 4, 200)
    data = interactions(users, items, np.arange(200), num_users=9)
    data = replace(data, weights=np.arange(1.0, 201))
    some = data.of_some_users(4, seed=3)
    assert len(set(some.user_ids)) == some.num_users == 4 and some.catalogue == data.catalogue
    assert list(some.user_ids) == sorted(some.user_ids, key=data.user_ids.index)
    for user, user_id in enumerate(some.user_ids):
        rows = np.flatnonzero(users == data.user_ids.index(user_id))
        assert some.items[some.users == user].tolist() == items[rows].tolist()
        assert some.timestamps[some.users == user].tolist() == rows.tolist()
        assert some.weights[some.users == user].tolist() == (rows + 1).tolist()
    assert data.of_some_users(9, seed=3) is data
    drawn = {data.of_some_users(4, seed).user_ids for seed in range(20)}
    assert len(drawn) > 10 and {user for users in drawn for user in users} == set(data.user_ids)


def test_later_interactions_are_joined_by_ids():
    first = Interactions(
        "old", tiny_catalogue(2), ("ann", "bob"), [0, 1, 0], [1, 2, 2], [5, 4, 3], [10, 11, 12]
    )
    others = Catalogue(("9", "2"), ("Film 9", "other title"), ("Film 9", "other text"))
    later = Interactions(
        "new", others, ("cid", "bob"), [0, 1, 1], [1, 1, 2], [1, 2, 3], [20, 21, 22]
    )
    both = first.joined(later)
    assert both.user_ids == ("ann", "bob", "cid")
    assert both.catalogue.item_ids == ("1", "2", "9")
    assert both.catalogue.titles == ("Film 1", "Film 2", "Film 9")
    assert both.users.tolist() == [0, 1, 0, 2, 1, 1]
    assert both.items.tolist() == [1, 2, 2, 3, 3, 2]
    assert both.ratings.tolist() == [5, 4, 3, 1, 2, 3]
    assert both.timestamps.tolist() == [10, 11, 12, 20, 21, 22]
    assert (both.name, both.weights) == ("old", None)


def test_incompatible_interactions_are_not_joined():
    numbers = Interactions("n", tiny_catalogue(1), ("ann",), [0], [1], [5], [10])
    dates = Interactions("d", tiny_catalogue(1), ("ann",), [0], [1], [5], ["2024-01-01"])
    with pytest.raises(InputError, match="all timestamps must be dates or all numbers"):
        numbers.joined(dates)


def test_joining_gives_interactions_without_weights_the_weight_1():
    plain = Interactions("n", tiny_catalogue(1), ("ann",), [0], [1], [5], [10])
    weighted = replace(plain, weights=np.array([-2.0]))
    assert weighted.joined(weighted).weights.tolist() == [-2.0, -2.0]
    assert plain.joined(weighted).weights.tolist() == [1.0, -2.0]
    assert weighted.joined(plain).weights.tolist() == [-2.0, 1.0]
