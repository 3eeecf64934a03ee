"""Temperature scaling: the convex search against a grid, planted temperatures, and the wrapper."""

import math
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tiny_data import next_item_rows, tiny_catalogue

from tfrs_distill import columns
from tfrs_distill.data.splits import Queries
from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError
from tfrs_distill.models import RetrievalStudent
from tfrs_distill.teachers.calibration import Calibrated, fit_temperature, held_out_windows
from tfrs_distill.teachers.function_teacher import FunctionTeacher

NUM_ITEMS = 6


def planted(sharpness, num_rows=20_000, seed=0):
    """Windows whose labels are drawn from softmax(table); a teacher of logits sharpness * table."""
    random = np.random.default_rng(seed)
    table = random.normal(size=(num_rows, NUM_ITEMS))
    labels = (table + random.gumbel(size=table.shape)).argmax(axis=1) + 1
    windows = Windows(
        tiny_catalogue(NUM_ITEMS),
        np.arange(num_rows, dtype=np.int32),
        np.ones((num_rows, 1), np.int32),
        labels[:, None].astype(np.int32),
    )
    output = tf.constant(sharpness * table, tf.float32)

    def call(batch, candidate_ids):
        rows = tf.boolean_mask(batch[columns.EXAMPLE_ID], batch[columns.LABELS][:, 0] > 0)
        return tf.gather(tf.gather(output, rows), candidate_ids - 1, axis=1)

    return windows, FunctionTeacher(call, fingerprint=str(sharpness)), table, labels - 1


def cross_entropy(logits, labels):
    logits = logits - logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(labels)), labels].mean()


@pytest.mark.parametrize("sharpness", [0.02, 1.0, 30.0])
def test_it_finds_the_temperature_that_reverses_a_scale(sharpness):
    windows, teacher, table, labels = planted(sharpness)
    found = fit_temperature(teacher, windows, batch_size=5000)
    # The maximum-likelihood scale of 20,000 draws has a standard error near 1 %.
    assert found.temperature == pytest.approx(sharpness, rel=0.04)
    assert found.loss_before == pytest.approx(cross_entropy(sharpness * table, labels), rel=1e-5)
    after = cross_entropy(sharpness * table / found.temperature, labels)
    assert found.loss_after == pytest.approx(after, rel=1e-5)
    grid = [
        cross_entropy(sharpness * table / (found.temperature * f), labels) for f in (0.98, 1.02)
    ]
    assert found.loss_after < min(grid)


def test_dislikes_are_not_labels():
    windows, teacher, table, labels = planted(1.0, num_rows=300)
    disliked = labels % 2 == 1
    weights = np.where(disliked, -1.0, 5.0)[:, None]
    found = fit_temperature(teacher, replace(windows, weights=weights))
    expected = cross_entropy(table[~disliked], labels[~disliked])
    assert found.loss_before == pytest.approx(expected, rel=1e-5)


def test_the_ends_of_the_search():
    windows, _, _, _ = planted(1.0, num_rows=50)
    flat = FunctionTeacher(lambda batch, ids: tf.zeros([tf.size(batch[columns.USER_ID]), 6]))
    assert fit_temperature(flat, windows).loss_after == pytest.approx(math.log(6))
    labels = tf.constant(windows.labels[:, 0])
    right = FunctionTeacher(
        lambda batch, ids: tf.one_hot(tf.gather(labels, batch[columns.EXAMPLE_ID]) - 1, 6)
    )
    wrong = FunctionTeacher(lambda batch, ids: -right.logits(batch, ids))
    sure = fit_temperature(right, windows)
    assert sure.temperature < 0.01 and sure.loss_after == 0.0
    assert fit_temperature(wrong, windows).temperature == pytest.approx(1e4)


def test_seen_items_can_be_excluded_but_never_the_label():
    windows = Windows(
        tiny_catalogue(3),
        np.zeros(2, np.int32),
        np.array([[1, 2], [0, 3]], np.int32),
        np.array([[0, 3], [0, 3]], np.int32),  # the second row's label was seen
    )
    logits = np.log([[5.0, 4.0, 1.0]])
    teacher = FunctionTeacher(lambda batch, ids: tf.tile(tf.constant(logits), [2, 1]))
    plain = fit_temperature(teacher, windows)
    assert plain.loss_before == pytest.approx(math.log(10))
    without = fit_temperature(teacher, windows, exclude_seen=True)
    # Row 1 has only its label left; row 2 also items 1 and 2.
    assert without.loss_before == pytest.approx(math.log(10) / 2)


def test_only_existing_items_are_candidates():
    windows, teacher, table, labels = planted(1.0, num_rows=500)
    exists = np.array([True, True, False, True, True, True])
    rows = np.flatnonzero(labels != 2)
    kept = Windows(
        windows.catalogue, windows.users, windows.history,
        np.where(labels[:, None] == 2, 0, windows.labels).astype(np.int32), candidates=exists,
    )  # fmt: skip
    requested = FunctionTeacher(lambda batch, ids: rows_said(batch, ids, table))
    found = fit_temperature(requested, kept, batch_size=500)
    expected = cross_entropy(
        table[rows][:, exists], np.searchsorted(np.flatnonzero(exists), labels[rows])
    )
    assert found.loss_before == pytest.approx(expected, rel=1e-5)
    bad = Windows(
        windows.catalogue, windows.users, windows.history, windows.labels, candidates=exists
    )
    with pytest.raises(InputError, match="Item 3 is a label.*not one of their existing"):
        fit_temperature(teacher, bad, batch_size=500)


