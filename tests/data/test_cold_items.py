"""The split by time without cold items, and its batches and lists."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tiny_data import tiny_catalogue

from tfrs_distill import columns
from tfrs_distill.data.cold_items import ColdItems, choose_cold_items, split_cold_items
from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.rated_rows import split_ratings
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import evaluate
from tfrs_distill.evaluation.top_k import top_k_unseen
from tfrs_distill.models import Candidates, RetrievalStudent

ANN = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]  # 8 train, 1 validates, 1 tests
BOB = [10, 9, 8, 7, 6, 5, 4, 3, 9, 2]
COLD = ColdItems(np.array([9], np.int32), np.array([2, 10], np.int32))


def interactions():
    users = np.repeat(np.arange(2, dtype=np.int32), 10)
    items = np.array(ANN + BOB, np.int32)
    ones = np.ones(20, np.float32)
    return Interactions(
        "two", tiny_catalogue(10), ("ann", "bob"), users, items, ones, np.arange(20)
    )


def split_with_targets(items, max_history=4):
    return split_cold_items(interactions(), COLD, np.array(items), max_history=max_history)


def lists(arrays):
    return [array.tolist() for array in arrays]


def test_cold_items_are_in_no_training_or_history_and_are_the_only_positives():
    splits = split_with_targets([2, 9, 10])
    assert not np.isin([splits.train.history, splits.train.labels], COLD.all).any()
    # Every next item of 1 3 4 5 6 7 8 (ann) and 8 7 6 5 4 3 (bob), once.
    labels = splits.train.labels
    assert sorted(labels[splits.train.users == 0][labels[splits.train.users == 0] > 0]) == [
        3, 4, 5, 6, 7, 8,
    ]  # fmt: skip
    assert splits.train.num_labels == 6 + 5
    assert lists(splits.validation.histories) == [[1, 3, 4, 5, 6, 7, 8], [8, 7, 6, 5, 4, 3]]
    assert lists(splits.validation.positives) == [[9], [9]]
    assert lists(splits.test.histories) == [[1, 3, 4, 5, 6, 7, 8], [8, 7, 6, 5, 4, 3]]
    assert lists(splits.test.positives) == [[10], [2]]
    np.testing.assert_array_equal(splits.test.candidates, [2, 9, 10])


def test_a_user_without_a_target_item_has_no_query():
    splits = split_with_targets([9, 10])
    assert splits.test.users.tolist() == [0]
    assert lists(splits.test.positives) == [[10]]


def test_no_loss_has_a_cold_item_as_a_negative():
    splits = split_with_targets([2, 9, 10])
    student = RetrievalStudent.from_history(
        num_items=10, max_history=4, embedding_dim=4, dropout=0.0, seed=0
    )
    batch = next(iter(splits.train.batches(8)))
    outputs = student(batch)
    probabilities = tf.nn.softmax(outputs.logits).numpy()
    assert (probabilities[:, [1, 8, 9]] == 0).all()
    assert (probabilities[:, [0, 2, 3, 4, 5, 6, 7]] > 0).all()


def test_sampled_negatives_are_drawn_uniformly_from_the_existing_items():
    train = split_with_targets([2, 9, 10]).train
    batches = train.batches(len(train), seed=0, num_negatives=500).repeat(4)
    drawn = np.concatenate([batch[columns.NEGATIVES].numpy().ravel() for batch in batches])
    counts = np.bincount(drawn, minlength=11)
    assert counts[[0, 2, 9, 10]].tolist() == [0, 0, 0, 0]
    share = counts[[1, 3, 4, 5, 6, 7, 8]] / len(drawn)
    # A share of 1/7 in n draws has the standard deviation sqrt(6 / 49 / n); five of them.
    assert np.abs(share - 1 / 7).max() < 5 * np.sqrt(6 / 49 / len(drawn))


def test_the_sampling_probability_counts_labels_and_uniform_draws_of_existing_items():
    train = split_with_targets([2, 9, 10]).train
    batch = next(iter(train.batches(len(train), num_negatives=3)))
    labels = train.labels[train.labels > 0]
    expected = np.bincount(labels, minlength=11) + 3 * len(train) / 7
    expected[[0, 2, 9, 10]] = 0
    expected /= expected.sum()
    got = batch[columns.NEGATIVES_SAMPLING_PROBABILITY].numpy()
    np.testing.assert_allclose(got, expected[batch[columns.NEGATIVES].numpy()], rtol=1e-6)
    assert columns.SCORE_MASK not in batch
    student = RetrievalStudent.from_history(
        num_items=10, max_history=4, candidates=Candidates("sampled"), seed=0
    )
    assert np.isfinite(student(batch).logits.numpy()).all()


def test_subsets_keep_the_existing_items_which_change_the_fingerprint():
    train = split_with_targets([2, 9, 10]).train
    part = train.subset(np.array([0]))
    np.testing.assert_array_equal(part.existing_items(), [1, 3, 4, 5, 6, 7, 8])
    assert replace(train, candidates=None).fingerprint() != train.fingerprint()


def test_only_candidates_are_ranked():
    splits = split_with_targets([2, 9, 10])

    def scorer(histories, k):  # 1 before 2 before 3 ...
        scores = np.tile(-np.arange(11.0), (len(histories), 1))
        return top_k_unseen(scores, histories, k)

    found = evaluate(scorer, splits.test, k=2)
    assert found.item_ids.tolist() == [[2, 9], [2, 9]]
    assert found.values["hit_rate"].tolist() == [0.0, 1.0]  # ann's next is 10, bob's 2
    assert found.num_items == 3
    assert evaluate(scorer, splits.test, k=5).item_ids.tolist() == [[2, 9, 10, 0, 0]] * 2


def test_the_draw_has_the_shares_and_follows_the_seed():
    cold = choose_cold_items(1682, seed=3)
    assert (len(cold.all), len(cold.undescribed)) == (420, 210)  # 420.5 rounds to even
    assert not np.isin(cold.described, cold.undescribed).any()
    assert cold.all.min() >= 1 and cold.all.max() <= 1682
    np.testing.assert_array_equal(cold.all, choose_cold_items(1682, seed=3).all)
    assert cold.all.tolist() != choose_cold_items(1682, seed=4).all.tolist()


@pytest.mark.parametrize("shares", [{"share": 0.0}, {"share": 1.0}, {"undescribed_share": -0.1}])
def test_a_share_out_of_range_is_refused(shares):
    with pytest.raises(InputError, match="above 0 and below 1"):
        choose_cold_items(100, **shares)


def test_too_few_items_are_refused():
    with pytest.raises(InputError, match="4 items are too few: 1 would be cold"):
        choose_cold_items(4)


@pytest.mark.parametrize("requested", [[9, 3], []])
def test_targets_must_be_cold_items(requested):
    with pytest.raises(InputError, match="`targets` must be cold items. Received: "):
        split_with_targets(requested)


def test_validation_may_have_separate_targets():
    splits = split_cold_items(
        interactions(), COLD, COLD.all, validation_targets=COLD.described, max_history=4
    )
    np.testing.assert_array_equal(splits.validation.candidates, [9])
    assert lists(splits.validation.positives) == [[9], [9]]
    np.testing.assert_array_equal(splits.test.candidates, [2, 9, 10])
    assert lists(splits.test.positives) == [[10], [2]]
    assert splits.train.fingerprint() == split_with_targets([2, 9, 10]).train.fingerprint()
    with pytest.raises(InputError, match="`validation_targets` must be cold items. Received: "):
        split_cold_items(interactions(), COLD, COLD.all, validation_targets=np.array([3]))


def test_no_query_for_the_targets_is_an_error():
    with pytest.raises(InputError, match="No validation query has one of the 1 targets"):
        split_with_targets([10])


def test_no_training_data_is_an_error():
    everything = ColdItems(np.arange(2, 11, dtype=np.int32), np.array([1], np.int32))
    with pytest.raises(InputError, match="no user has 2 training interactions"):
        split_cold_items(interactions(), everything, everything.all, max_history=4)


def test_data_without_timestamps_are_refused():
    untimed = replace(interactions(), timestamps=np.zeros(20, np.int64))
    with pytest.raises(InputError, match="no timestamps.*last interactions are the test data"):
        split_cold_items(untimed, COLD, COLD.all, max_history=4)
    with pytest.raises(InputError, match="no timestamps.*last ratings are the test data"):
        split_ratings(untimed)
