"""Weights of interactions: from the data set through every split to the columns of a batch."""

import hashlib

import numpy as np
import pytest

from tfrs_distill.data import (
    Catalogue,
    Interactions,
    Windows,
    split_by_global_time,
    split_by_time,
    split_cold_items,
    split_leave_one_out,
)
from tfrs_distill.data.cold_items import ColdItems
from tfrs_distill.errors import InputError

NAMES = tuple("abcdefghijkl")
FILMS = Catalogue(NAMES, NAMES, NAMES)
COLD = ColdItems(np.array([7, 1]), np.array([2, 4]))


def weighted_interactions(weights=True, seed=0):
    """Three users with all 12 items each, at random times; an item's weight is half its index."""
    random = np.random.default_rng(seed)
    users, items = np.repeat([0, 1, 2], 12), np.tile(np.arange(1, 13), 3)
    times = random.permutation(36)
    return Interactions(
        "tiny",
        FILMS,
        ("x", "y", "z"),
        users,
        items,
        np.ones(36),
        times,
        weights=items / 2 if weights else None,
    )


@pytest.mark.parametrize(
    "split",
    [
        lambda data: split_by_time(data, max_history=4),
        lambda data: split_leave_one_out(data, max_history=4),
        lambda data: split_by_global_time(data, max_history=4),
        lambda data: split_by_time(data.shuffle_ties(3), max_history=4),
        lambda data: split_cold_items(data, COLD, COLD.all, max_history=4),
    ],
)
def test_every_label_has_the_weight_of_its_interaction(split):
    train = split(weighted_interactions()).train
    assert train.weights.dtype == np.float32 and train.num_labels > 10
    np.testing.assert_array_equal(train.weights, train.labels / 2)  # 0 where there is no label
    plain = split(weighted_interactions(weights=False)).train
    np.testing.assert_array_equal(train.labels, plain.labels)
    assert plain.weights is None


def test_a_batch_has_them_as_sample_weights_and_nothing_else_changes():
    train = split_by_time(weighted_interactions(), max_history=4).train
    plain = split_by_time(weighted_interactions(weights=False), max_history=4).train
    for seed in (None, 5):
        batches = zip(train.batches(2, seed=seed), plain.batches(2, seed=seed), strict=True)
        for weighted, unweighted in batches:
            assert set(weighted) - set(unweighted) == {"sample_weight"}
            np.testing.assert_array_equal(weighted["sample_weight"], weighted["labels"] / 2)
            for name, column in unweighted.items():
                np.testing.assert_array_equal(weighted[name], column)
    assert train.subset([2, 0]).weights.tolist() == train.weights[[2, 0]].tolist()


def test_weights_change_the_windows_fingerprint_but_not_the_examples():
    train = split_by_time(weighted_interactions(), max_history=4).train
    plain = split_by_time(weighted_interactions(weights=False), max_history=4).train
    assert train.fingerprint() != plain.fingerprint()
    assert train.example_keys().tolist() == plain.example_keys().tolist()
    digest = hashlib.sha256(FILMS.fingerprint().encode())  # unchanged without weights
    for array in (plain.users, plain.history, plain.labels, np.arange(1, 13, dtype=np.int32)):
        digest.update(str((array.dtype.str, array.shape)).encode() + array.tobytes())
    assert plain.fingerprint() == digest.hexdigest()


@pytest.mark.parametrize(
    "weights, words",
    [
        ([1.0, 0.0], r"`weights` must be numbers other than 0; below.*\. Received: 0\.0 in row 1"),
        ([1.0, float("nan")], r"must be numbers other than 0; .*Received: nan in row 1"),
        ([1.0], r"one entry per interaction, 2 in all.*Received: \[1\]"),
        ([1.0, float("inf")], "`weights`"),
        (["a", "b"], "`weights`"),
    ],
)
def test_interactions_refuse_invalid_weights(weights, words):
    with pytest.raises(InputError, match=words):
        Interactions("t", FILMS, ("x",), [0, 0], [1, 2], [1, 1], [1, 2], weights=weights)


