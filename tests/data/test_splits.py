import dataclasses
import itertools

import numpy as np
import pytest

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.cuts import user_time_cuts
from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.splits import (
    pad_histories,
    split_at_random,
    split_by_global_time,
    split_by_time,
    split_leave_one_out,
    windows_of,
)
from tfrs_distill.data.synthetic import synthetic
from tfrs_distill.errors import InputError


def catalogue(num_items):
    names = tuple(str(n) for n in range(1, num_items + 1))
    return Catalogue(names, names, names)


def interactions(*sequences, num_items=20):
    """One user per sequence; times are in order of the sequence."""
    users = np.concatenate([np.full(len(s), u) for u, s in enumerate(sequences)]).astype(np.int32)
    items = np.concatenate([np.asarray(s, np.int32) for s in sequences])
    return Interactions(
        "tiny",
        catalogue(num_items),
        tuple(str(u) for u in range(len(sequences))),
        users,
        items.astype(np.int32),
        np.ones(len(items), np.float32),
        np.arange(len(items), dtype=np.int64),
    )


def windows(*sequences, max_history):
    users = np.arange(10, 10 + len(sequences))
    arrays = [np.array(s, np.int32) for s in sequences]
    return windows_of(arrays, users, catalogue(20), max_history=max_history)


def test_ten_interactions_split_eight_one_one():
    splits = split_by_time(interactions(range(1, 11)), max_history=16)
    assert splits.train.history[0].tolist() == [0] * 9 + [1, 2, 3, 4, 5, 6, 7]
    assert splits.train.labels[0].tolist() == [0] * 9 + [2, 3, 4, 5, 6, 7, 8]
    assert splits.validation.histories[0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert splits.validation.positives[0].tolist() == [9]
    assert splits.test.histories[0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert splits.test.positives[0].tolist() == [10]


def test_parts_are_rounded_down_and_empty_ones_have_no_query():
    # 4 interactions: 3 train (3.2), cut at 3 (3.6): no validation, test has the last.
    # 1 interaction: no training label, and no history for the test.
    # 13: 10 train (10.4), cut at 11 (11.7): 1 validates, 2 test.
    splits = split_by_time(interactions(range(1, 5), [7], range(1, 14)), max_history=16)
    assert splits.train.users.tolist() == [0, 2]
    assert splits.train.num_labels == 2 + 9
    assert splits.validation.users.tolist() == [2]
    assert splits.validation.positives[0].tolist() == [11]
    assert splits.test.users.tolist() == [0, 2]
    assert [p.tolist() for p in splits.test.positives] == [[4], [12, 13]]
    assert [len(h) for h in splits.test.histories] == [3, 11]


def test_other_fractions():
    splits = split_by_time(
        interactions(range(1, 11)), max_history=16, train_fraction=0.5, validation_fraction=0.3
    )
    assert splits.validation.positives[0].tolist() == [6, 7, 8]
    assert splits.test.positives[0].tolist() == [9, 10]


def test_floating_point_fractions_do_not_move_the_cut():
    # In floating point 30 * (0.7 + 0.2) is 26.999999999999996; it means 27. 90 * 0.7 means 63.
    data = interactions(range(1, 31), range(1, 91), num_items=90)
    splits = split_by_time(data, max_history=16, train_fraction=0.7, validation_fraction=0.2)
    assert splits.validation.positives[0].tolist() == [22, 23, 24, 25, 26, 27]
    assert splits.test.positives[0].tolist() == [28, 29, 30]
    assert splits.validation.positives[1][0] == 64


@pytest.mark.parametrize(
    "fractions", [(0.0, 0.1), (0.9, 0.1), (0.8, 0.0), (float("nan"), 0.1), (0.8, -0.1)]
)
def test_fractions_that_leave_a_part_empty_are_refused(fractions):
    with pytest.raises(InputError, match=r"above 0 and sum to less than 1\. Received: "):
        split_by_time(
            interactions(range(1, 11)),
            train_fraction=fractions[0],
            validation_fraction=fractions[1],
        )


def test_no_user_with_two_training_interactions_is_refused():
    # 2 interactions: 1 trains (1.6).
    with pytest.raises(InputError, match=r"no user has 2 training interactions.* has 2 inter"):
        split_by_time(interactions([1, 2], [3]))


def test_no_validation_query_is_refused():
    # 3 interactions: 2 train (2.4), cut at 2 (2.7): none validates.
    with pytest.raises(InputError, match=r"no user is left in the validation split"):
        split_by_time(interactions([1, 2, 3]))


def at_times(*users, num_items=20):
    """Each user's (time, item) pairs, in file order."""
    rows = [(user, time, item) for user, pairs in enumerate(users) for time, item in pairs]
    indices, times, items = zip(*rows)
    return Interactions(
        "tiny",
        catalogue(num_items),
        tuple(str(u) for u in range(len(users))),
        np.array(indices, np.int32),
        np.array(items, np.int32),
        np.ones(len(rows), np.float32),
        np.array(times),
    )


def plain(queries):
    """Users, histories and positives as lists."""
    histories, positives = (
        [a.tolist() for a in arrays] for arrays in (queries.histories, queries.positives)
    )
    return queries.users.tolist(), histories, positives


def test_leave_one_out_tests_the_last_item_and_validates_by_the_one_before():
    splits = split_leave_one_out(
        interactions([1, 2, 3, 4, 5], [6, 7], [8], [9, 10, 11]), max_history=4
    )
    # 2 and 1 interactions only train, the 1 without a label; of 3 one trains, without a label.
    assert splits.train.users.tolist() == [0, 1]
    assert splits.train.history.tolist() == [[0, 0, 1, 2], [0, 0, 0, 6]]
    assert splits.train.labels.tolist() == [[0, 0, 2, 3], [0, 0, 0, 7]]
    assert plain(splits.validation) == ([0, 3], [[1, 2, 3], [9]], [[4], [10]])
    assert plain(splits.test) == ([0, 3], [[1, 2, 3, 4], [9, 10]], [[5], [11]])
    assert splits.test.candidates is None  # the whole catalogue is ranked


def test_leave_one_out_needs_a_user_with_four_interactions():
    with pytest.raises(InputError, match=r"no user has 2 training interactions.* has 3 inter"):
        split_leave_one_out(interactions([1, 2, 3], [4]))
    with pytest.raises(InputError, match=r"no user is left in the validation split.* 4 for leave"):
        split_leave_one_out(interactions([1, 2], [3, 4]))
    assert len(split_leave_one_out(interactions([1, 2, 3, 4])).test) == 1


def test_one_time_splits_all_users():
    """Of 20 the 17th in time, at 80, begins validation, the 19th, at 90, begins the test."""
    early = [(time, item) for item, time in enumerate(range(0, 10), start=1)]
    across = [(10, 11), (11, 12), (12, 13), (80, 14), (90, 15), (13, 16), (14, 17)]
    late = [(80, 18), (91, 19)]
    later = [(15, 20)]
    data = at_times(early, across, late, later)
    splits = split_by_global_time(data, max_history=16)
    assert splits.train.users.tolist() == [0, 1]
    assert splits.train.labels[1][-4:].tolist() == [12, 13, 16, 17]
    # The third has nothing before 80, so no validation query, but a test query with 18.
    assert plain(splits.validation) == ([1], [[11, 12, 13, 16, 17]], [[14]])
    assert plain(splits.test) == ([1, 2], [[11, 12, 13, 16, 17, 14], [18]], [[15], [19]])


def test_dates_split_users_like_numbers():
    times = [[0, 1, 2, 3, 8, 9], [1, 2, 4, 8], [5, 8, 9], [3, 9]]
    numbers = at_times(*([(t, i) for i, t in enumerate(of, start=1)] for of in times))
    dates = dataclasses.replace(
        numbers, timestamps=np.datetime64("1998-01-01") + numbers.timestamps.astype("m8[D]")
    )
    for part in ("validation", "test"):
        one, other = (
            getattr(split_by_global_time(data, train_fraction=0.6, validation_fraction=0.2), part)
            for data in (numbers, dates)
        )
        assert plain(one) == plain(other) and len(one)


def test_a_random_split_has_the_sizes_of_a_split_by_time():
    """Written out: NumPy's permutation of all rows by the seed, then 80, 10, 10 % per user."""
    data = interactions(range(1, 11), range(11, 21), [3, 5, 8])
    splits = split_at_random(data, seed=4, max_history=16)
    rows = np.random.default_rng(4).permutation(23)
    dealt = [[int(data.items[row]) for row in rows if data.users[row] == user] for user in range(3)]
    assert dealt[0] != sorted(dealt[0])
    assert [splits.train.users.tolist(), splits.validation.users.tolist()] == [[0, 1, 2], [0, 1]]
    assert splits.train.history[1].tolist() == [0] * 9 + dealt[1][:7]
    assert splits.train.labels[1].tolist() == [0] * 9 + dealt[1][1:8]
    for user in (0, 1):
        assert splits.validation.histories[user].tolist() == dealt[user][:8]
        assert splits.validation.positives[user].tolist() == [dealt[user][8]]
        assert splits.test.histories[user].tolist() == dealt[user][:9]
        assert splits.test.positives[user].tolist() == [dealt[user][9]]
    assert splits.test.positives[2].tolist() == [dealt[2][2]]  # 3 interactions: 2 train, 1 tests
    again = split_at_random(data, seed=4, max_history=16)
    assert again.train.fingerprint() == splits.train.fingerprint()
    other = split_at_random(data, seed=5, max_history=16)
    assert other.train.fingerprint() != splits.train.fingerprint()


@pytest.mark.parametrize("split", [split_by_time, split_leave_one_out, split_by_global_time])
def test_without_times_only_a_random_split_works(split):
    data = interactions(range(1, 11), range(11, 21))
    data = dataclasses.replace(data, timestamps=np.zeros(20, np.int64))
    with pytest.raises(
        InputError, match=r"'tiny' has no timestamps, .* random split: `split_at_random`\."
    ):
        split(data)
    assert len(split_at_random(data, seed=0).test) == 2


def test_no_user_on_both_sides_of_the_time_is_refused():
    early, late = [(n, n + 1) for n in range(8)], [(100, 9), (101, 10)]
    with pytest.raises(
        InputError, match=r"left in the validation split.*users on both sides of it"
    ):
        split_by_global_time(at_times(early, late))
    with pytest.raises(InputError, match=r"no user has 2 training interactions"):
        split_by_global_time(at_times([(5, n) for n in range(1, 11)]))  # nothing is before 5


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_every_split_keeps_the_given_catalogue_settings(exclude_seen):
    data = at_times([(n, n + 1) for n in range(10)], [(n, n + 2) for n in range(10)])
    for split in (split_by_time, split_leave_one_out, split_by_global_time):
        splits = split(data, exclude_seen=exclude_seen)
        for part in (splits, splits.train, splits.validation, splits.test):
            assert part.catalogue.exclude_seen is exclude_seen
        assert split(data).catalogue == data.catalogue


def test_ties_are_ordered_by_the_seed_and_nothing_else_moves():
    # Times 1, 2, 2, 2, 3 of one user and 2, 2 of another, mixed in the file.
    pairs = [(3, 5), (2, 2), (2, 3), (1, 1), (2, 4)], [(2, 7), (2, 6)]
    data = at_times(*pairs)
    assert [s.tolist() for s in data.sequences()] == [[1, 2, 3, 4, 5], [7, 6]]  # as in the file
    drawn = [data.shuffle_ties(seed) for seed in range(40)]
    first = [tuple(d.sequences()[0].tolist()) for d in drawn]
    assert {(s[0], s[-1]) for s in first} == {(1, 5)}
    assert {s[1:4] for s in first} == set(itertools.permutations([2, 3, 4]))
    assert {tuple(d.sequences()[1].tolist()) for d in drawn} == {(6, 7), (7, 6)}
    again = data.shuffle_ties(7)
    assert [s.tolist() for s in again.sequences()] == [s.tolist() for s in drawn[7].sequences()]
    rows = lambda d: sorted(zip(d.users, d.items, d.ratings, d.timestamps))  # noqa: E731
    assert rows(again) == rows(data) and again.user_ids == data.user_ids


def test_a_cut_inside_a_tie_moves_to_its_start():
    # Of 10, 8 train and the test begins at the 10th. Two users are at the same time throughout.
    times = (
        [0, 1, 2, 3, 4, 5, 6, 7, 7, 7],
        [0, 1, 2, 3, 4, 5, 6, 6, 6, 9],
        [3] * 10,
        [3] * 10,
        range(10),
    )
    data = at_times(*([(t, i) for i, t in enumerate(of, start=1)] for of in times))
    cuts = user_time_cuts(data, whole_ties=True)
    assert cuts.tolist() == [[7, 7], [6, 9], [0, 0], [0, 0], [8, 9]]
    assert user_time_cuts(data).tolist() == [[8, 9]] * 5
    splits = split_by_time(data, max_history=16, whole_ties=True)
    assert splits.train.users.tolist() == [0, 1, 4]
    assert splits.validation.users.tolist() == [1, 4]
    assert plain(splits.test)[2] == [[8, 9, 10], [10], [10]]


def test_window_longer_than_the_sequence_is_padded_in_front():
    result = windows([5, 6, 7], max_history=4)
    assert result.users.tolist() == [10]
    assert result.history.tolist() == [[0, 0, 5, 6]]
    assert result.labels.tolist() == [[0, 0, 6, 7]]


def test_windows_overlap_by_half_and_have_each_label_once():
    result = windows(range(1, 9), [15], [11, 12], max_history=4)
    assert result.users.tolist() == [10, 10, 10, 12]
    assert result.history.tolist() == [[1, 2, 3, 4], [3, 4, 5, 6], [0, 5, 6, 7], [0, 0, 0, 11]]
    assert result.labels.tolist() == [[2, 3, 4, 5], [0, 0, 6, 7], [0, 0, 0, 8], [0, 0, 0, 12]]
    assert (len(result), result.max_history, result.num_labels) == (4, 4, 8)


@pytest.mark.parametrize("max_history", [2, 3, 5, 8])
def test_every_label_follows_its_history(max_history):
    lengths = range(2, 30)
    sequences = [np.random.default_rng(n).integers(1, 21, n).astype(np.int32) for n in lengths]
    result = windows(*sequences, max_history=max_history)
    pairs_by_user = {10 + u: [] for u in range(len(sequences))}
    for user, history, labels in zip(result.users, result.history, result.labels):
        pairs = [(h, x) for h, x in zip(history, labels) if x]
        pairs_by_user[user] += pairs
        np.testing.assert_array_equal(labels[:-1][labels[:-1] > 0], history[1:][labels[:-1] > 0])
    for user, sequence in enumerate(sequences):
        assert pairs_by_user[10 + user] == list(zip(sequence[:-1], sequence[1:]))


def test_window_of_one_position_is_refused():
    with pytest.raises(InputError, match=r"`max_history` must be at least 2\. Received: 1\."):
        windows([1, 2], max_history=1)


def test_batches_have_all_columns_and_keep_the_last_smaller_batch():
    train = windows(range(1, 9), max_history=4)
    train = dataclasses.replace(train, knowledge={"teacher_fold": np.array([4, 5, 6], np.int32)})
    batches = list(train.batches(2))
    assert [len(b["history"]) for b in batches] == [2, 1]
    assert sorted(batches[0]) == ["example_id", "history", "labels", "teacher_fold", "user_id"]
    assert batches[0]["example_id"].numpy().tolist() == [0, 1]
    assert batches[1]["history"].numpy().tolist() == [[0, 5, 6, 7]]
    assert batches[1]["labels"].numpy().tolist() == [[0, 0, 0, 8]]
    assert batches[1]["user_id"].numpy().tolist() == [10]
    assert batches[1]["teacher_fold"].numpy().tolist() == [6]
    dtypes = {name: column.dtype.name for name, column in batches[0].items()}
    assert dtypes["example_id"] == "int64"
    assert dtypes["history"] == dtypes["labels"] == dtypes["user_id"] == "int32"


def test_seed_fixes_the_order_of_every_epoch_and_epochs_differ():
    train = split_by_time(synthetic(), max_history=8).train

    def epochs(seed):
        batches = train.batches(64, seed=seed)
        return [np.concatenate([b["example_id"] for b in batches]).tolist() for _ in range(2)]

    first, second = epochs(seed=3)
    assert sorted(first) == sorted(second) == list(range(len(train)))
    assert first != second
    assert epochs(seed=3) == [first, second]
    assert epochs(seed=4)[0] != first


def test_empty_batches_are_refused():
    with pytest.raises(InputError, match=r"`batch_size` must be at least 1\. Received: 0\."):
        windows([1, 2], max_history=2).batches(0)


def test_subset_of_windows_takes_indices_or_a_mask_and_drops_knowledge():
    train = windows(range(1, 9), max_history=4)
    train = dataclasses.replace(train, knowledge={"teacher_fold": np.array([4, 5, 6], np.int32)})
    for rows in (np.array([2, 0]), np.array([True, False, True])):
        part = train.subset(rows)
        np.testing.assert_array_equal(part.history, train.history[rows])
        np.testing.assert_array_equal(part.labels, train.labels[rows])
        np.testing.assert_array_equal(part.users, train.users[rows])
        assert part.knowledge == {}


def test_fingerprint_depends_on_every_array():
    train = windows(range(1, 9), max_history=4)
    others = [
        dataclasses.replace(train, **{name: getattr(train, name) + 1})
        for name in ("users", "history", "labels")
    ] + [dataclasses.replace(train, catalogue=catalogue(21))]
    assert windows(range(1, 9), max_history=4).fingerprint() == train.fingerprint()
    assert len({w.fingerprint() for w in [train, *others]}) == 5


def test_subset_and_padding_of_queries():
    queries = split_by_time(interactions(range(1, 11), range(4, 19)), max_history=16).test
    assert pad_histories(queries.histories).tolist() == [
        [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
    ]
    part = queries.subset(np.array([1]))
    assert part.users.tolist() == [1]
    assert part.positives[0].tolist() == [17, 18]
    assert part.histories[0].tolist() == list(range(4, 17))


def test_padding_of_nothing():
    assert pad_histories([np.array([], np.int32)]).tolist() == [[0]]
    assert pad_histories([]).shape == (0, 1)
