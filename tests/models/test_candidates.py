"""Candidates by hand: each row's candidate columns, and the changes of their logits."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.models import Candidates
from tfrs_distill.models.candidates import CandidateSet, catalogue_candidates, in_batch_candidates

LN = math.log


def in_batch(positives, batch=None, probability=None, seen=None, score_mask=None, **settings):
    """Candidates of rows with these labels; sampled if the batch has negatives."""
    batch = batch or {}
    source = "sampled" if columns.NEGATIVES in batch else "batch"
    return in_batch_candidates(
        Candidates(source, **settings),
        batch,
        tf.constant(positives),
        None if probability is None else tf.constant(probability),
        None if seen is None else tf.constant(seen),
        None if score_mask is None else tf.constant(score_mask),
    )


NEGATIVES = {
    columns.NEGATIVES: tf.constant([[8, 5], [9, 3]]),
    columns.NEGATIVES_SAMPLING_PROBABILITY: tf.constant([[0.3, 0.2], [0.4, 0.1]]),
}


@pytest.mark.parametrize("source", ["", "in_batch", "Catalogue", None])
def test_an_unknown_source_is_refused(source):
    with pytest.raises(ValueError, match=r"'catalogue', 'batch' or 'sampled'\. Received: source="):
        Candidates(source)


@pytest.mark.parametrize("number", [0, -1, float("nan")])
def test_0_hard_negatives_are_refused(number):
    with pytest.raises(ValueError, match="None or at least 1. Received: num_hard_negatives="):
        Candidates("batch", num_hard_negatives=number)


def test_replicas_cannot_share_a_catalogue():
    with pytest.raises(ValueError, match="a catalogue is the same on every replica"):
        Candidates("catalogue", across_replicas=True)
    assert Candidates("batch", across_replicas=True).across_replicas
    assert Candidates("sampled", across_replicas=True).across_replicas


def test_the_default_is_the_whole_catalogue():
    assert Candidates() == Candidates("catalogue", True, False, None, False)
    assert Candidates().of_catalogue
    assert not Candidates("batch").of_catalogue
    assert not Candidates("sampled").of_catalogue


def test_adjust_subtracts_the_log_probability_of_each_column_in_every_row():
    chosen = CandidateSet(tf.range(3), sampling_probability=tf.constant([0.5, 0.25, 1.0]))
    logits = tf.constant([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    expected = [[LN(2), LN(4), 0.0], [1 + LN(2), 2 + LN(4), 3.0]]
    np.testing.assert_allclose(chosen.adjust(logits), expected, rtol=1e-6)  # float32's rounding


def test_adjust_limits_probabilities_to_a_millionth_and_1_as_in_tfrs():
    chosen = CandidateSet(tf.range(3), sampling_probability=tf.constant([0.0, 1e-9, 7.0]))
    expected = [[LN(1e6), LN(1e6), 0.0]]
    np.testing.assert_allclose(chosen.adjust(tf.zeros([1, 3])), expected, rtol=1e-6)


def test_adjust_masks_with_a_finite_number_of_probability_0():
    keep = tf.constant([[True, False, True]])
    adjusted = CandidateSet(tf.range(3), keep=keep).adjust(tf.constant([[1.0, 1e30, 1.0]]))
    assert np.isfinite(adjusted).all()
    np.testing.assert_array_equal(tf.nn.softmax(adjusted), [[0.5, 0.0, 0.5]])
    # And no gradient.
    logits = tf.Variable([[1.0, 5.0, 3.0]])
    with tf.GradientTape() as tape:
        loss = tf.reduce_logsumexp(CandidateSet(tf.range(3), keep=keep).adjust(logits))
    gradient = tf.convert_to_tensor(tape.gradient(loss, logits)).numpy()
    assert gradient[0, 1] == 0.0
    assert (gradient[0, [0, 2]] > 0.1).all()


def test_hard_negatives_are_the_students_largest_with_the_label_first():
    logits = tf.constant([[5.0, 1.0, 4.0, 2.0], [0.0, -9.0, 1.0, 2.0]])
    chosen = CandidateSet(tf.range(4), labels=tf.constant([2, 1]))
    hard = chosen.with_hard_negatives(logits, 2)
    np.testing.assert_array_equal(hard.hard, [[2, 0, 3], [1, 3, 2]])
    np.testing.assert_array_equal(hard.adjust(logits), [[4.0, 5.0, 2.0], [-9.0, 2.0, 1.0]])
    np.testing.assert_array_equal(hard.label_columns, [0, 0])
    np.testing.assert_array_equal(chosen.label_columns, [2, 1])
    # Other logits are selected by the student's choice, not by their largest values.
    others = tf.constant([[1.0, 90.0, 3.0, 4.0], [50.0, 6.0, 7.0, 8.0]])
    np.testing.assert_array_equal(hard.adjust(others), [[3.0, 1.0, 4.0], [6.0, 8.0, 7.0]])


def test_hard_negatives_are_chosen_after_correction_and_masking():
    logits = tf.constant([[0.0, 3.0, 2.0, 1.0]])
    chosen = CandidateSet(tf.range(4), labels=tf.constant([0]))
    rare = chosen._replace(sampling_probability=tf.constant([1.0, 1.0, 1.0, 0.01]))
    # 1 - ln 0.01 = 5.6 is above 3.
    np.testing.assert_array_equal(rare.with_hard_negatives(logits, 1).hard, [[0, 3]])
    masked = chosen._replace(keep=tf.constant([[True, False, True, True]]))
    np.testing.assert_array_equal(masked.with_hard_negatives(logits, 1).hard, [[0, 2]])


def test_more_hard_negatives_than_candidates_change_no_softmax():
    logits = tf.constant([[0.0, 1.0, 2.0]])
    chosen = CandidateSet(tf.range(3), labels=tf.constant([1])).with_hard_negatives(logits, 7)
    adjusted = chosen.adjust(logits)
    assert adjusted.shape == (1, 8)
    softmax = np.exp([1.0, 2.0, 0.0]) / np.exp([0.0, 1.0, 2.0]).sum()
    np.testing.assert_allclose(tf.nn.softmax(adjusted)[0], [*softmax, 0, 0, 0, 0, 0], rtol=1e-6)


@pytest.mark.parametrize("num_columns", [2, 3, 6])
def test_hard_negatives_are_the_same_for_a_dynamic_number_of_candidates(num_columns):
    logits = tf.constant(np.random.default_rng(0).normal(size=[2, num_columns]), tf.float32)

    def choose(logits):
        chosen = CandidateSet(tf.range(num_columns), labels=tf.constant([1, 0]))
        return chosen.with_hard_negatives(logits, 2).adjust(logits)

    traced = tf.function(choose, input_signature=[tf.TensorSpec([None, None], tf.float32)])
    assert traced(logits).shape == (2, 3)
    np.testing.assert_array_equal(tf.nn.softmax(traced(logits)), tf.nn.softmax(choose(logits)))


@pytest.mark.parametrize(
    ("labels", "words"),
    [(None, "Received: no labels"), (tf.ones([1, 3]) / 3, "Received: soft or one-hot labels")],
)
def test_hard_negatives_need_one_label_per_row(labels, words):
    with pytest.raises(ValueError, match="`num_hard_negatives` needs one label per row. " + words):
        CandidateSet(tf.range(3), labels=labels).with_hard_negatives(tf.zeros([1, 3]), 1)


def test_a_catalogue_is_every_item_in_order_and_labels_become_its_columns():
    chosen = catalogue_candidates(4, tf.constant([1, 4]), None, None)
    np.testing.assert_array_equal(chosen.ids, [1, 2, 3, 4])
    np.testing.assert_array_equal(chosen.labels, [0, 3])
    assert chosen.keep is None
    soft = tf.constant([[0.5, 0.5, 0.0, 0.0]])
    np.testing.assert_array_equal(catalogue_candidates(4, soft, None, None).labels, soft)
    assert catalogue_candidates(4, None, None, None).labels is None


SEEN = [[True, True, False, True, False]]  # padding, then items 1 and 3
MASK = [[True, False, True, True]]  # all but item 2


@pytest.mark.parametrize(
    ("labels", "seen", "mask", "expected"),
    [
        (None, SEEN, None, [[0, 1, 0, 1]]),
        (None, None, MASK, [[1, 0, 1, 1]]),
        (None, SEEN, MASK, [[0, 0, 0, 1]]),
        ([4], SEEN, MASK, [[0, 0, 0, 1]]),
        # Items of the label are candidates, seen or not.
        ([1], SEEN, MASK, [[1, 0, 0, 1]]),
        ([2], SEEN, MASK, [[0, 1, 0, 1]]),
        ([[0.0, 0.1, 0.9, 0.0]], SEEN, MASK, [[0, 1, 1, 1]]),
        ([[1.0, 0.0, 0.0, 0.0]], SEEN, None, [[1, 1, 0, 1]]),
    ],
)
def test_seen_and_masked_items_are_excluded_from_the_catalogue_but_not_the_label(
    labels, seen, mask, expected
):
    labels, seen, mask = (None if x is None else tf.constant(x) for x in (labels, seen, mask))
    chosen = catalogue_candidates(4, labels, seen, mask)
    np.testing.assert_array_equal(chosen.keep, np.array(expected, bool))


def test_in_batch_candidates_are_the_rows_own_labels():
    chosen = in_batch([7, 5, 7], probability=[0.1, 0.2, 0.1], remove_accidental_hits=False)
    np.testing.assert_array_equal(chosen.ids, [7, 5, 7])
    np.testing.assert_array_equal(chosen.labels, [0, 1, 2])
    np.testing.assert_array_equal(chosen.sampling_probability, np.float32([0.1, 0.2, 0.1]))
    assert chosen.keep is None
    assert in_batch([7, 5]).sampling_probability is None


def test_sampled_candidates_are_the_labels_and_then_the_negatives_of_every_example():
    chosen = in_batch([7, 5, 9], NEGATIVES, [0.1, 0.2, 0.4], remove_accidental_hits=False)
    np.testing.assert_array_equal(chosen.ids, [7, 5, 9, 8, 5, 9, 3])
    np.testing.assert_array_equal(chosen.labels, [0, 1, 2])
    np.testing.assert_array_equal(
        chosen.sampling_probability, np.float32([0.1, 0.2, 0.4, 0.3, 0.2, 0.4, 0.1])
    )


def test_copies_of_a_rows_label_are_removed_among_labels_and_negatives():
    np.testing.assert_array_equal(
        in_batch([7, 5, 7]).keep, np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]], bool)
    )
    np.testing.assert_array_equal(
        in_batch([7, 5, 9], NEGATIVES, [0.1, 0.2, 0.4]).keep,
        np.array([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 1, 1], [1, 1, 1, 1, 1, 0, 1]], bool),
    )


def test_copies_of_text_labels_are_removed_too():
    np.testing.assert_array_equal(
        in_batch(["Heat", "Alien", "Heat"]).keep,
        np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]], bool),
    )


def test_seen_and_masked_items_are_excluded_from_the_batch_but_not_the_rows_label():
    seen = np.zeros([3, 10], bool)
    seen[0, [0, 5]] = seen[1, [0, 5]] = True  # the second row's label is in its history
    chosen = in_batch([7, 5, 9], seen=seen)
    np.testing.assert_array_equal(chosen.keep, np.array([[1, 0, 1], [1, 1, 1], [1, 1, 1]], bool))
    mask = [[False, True, True], [True, True, False], [True, True, True]]
    chosen = in_batch([7, 5, 9], seen=seen, score_mask=mask)
    np.testing.assert_array_equal(chosen.keep, np.array([[1, 0, 1], [1, 1, 0], [1, 1, 1]], bool))
    negatives = in_batch([7, 5, 9], NEGATIVES, [0.1, 0.2, 0.4], seen=seen)
    np.testing.assert_array_equal(negatives.keep[0], np.array([1, 0, 1, 1, 0, 1, 1], bool))


@pytest.mark.parametrize("source", ["batch", "sampled"])
def test_candidates_of_an_unlabelled_batch_are_refused(source):
    words = f"source '{source}' are the labels of the batch, but .* no column 'labels'"
    with pytest.raises(ValueError, match=words):
        in_batch_candidates(Candidates(source), dict(NEGATIVES), None, None)


@pytest.mark.parametrize(
    ("absent", "probability", "words"),
    [
        ([columns.NEGATIVES], True, r"need the columns \['negatives'\]"),
        (
            [columns.NEGATIVES, columns.NEGATIVES_SAMPLING_PROBABILITY],
            True,
            r"need the columns \['negatives', 'negatives_sampling_probability'\]",
        ),
        ([], False, r"need the columns \['candidate_sampling_probability'\]"),
        (
            [columns.NEGATIVES_SAMPLING_PROBABILITY],
            False,
            r"\['negatives_sampling_probability', 'candidate_sampling_probability'\]",
        ),
    ],
)
def test_missing_columns_of_sampled_candidates_are_named(absent, probability, words):
    batch = {name: column for name, column in NEGATIVES.items() if name not in absent}
    probability = tf.constant([0.1, 0.2]) if probability else None
    with pytest.raises(ValueError, match=words + r".*`windows.batches\(batch_size, num_negatives"):
        in_batch_candidates(Candidates("sampled"), batch, tf.constant([7, 5]), probability)