def test_windows_refuse_invalid_weights():
    history, labels = [[0, 1]], [[0, 2]]
    assert Windows(FILMS, [0], history, labels, weights=[[0, 3]]).weights.tolist() == [[0.0, 3.0]]
    for weights, words in (
        ([[1, 0]], r"other than 0 where there is a label, below .*\. Received: 0\.0"),
        ([[0, float("nan")]], "other than 0 where there is a label"),
        ([0, 1], r"`weights` must be \[1, 2\] as `labels`, or None\. Received: \[2\]"),
    ):
        with pytest.raises(InputError, match=words):
            Windows(FILMS, [0], history, labels, weights=weights)


def with_dislikes():
    """Every third item is disliked, by all users."""
    data = weighted_interactions(weights=False)
    return data.with_dislikes(data.items % 3 == 0)


@pytest.mark.parametrize(
    "split",
    [
        lambda data: split_by_time(data, max_history=4),
        lambda data: split_leave_one_out(data, max_history=4),
        lambda data: split_by_global_time(data, max_history=4),
        lambda data: split_cold_items(data, COLD, COLD.all, max_history=4),
    ],
)
def test_a_dislike_is_a_label_and_in_histories_but_not_relevant(split):
    signed, plain = split(with_dislikes()), split(weighted_interactions(weights=False))
    train = signed.train
    expected = np.where(train.labels % 3 == 0, -1.0, 1.0) * (train.labels > 0)
    np.testing.assert_array_equal(train.weights, expected)
    np.testing.assert_array_equal(train.labels, plain.train.labels)
    np.testing.assert_array_equal(train.history, plain.train.history)
    assert (train.history[train.history > 0] % 3 == 0).any()
    np.testing.assert_array_equal(train.liked_labels, train.labels * (train.labels % 3 > 0))
    assert plain.train.liked_labels is plain.train.labels
    for part in ("validation", "test"):
        queries, whole = getattr(signed, part), getattr(plain, part)
        found = dict(zip(queries.users.tolist(), zip(queries.histories, queries.positives)))
        wanted = {
            user: (history.tolist(), [item for item in positives.tolist() if item % 3])
            for user, history, positives in zip(
                whole.users.tolist(), whole.histories, whole.positives
            )
        }
        assert {user: (h.tolist(), p.tolist()) for user, (h, p) in found.items()} == {
            user: both for user, both in wanted.items() if both[1]
        }


def test_queries_whose_positives_are_all_disliked_are_dropped():
    data = weighted_interactions(weights=False)
    last = np.zeros(36, bool)
    last[[data.rows_by_time()[12 * user + place] for user in range(3) for place in (10, 11)]] = True
    with pytest.raises(
        InputError, match="no user is left in the test .* not a dislike and one bef"
    ):
        split_by_time(data.with_dislikes(last), max_history=4)


def test_dislikes_keep_the_weights_of_the_others_and_are_checked():
    data = weighted_interactions()
    signed = data.with_dislikes(data.items > 6)
    np.testing.assert_array_equal(
        signed.weights, np.where(data.items > 6, -1.0, data.items / 2).astype(np.float32)
    )
    assert data.subset(data.items < 3).with_dislikes(np.zeros(6, bool)).weights.min() > 0
    for wrong, words in (
        (data.items, r"must be bool \[36\].*Received: int32 \[36\]"),
        (np.ones(3, bool), r"bool \[36\].*Received: bool \[3\]"),
        (np.ones(36, bool), "All 36 interactions of 'tiny' are disliked.* from 1 to 1: count few"),
    ):
        with pytest.raises(InputError, match=words):
            data.with_dislikes(wrong)
    assert Windows(FILMS, [0], [[0, 1]], [[0, 2]], weights=[[0, -3]]).weights.tolist() == [[0, -3]]
