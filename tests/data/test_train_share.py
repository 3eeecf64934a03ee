"""Scarce data: a share of each user's training interactions, by hand and in a run's data."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_data import tiny_catalogue

from tfrs_distill.data.cuts import user_time_cuts
from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.splits import split_at
from tfrs_distill.data.synthetic import synthetic
from tfrs_distill.data.train_share import keep_train_share
from tfrs_distill.errors import InputError
from tfrs_distill.pipeline.data import RetrievalData
from tfrs_distill.pipeline.recipe import Recipe, RetrievalRecipe
from tfrs_distill.pipeline.recipe.sections import (
    COLD_ITEMS,
    GLOBAL_TIME,
    LEAVE_ONE_OUT,
    PLANTED,
    USER_TIME,
    DataSettings,
)


def data_of(users, items, times, **kwargs):
    """Interactions in file order."""
    names = tuple(f"u{user}" for user in range(max(users) + 1))
    catalogue = tiny_catalogue(max(items))
    return Interactions(
        "tiny", catalogue, names, users, items, np.ones(len(users)), times, **kwargs
    )


def test_the_share_is_rounded_up_and_all_else_keeps_its_order():
    """One user of 20 items, in reversed file order; another of 5; one with only a test item."""
    users = [0] * 20 + [1] * 5 + [2]
    items = [*range(20, 0, -1), *range(1, 6), 9]
    times = [*range(20, 0, -1), *range(5), 0]
    data = data_of(users, items, times, weights=np.arange(1, 27) / 2)
    cuts = user_time_cuts(data)
    assert cuts.tolist() == [[16, 18], [4, 4], [0, 0]]
    subsampled = keep_train_share(data, cuts, 0.3, seed=0)
    assert subsampled.cuts.tolist() == [[5, 7], [2, 2], [0, 0]]  # ceil(4.8) and ceil(1.2)
    assert subsampled.num_left_out == 11 + 2
    first, second, third = subsampled.interactions.sequences()
    assert sorted(first.tolist()) == first.tolist() and len(set(first[:5])) == 5
    assert set(first[:5]) < set(range(1, 17)) and first[5:].tolist() == [17, 18, 19, 20]
    assert set(second[:2]) < set(range(1, 5)) and second[2:].tolist() == [5]
    assert third.tolist() == [9]
    left, weight_of = subsampled.interactions, dict(zip(zip(users, items), data.weights))
    of_left = [weight_of[pair] for pair in zip(left.users.tolist(), left.items.tolist())]
    np.testing.assert_array_equal(left.weights, of_left)


def test_at_least_one_per_user_is_kept_and_a_share_of_1_keeps_all():
    data = data_of([0] * 10, range(1, 11), range(10))
    cuts = user_time_cuts(data)
    assert keep_train_share(data, cuts, 0.001, seed=0).cuts.tolist() == [[1, 2]]
    whole = keep_train_share(data, cuts, 1.0, seed=0)
    assert whole.num_left_out == 0 and whole.cuts.tolist() == cuts.tolist()
    assert whole.interactions.sequences()[0].tolist() == list(range(1, 11))


def test_an_exact_share_is_not_rounded_up():
    """In binary 100 * 0.07 is more than 7."""
    data = data_of([0] * 120, [*range(1, 121)], range(120))
    assert keep_train_share(data, np.array([[100, 110]]), 0.07, seed=0).cuts.tolist() == [[7, 17]]


def test_every_training_interaction_has_equal_probability():
    data = data_of([0] * 10, range(1, 11), range(10))
    cuts, counts = user_time_cuts(data), np.zeros(11)
    for seed in range(400):
        counts[keep_train_share(data, cuts, 0.25, seed).interactions.items] += 1
    assert counts[9:].tolist() == [400, 400]
    assert counts[1:9].min() > 70 and counts[1:9].max() < 130  # 100 each, 4 sigma: 35


def test_later_interactions_of_others_do_not_change_a_users_draw():
    data = data_of([0] * 20 + [1] * 20, [*range(1, 21)] * 2, [*range(20)] * 2)
    more = data_of([1] * 9, range(1, 10), range(30, 39))
    both = data.joined(replace(more, user_ids=("u0", "u1")))
    subsampled = [keep_train_share(d, user_time_cuts(d), 0.2, seed=3) for d in (data, both)]
    first, again = (found.interactions.sequences()[0].tolist() for found in subsampled)
    assert first == again


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_a_share_is_above_0_and_at_most_1(share):
    data = data_of([0] * 10, range(1, 11), range(10))
    with pytest.raises(InputError, match=r"`share` must be above 0 and at most 1\. Received: "):
        keep_train_share(data, user_time_cuts(data), share, seed=0)


def recipe_of(share, split=USER_TIME, seed=0):
    planted = Recipe.named("synthetic")
    data = replace(planted.data, source=PLANTED, train_share=share, split=split, max_history=8)
    return replace(planted, seed=seed, data=data)


@pytest.mark.parametrize("split", [USER_TIME, LEAVE_ONE_OUT, GLOBAL_TIME])
def test_dropped_interactions_are_in_no_training_row_and_no_history(tmp_path, split):
    """And the relevant items stay the same."""
    # the split needs interleaved users, not one user after the other in time
    planted = synthetic(num_users=40)
    times = np.random.default_rng(0).permutation(len(planted))
    planted = replace(planted, timestamps=times)
    whole = RetrievalData.of(planted, recipe_of(1.0, split))
    data = RetrievalData.of(planted, recipe_of(0.4, split))
    left = data.subsampled.interactions
    kept = {(user, item) for user, item in zip(left.users.tolist(), left.items.tolist())}
    assert 0 < data.splits.train.num_labels < whole.splits.train.num_labels
    for user, history, labels in zip(
        data.splits.train.users.tolist(), data.splits.train.history, data.splits.train.labels
    ):
        assert {(user, item) for item in (*history, *labels) if item} <= kept
    for part, of_whole in (
        (data.splits.validation, whole.splits.validation),
        (data.splits.test, whole.splits.test),
    ):
        np.testing.assert_array_equal(part.users, of_whole.users)
        for row, user in enumerate(part.users.tolist()):
            np.testing.assert_array_equal(part.positives[row], of_whole.positives[row])
            assert {(user, item) for item in part.histories[row].tolist()} <= kept
            order = {item: place for place, item in enumerate(of_whole.histories[row])}
            places = [order[item] for item in part.histories[row]]
            assert places == sorted(places)
    shorter = [len(h) for h in data.splits.test.histories]
    assert sum(shorter) < sum(len(h) for h in whole.splits.test.histories)
    data.save(tmp_path)
    again = RetrievalData.load(tmp_path, recipe_of(0.4, split))
    assert again.splits.train.fingerprint() == data.splits.train.fingerprint()
    other = RetrievalData.of(planted, recipe_of(0.4, split, seed=1))
    assert other.splits.train.fingerprint() != data.splits.train.fingerprint()


def test_facts_and_protocol_mention_it():
    planted = synthetic(num_users=40)
    facts, line = RetrievalData.of(planted, recipe_of(0.25)).facts()
    assert facts["train_share"] == 0.25
    assert facts["train_interactions_left_out"] == 40 * 6  # of 9 per user 3 are kept
    assert "25 % of each user's training interactions are kept, 240 are excluded" in line
    protocol = RetrievalData.of(planted, recipe_of(0.25)).protocol
    assert "Of each user's training interactions, 25 % (at least one) were drawn at ran" in protocol
    assert "the other 240 are in no training row and in no history." in protocol
    facts, line = RetrievalData.of(planted, recipe_of(1.0)).facts()
    assert "train_share" not in facts and "kept" not in line
    assert "drawn" not in RetrievalData.of(planted, recipe_of(1.0)).protocol


def test_the_facts_of_the_split_are_those_of_the_kept_data():
    """Two users: training rows of one are later than the other's test; the first has more rows."""
    users = [0] * 100 + [1] * 10
    data = data_of(users, [*range(1, 101), *range(1, 11)], [*range(1000, 1100), *range(10)])
    recipe = replace(recipe_of(0.1), data=replace(recipe_of(0.1).data, source=PLANTED))
    facts, _ = RetrievalData.of(data, recipe).facts()
    # 8 of the first user's 80 and 1 of the second's 8 train; all 8 come after the second's test.
    assert facts["split"]["train_after_test"] == pytest.approx((8 / 9 + 0) / 2)


def test_subsampled_data_can_be_split():
    data = synthetic(num_users=20)
    subsampled = keep_train_share(data, user_time_cuts(data), 0.5, seed=0)
    splits = split_at(subsampled.interactions, subsampled.cuts, max_history=8)
    assert splits.train.num_labels == 20 * 4  # 5 of 9 are kept, the first is not a label


def test_cold_items_hold_out_items_and_not_interactions():
    with pytest.raises(
        InputError, match=r'`data\.train_share` does not apply to `data\.split` "cold-it'
    ):
        DataSettings(split=COLD_ITEMS, train_share=0.5)
    with pytest.raises(InputError, match=r"`data\.train_share` must be a number above 0 and at"):
        DataSettings(train_share=0.0)
    assert RetrievalRecipe().data.train_share == 1.0
