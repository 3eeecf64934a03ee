"""Bernoulli soft targets: by hand, against float64, their gradient, their errors."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.losses import SoftTargetBinaryCrossEntropy
from tfrs_distill.losses.candidate_lists import MASKED

LN = math.log
TEMPERATURES = (0.5, 1, 3.0)
SCALES = (1e-3, 1.0, 60.0)


def reference(teacher, student, temperature):
    """float64, one value per row; log sigmoid without overflow."""
    teacher, student = np.float64(teacher) / temperature, np.float64(student) / temperature
    yes, no = np.exp(-np.logaddexp(0, -teacher)), np.exp(-np.logaddexp(0, teacher))
    values = yes * np.logaddexp(0, -student) + no * np.logaddexp(0, student)
    return temperature**2 * values.mean(axis=-1)


def rows(loss, teacher, student):
    """One value per example."""
    return loss.call(tf.constant(teacher, tf.float32), tf.constant(student, tf.float32)).numpy()


@pytest.fixture
def logits():
    random = np.random.default_rng(1)
    return random.normal(size=(5, 3)), random.normal(size=(5, 3))


@pytest.mark.parametrize(
    ("teacher", "student", "expected"),
    [
        ([LN(3)], [0.0], LN(2)),
        ([0.0], [LN(3)], LN(4) - LN(3) / 2),  # half -ln 3/4, half -ln 1/4
        ([LN(3)], [LN(3)], 3 / 4 * LN(4 / 3) + 1 / 4 * LN(4)),  # the teacher's entropy
        ([LN(3)], [-LN(3)], 3 / 4 * LN(4) + 1 / 4 * LN(4 / 3)),
        ([LN(3), LN(3)], [0.0, LN(3)], (LN(2) + 3 / 4 * LN(4 / 3) + 1 / 4 * LN(4)) / 2),
    ],
)
def test_by_hand_at_temperature_1(teacher, student, expected):
    np.testing.assert_allclose(
        rows(SoftTargetBinaryCrossEntropy(), [teacher], [student]), [expected], rtol=2e-6
    )


def test_by_hand_at_temperature_2():
    # Halved logits: teacher [ln 3] again, so temperature**2 = 4 times the value at 1.
    value = SoftTargetBinaryCrossEntropy(temperature=2.0)([[LN(9)]], [[0.0]])
    np.testing.assert_allclose(value, 4 * LN(2), rtol=1e-6)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("scale", SCALES)
def test_float64_reference(logits, temperature, scale):
    teacher, student = (np.float32(scale * part) for part in logits)
    expected = reference(teacher, student, temperature)
    # A few roundings of float32, each 6e-8 of the value.
    np.testing.assert_allclose(
        rows(SoftTargetBinaryCrossEntropy(temperature), teacher, student), expected, rtol=1e-6
    )


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("scale", SCALES)
def test_gradient_is_the_slope_of_the_float64_reference(logits, temperature, scale):
    teacher, student = (np.float32(scale * part) for part in logits)
    variable = tf.Variable(student)
    with tf.GradientTape() as tape:
        value = SoftTargetBinaryCrossEntropy(temperature).call(tf.constant(teacher), variable)
    step = 1e-5
    expected = np.zeros(student.shape)
    for column in range(student.shape[1]):
        change = np.zeros(student.shape)
        change[:, column] = step
        up, down = (
            reference(teacher, np.float64(student) + sign * change, temperature) for sign in (1, -1)
        )
        expected[:, column] = (up - down) / (2 * step)
    # Central differences are off by step**2 and by 1e-16 * value / step, at most 1e-8 here.
    np.testing.assert_allclose(
        tape.gradient(value, variable), expected, rtol=1e-5, atol=3e-7 * max(1, scale)
    )


def test_confident_teachers_and_students_keep_their_digits():
    # -log sigmoid(-200) = 200, where a clipped probability would give 16.
    np.testing.assert_allclose(
        rows(SoftTargetBinaryCrossEntropy(), [[200.0], [-200.0]], [[-200.0], [200.0]]), [200, 200]
    )
    # 1 - p = sigmoid(-20) = 2.06e-9 is lost in 1 - float32(p); the other half costs e**-30.
    value = rows(SoftTargetBinaryCrossEntropy(), [[20.0]], [[30.0]])
    np.testing.assert_allclose(value, 30 / (1 + math.exp(20)), rtol=1e-4)


def test_no_gradient_goes_to_the_teacher():
    teacher, student = tf.Variable([[1.0]]), tf.Variable([[0.0]])
    with tf.GradientTape() as tape:
        value = SoftTargetBinaryCrossEntropy().call(teacher, student)
    assert tape.gradient(value, teacher) is None


def test_a_masked_slot_is_ignored():
    teacher = tf.constant([[LN(3), MASKED], [MASKED, MASKED]])
    student = tf.Variable([[0.0, math.nan], [5.0, -5.0]])
    with tf.GradientTape() as tape:
        value = SoftTargetBinaryCrossEntropy().call(teacher, student)
    np.testing.assert_allclose(value, [LN(2), 0.0], rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(value, student), [[-1 / 4, 0], [0, 0]], atol=1e-7)


def test_a_nan_teacher_gives_a_nan_loss():
    assert np.isnan(rows(SoftTargetBinaryCrossEntropy(), [[math.nan, 0.0]], [[0.0, 0.0]])).all()


def test_half_precision_logits_are_computed_in_float32():
    value = SoftTargetBinaryCrossEntropy().call(
        tf.constant([[11.0]], tf.float16), tf.constant([[-11.0]], tf.float16)
    )
    assert value.dtype == tf.float32
    np.testing.assert_allclose(value, reference([[11.0]], [[-11.0]], 1.0), rtol=1e-6)


@pytest.mark.parametrize(
    ("teacher", "student", "words"),
    [
        ([3], [3], r"needs logits \[num_rows, width\].*Received: teacher \(3,\)"),
        ([3], [3, 1], r"one logit per row is \[num_rows, 1\].*student \(3, 1\)"),
        ([3, 2], [3, 1], r"same rows and candidates. Received: teacher \(3, 2\), student \(3, 1\)"),
        ([2, 1], [3, 1], "same rows and candidates"),
    ],
)
def test_other_shapes_are_refused(teacher, student, words):
    with pytest.raises(ValueError, match=words):
        SoftTargetBinaryCrossEntropy()(tf.zeros(teacher), tf.zeros(student))


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf"), "2", None])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(
        ValueError, match=r"`temperature` must be a finite number greater than 0.*Received: temp"
    ):
        SoftTargetBinaryCrossEntropy(temperature=temperature)


def test_the_temperature_can_be_a_variable(logits):
    loss = SoftTargetBinaryCrossEntropy()
    loss.temperature = tf.Variable(3.0)
    teacher, student = logits
    np.testing.assert_allclose(
        rows(loss, teacher, student), reference(teacher, student, 3.0), rtol=1e-6
    )
    assert loss.get_config()["temperature"] == 3.0


def test_round_trip_by_value_and_behaviour(logits):
    loss = SoftTargetBinaryCrossEntropy(temperature=3.0, reduction="sum", name="soft")
    again = tf.keras.losses.deserialize(tf.keras.losses.serialize(loss))
    assert isinstance(again, SoftTargetBinaryCrossEntropy)
    assert (again.temperature, again.reduction, again.name) == (3.0, "sum", "soft")
    teacher, student = (np.float32(part) for part in logits)
    np.testing.assert_array_equal(again(teacher, student), loss(teacher, student))
    weights = [0.0, 2.0, 1.0, 0.0, 0.0]
    expected = (reference(teacher, student, 3.0) * weights).sum()
    np.testing.assert_allclose(loss(teacher, student, sample_weight=weights), expected, rtol=1e-6)
