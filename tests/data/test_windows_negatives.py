"""Sampled negatives of the windows, and the candidates' sampling probabilities."""

import numpy as np
import pytest
from tiny_data import random_windows, windows_from

from tfrs_distill import columns
from tfrs_distill.errors import InputError

NUM_ITEMS = 9
DRAWN = {columns.NEGATIVES, columns.NEGATIVES_SAMPLING_PROBABILITY}
PLAIN = {columns.EXAMPLE_ID, columns.USER_ID, columns.HISTORY, columns.LABELS}


@pytest.fixture
def windows():
    return random_windows(num_items=NUM_ITEMS, max_history=4)


def epoch(batches):
    """The batches of one epoch, as NumPy."""
    return list(batches.as_numpy_iterator())


def negatives(batches):
    """The ids drawn in one epoch, in order of the examples."""
    return np.concatenate([batch[columns.NEGATIVES] for batch in epoch(batches)])


def test_no_columns_are_added_by_default(windows):
    assert set(epoch(windows.batches(3))[0]) == PLAIN


def test_columns_and_shapes(windows):
    sizes = []
    for batch in epoch(windows.batches(len(windows) - 1, num_negatives=5)):
        assert set(batch) == PLAIN | DRAWN | {columns.CANDIDATE_SAMPLING_PROBABILITY}
        sizes.append(len(batch[columns.LABELS]))
        for name in DRAWN:
            assert batch[name].shape == (sizes[-1], 5)
        assert batch[columns.NEGATIVES].dtype == np.int32
        assert batch[columns.NEGATIVES_SAMPLING_PROBABILITY].dtype == np.float32
        assert batch[columns.CANDIDATE_SAMPLING_PROBABILITY].shape == (sizes[-1], 4)
        assert batch[columns.CANDIDATE_SAMPLING_PROBABILITY].dtype == np.float32
    assert sum(sizes) == len(windows)
    assert sizes[-1] == 1  # the smaller last batch has negatives, too


def test_0_negatives_return_the_labels_probabilities_alone(windows):
    batches = epoch(windows.batches(3, num_negatives=0))
    assert set(batches[0]) == PLAIN | {columns.CANDIDATE_SAMPLING_PROBABILITY}
    # Each is the frequency of the label.
    counts = np.bincount(windows.labels.reshape(-1), minlength=NUM_ITEMS + 1)
    counts[0] = 0
    for batch in batches:
        np.testing.assert_allclose(
            batch[columns.CANDIDATE_SAMPLING_PROBABILITY],
            (counts / counts.sum())[batch[columns.LABELS]],
            rtol=1e-6,  # float32's rounding
        )


@pytest.mark.parametrize("seed", [None, 3])
def test_ids_are_items_and_every_item_is_drawn_uniformly(windows, seed):
    batches = windows.batches(3, seed=seed, num_negatives=500)
    drawn = negatives(batches)
    counts = np.bincount(drawn.reshape(-1))
    assert len(counts) == NUM_ITEMS + 1  # none above the last item
    assert counts[0] == 0  # nor padding
    # Binomial counts, within 5 standard deviations: uniform draws exceed that once in 10**5 times.
    mean = drawn.size / NUM_ITEMS
    np.testing.assert_allclose(counts[1:], mean, atol=5 * np.sqrt(mean))


def test_probabilities_are_those_of_a_candidate_by_hand():
    # Two windows of labels 2, 3 and 2: with 3 negatives per window, 3 + 6 candidates per epoch. Of
    # 4 items each is drawn 6/4 times; 2 is a label twice, 3 once.
    windows = windows_from([[1, 2, 3], [3, 2]], num_items=4, max_history=2)
    assert sorted(windows.labels[windows.labels > 0]) == [2, 2, 3]
    expected = np.array([0.0, 1.5, 3.5, 2.5, 1.5]) / 9
    seen = set()
    for _ in range(3):
        for batch in epoch(windows.batches(2, num_negatives=3)):
            np.testing.assert_allclose(
                batch[columns.CANDIDATE_SAMPLING_PROBABILITY],
                expected[batch[columns.LABELS]],
                rtol=1e-6,
            )
            np.testing.assert_allclose(
                batch[columns.NEGATIVES_SAMPLING_PROBABILITY],
                expected[batch[columns.NEGATIVES]],
                rtol=1e-6,
            )
            seen |= set(batch[columns.NEGATIVES].reshape(-1).tolist())
    assert len(seen) > 1


