"""Regression of logits: by hand, against float64, its gradient, its errors."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.losses import LogitMeanSquaredError
from tfrs_distill.losses.candidate_lists import MASKED


def call(loss, teacher, student):
    """Values and gradient of a batch."""
    student = tf.Variable(student, dtype=tf.float32)
    with tf.GradientTape() as tape:
        values = loss.call(tf.constant(teacher, tf.float32), student)
    return values.numpy(), tape.gradient(values, student).numpy()


@pytest.mark.parametrize(
    ("teacher", "student", "centred", "expected"),
    [
        ([4.0], [2.5], False, 2.25),
        ([4.0, 0.0], [2.0, 0.0], False, 2.0),
        ([4.0, 0.0], [2.0, 0.0], True, 1.0),  # [2, -2] against [1, -1]
        ([1.0, 2.0, 3.0], [5.0, 6.0, 7.0], True, 0.0),  # a shift has no loss
        ([1.0, 2.0, 3.0], [5.0, 6.0, 7.0], False, 16.0),
    ],
)
def test_by_hand(teacher, student, centred, expected):
    values, _ = call(LogitMeanSquaredError(centred=centred), [teacher], [student])
    np.testing.assert_allclose(values, [expected], rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 60.0])
@pytest.mark.parametrize("centred", [False, True])
def test_float64_reference_and_its_gradient(scale, centred):
    random = np.random.default_rng(0)
    teacher, student = np.float32(scale * random.normal(size=(2, 6, 4)))
    difference = np.float64(student) - teacher
    if centred:
        difference -= difference.mean(axis=1, keepdims=True)
    values, gradient = call(LogitMeanSquaredError(centred=centred), teacher, student)
    # float32 rounds logits of this size by 6e-8 of it, and squares double that.
    np.testing.assert_allclose(values, (difference**2).mean(axis=1), rtol=5e-6)
    np.testing.assert_allclose(gradient, 2 * difference / 4, rtol=1e-5, atol=1e-6 * scale)


@pytest.mark.parametrize(("centred", "expected"), [(False, 2.5), (True, 2.25)])
def test_a_masked_slot_is_ignored(centred, expected):
    teacher = [[1.0, MASKED, 2.0], [MASKED, MASKED, MASKED]]
    # Differences of row 0: -1 and +2, whose mean is 1/2.
    values, gradient = call(
        LogitMeanSquaredError(centred=centred), teacher, [[0.0, math.nan, 4.0], [1.0, 2.0, 3.0]]
    )
    np.testing.assert_allclose(values, [expected, 0.0], rtol=1e-6)
    slopes = [-1.5, 0.0, 1.5] if centred else [-1.0, 0.0, 2.0]
    np.testing.assert_allclose(gradient, [slopes, [0, 0, 0]], atol=1e-6)


def test_retrieval_logits_are_compared_where_both_sides_are_not_masked():
    values, gradient = call(
        LogitMeanSquaredError(centred=True), [[MASKED, 3.0, 1.0]], [[MASKED, 0.0, 0.0]]
    )
    np.testing.assert_allclose(values, [1.0], rtol=1e-6)
    np.testing.assert_allclose(gradient, [[0.0, -1.0, 1.0]], atol=1e-6)


def test_no_gradient_goes_to_the_teacher_and_nan_shows():
    teacher, student = tf.Variable([[1.0]]), tf.Variable([[0.0]])
    with tf.GradientTape() as tape:
        value = LogitMeanSquaredError().call(teacher, student)
    assert tape.gradient(value, teacher) is None
    assert np.isnan(call(LogitMeanSquaredError(), [[math.nan]], [[0.0]])[0]).all()


def test_half_precision_logits_are_computed_in_float32():
    value = LogitMeanSquaredError().call(
        tf.constant([[300.0]], tf.float16), tf.constant([[0.0]], tf.float16)
    )
    assert value.dtype == tf.float32
    np.testing.assert_array_equal(value, [90000.0])  # more than float16 can hold


def test_a_single_logit_cannot_be_centred():
    with pytest.raises(ValueError, match=r"\(centred=True\) needs at least 2 logits.*\(3, 1\)"):
        LogitMeanSquaredError(centred=True)(tf.zeros([3, 1]), tf.zeros([3, 1]))


@pytest.mark.parametrize(("teacher", "student"), [([3], [3]), ([3, 1], [3]), ([3, 2], [3, 1])])
def test_other_shapes_are_refused(teacher, student):
    with pytest.raises(ValueError, match=r"Received: teacher \(3"):
        LogitMeanSquaredError()(tf.zeros(teacher), tf.zeros(student))


def test_round_trip_by_value_and_behaviour():
    loss = LogitMeanSquaredError(centred=True, reduction="sum", name="regression")
    again = tf.keras.losses.deserialize(tf.keras.losses.serialize(loss))
    assert isinstance(again, LogitMeanSquaredError)
    assert (again.centred, again.reduction, again.name) == (True, "sum", "regression")
    teacher, student = tf.constant([[4.0, 0.0], [1.0, 1.0]]), tf.constant([[2.0, 0.0], [1.0, 3.0]])
    assert float(again(teacher, student)) == 2.0
    assert float(again(teacher, student, sample_weight=[3.0, 0.0])) == 3.0