def rows_said(batch, ids, table):
    there = batch[columns.EXAMPLE_ID][batch[columns.LABELS][:, 0] > 0]
    return tf.gather(tf.gather(tf.constant(table), there), ids - 1, axis=1)


def test_invalid_input_is_refused():
    windows, _, _, _ = planted(1.0, num_rows=5)
    broken = FunctionTeacher(lambda batch, ids: tf.fill([5, 6], math.nan))
    with pytest.raises(InputError, match="hold NaN or infinite values"):
        fit_temperature(broken, windows)
    empty = Windows(windows.catalogue, windows.users, windows.history, 0 * windows.labels)
    nothing = FunctionTeacher(lambda batch, ids: tf.zeros([0, 6]))
    with pytest.raises(InputError, match="have no labels"):
        fit_temperature(nothing, empty)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match="`temperature` must be finite and greater than 0"):
        Calibrated(None, temperature)


class Factorised:
    def encode_queries(self, batch):
        return batch["queries"]

    def encode_candidates(self, items):
        return tf.gather(tf.eye(4), items)

    def logits(self, batch, candidate_ids):
        return batch["queries"] @ tf.transpose(self.encode_candidates(candidate_ids))

    def fingerprint(self):
        return "factorised"


def test_a_calibrated_teacher_divides_by_the_temperature_and_stays_factorised():
    batch = {"queries": tf.constant([[1.0, 2.0, 3.0, -4.0]])}
    teacher = Calibrated(Factorised(), 4.0)
    ids = tf.constant([3, 1])
    np.testing.assert_allclose(teacher.logits(batch, ids), [[-1.0, 0.5]])
    product = teacher.encode_queries(batch) @ tf.transpose(teacher.encode_candidates(ids))
    np.testing.assert_allclose(product, [[-1.0, 0.5]])
    assert not hasattr(teacher, "hidden_representations")
    plain = Calibrated(FunctionTeacher(lambda batch, _: batch["queries"]), 4.0)
    assert not hasattr(plain, "encode_queries") and not hasattr(plain, "encode_candidates")


def test_the_fingerprint_depends_on_teacher_and_temperature():
    one = FunctionTeacher(len, fingerprint="one")
    prints = [
        Calibrated(one, 2.0),
        Calibrated(one, 2.5),
        Calibrated(FunctionTeacher(len, fingerprint="two"), 2.0),
    ]
    assert len({teacher.fingerprint() for teacher in prints}) == 3
    assert Calibrated(one, 2).fingerprint() == prints[0].fingerprint()


def test_held_out_windows_have_each_positive_once_after_its_history():
    queries = Queries(
        tiny_catalogue(20),
        np.array([4, 9], np.int32),
        (np.arange(1, 8, dtype=np.int32), np.array([9], np.int32)),
        (np.array([11, 12, 13], np.int32), np.array([15], np.int32)),
    )
    windows = held_out_windows(queries, max_history=4)
    rows = next_item_rows(windows)
    assert [label for _, label in rows] == [11, 12, 13, 15]
    whole = {11: [*range(1, 8)], 12: [*range(1, 8), 11], 13: [*range(1, 8), 11, 12], 15: [9]}
    for history, label in rows:
        assert len(history) >= min(2, len(whole[label]))
        assert history == whole[label][-len(history) :]
    assert set(windows.users) == {4, 9} and (windows.labels.any(axis=1)).all()


def test_held_out_windows_keep_the_attributes_of_each_query():
    """Without them a teacher that reads attributes would be calibrated as if they were missing."""
    queries = Queries(
        tiny_catalogue(20),
        np.array([4, 9, 4], np.int32),
        ([1, 2], [9], [3]),
        ([11, 12, 13, 14], [15], [16]),
        user_attributes=[[1, 5], [2, 0], [3, 7]],
    )
    windows = held_out_windows(queries, max_history=2)
    of_label = {11: [1, 5], 12: [1, 5], 13: [1, 5], 14: [1, 5], 15: [2, 0], 16: [3, 7]}
    for labels, user, known in zip(windows.labels, windows.users, windows.user_attributes):
        for label in labels[labels > 0]:
            assert known.tolist() == of_label[label] and user == (9 if label == 15 else 4)


def test_a_calibrated_model_with_a_temperature_of_its_own_is_factorised_by_both():
    student = RetrievalStudent.from_history(num_items=NUM_ITEMS, max_history=2, seed=0)
    student.temperature = 0.25
    said = Calibrated(student, 2.0)
    batch = {
        columns.HISTORY: tf.constant([[1, 4]], tf.int32),
        columns.LABELS: tf.constant([[4, 2]], tf.int32),
    }
    items = tf.range(1, NUM_ITEMS + 1)
    dot_products = tf.matmul(
        student.encode_queries(batch)[0], student.encode_candidates(items), transpose_b=True
    )
    factors = tf.matmul(
        said.encode_queries(batch)[0], said.encode_candidates(items), transpose_b=True
    )
    np.testing.assert_allclose(factors, dot_products / (0.25 * 2.0), rtol=1e-5)
    np.testing.assert_allclose(said.logits(batch, items), factors, rtol=1e-5)


def test_calibration_does_not_change_the_order():
    scores = FunctionTeacher(lambda batch, ids: batch["scores"])
    output = Calibrated(scores, 0.01).logits(
        {"scores": tf.constant([[0.3, 0.9, 0.1]])}, tf.range(3)
    )
    np.testing.assert_array_equal(np.argsort(output), [[2, 0, 1]])