def test_probabilities_sum_to_1_over_the_catalogue_and_padding_has_none(windows):
    probability = {}
    for batch in epoch(windows.batches(3, num_negatives=100)):
        for ids, given in (
            (columns.NEGATIVES, columns.NEGATIVES_SAMPLING_PROBABILITY),
            (columns.LABELS, columns.CANDIDATE_SAMPLING_PROBABILITY),
        ):
            for item, value in zip(batch[ids].reshape(-1), batch[given].reshape(-1)):
                assert probability.setdefault(int(item), value) == value  # one per item
    assert probability.pop(0) == 0.0
    assert sorted(probability) == list(range(1, NUM_ITEMS + 1))
    np.testing.assert_allclose(sum(probability.values()), 1.0, rtol=1e-6)


def test_probabilities_are_the_frequencies_of_candidates(windows):
    """Counted over an epoch: labels are fixed, draws are random."""
    num_negatives = 400
    counts = np.zeros(NUM_ITEMS + 1)
    probability = np.zeros(NUM_ITEMS + 1)
    for batch in epoch(windows.batches(3, num_negatives=num_negatives)):
        counts += np.bincount(batch[columns.NEGATIVES].reshape(-1), minlength=NUM_ITEMS + 1)
        counts += np.bincount(batch[columns.LABELS].reshape(-1), minlength=NUM_ITEMS + 1)
        probability[batch[columns.NEGATIVES]] = batch[columns.NEGATIVES_SAMPLING_PROBABILITY]
    counts[0] = 0
    # 5 standard deviations of a random count.
    tolerance = 5 * np.sqrt(counts.max()) / counts.sum()
    np.testing.assert_allclose(counts / counts.sum(), probability, atol=tolerance)


@pytest.mark.parametrize("seed", [None, 3])
def test_negatives_are_new_in_every_epoch_and_in_every_batch(windows, seed):
    batches = windows.batches(3, seed=seed, num_negatives=20)
    first, second = negatives(batches), negatives(batches)
    assert first.shape == second.shape == (len(windows), 20)
    # Equal by chance with probability 1/9 each.
    assert (first == second).mean() < 0.4
    assert (first[:3] == first[3:6]).mean() < 0.4


@pytest.mark.parametrize("seed", [None, 3])
def test_the_same_seed_draws_the_same_in_every_epoch(windows, seed):
    one, other = (windows.batches(3, seed=seed, num_negatives=20) for _ in range(2))
    for _ in range(2):
        for ours, theirs in zip(epoch(one), epoch(other)):
            assert set(ours) == set(theirs)
            for name in ours:
                np.testing.assert_array_equal(ours[name], theirs[name])


def test_another_seed_draws_others(windows):
    one, other = (negatives(windows.batches(3, seed=seed, num_negatives=20)) for seed in (3, 4))
    assert (one == other).mean() < 0.4


@pytest.mark.parametrize("seed", [None, 3])
def test_windows_are_in_the_same_order_as_without_negatives(windows, seed):
    plain = windows.batches(3, seed=seed)
    with_negatives = windows.batches(3, seed=seed, num_negatives=2)
    for _ in range(2):
        for ours, theirs in zip(epoch(with_negatives), epoch(plain)):
            for name in PLAIN:
                np.testing.assert_array_equal(ours[name], theirs[name])


@pytest.mark.parametrize("number", [-1, -20])
def test_a_negative_number_of_negatives_is_refused(windows, number):
    words = f"`num_negatives` must be None or at least 0. Received: {number}"
    with pytest.raises(InputError, match=words):
        windows.batches(3, num_negatives=number)
