"""The soft-target KL: by hand, against float64, its invariances, its gradient, its errors."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.losses import SoftTargetKLDivergence

LN = math.log


def reference(teacher, student, temperature):
    """Five lines of float64, one value per row."""

    def log_softmax(logits):
        shifted = np.float64(logits) / temperature
        shifted = shifted - shifted.max(axis=-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))

    p, q = log_softmax(teacher), log_softmax(student)
    return temperature**2 * (np.exp(p) * (p - q)).sum(axis=-1)


def rows(loss, teacher, student):
    """One value per example."""
    return loss.call(tf.constant(teacher, tf.float32), tf.constant(student, tf.float32)).numpy()


@pytest.fixture
def logits():
    random = np.random.default_rng(1)
    return random.normal(size=(4, 6)), random.normal(size=(4, 6))


@pytest.mark.parametrize(
    ("teacher", "student", "expected"),
    [
        ([LN(3), 0.0], [0.0, 0.0], 3 / 4 * LN(3 / 2) + 1 / 4 * LN(1 / 2)),
        ([0.0, 0.0], [LN(3), 0.0], 1 / 2 * LN(2 / 3) + 1 / 2 * LN(2)),
        ([LN(1), LN(2), LN(3)], [0.0] * 3, 1 / 6 * LN(1 / 2) + 1 / 2 * LN(3 / 2)),
    ],
)
def test_by_hand_at_temperature_1(teacher, student, expected):
    value = SoftTargetKLDivergence()([teacher], [student])
    np.testing.assert_allclose(value, expected, atol=1e-6)


def test_by_hand_at_temperature_2():
    # Halved logits: teacher [ln 3, 0] again, so temperature**2 = 4 times the value at 1.
    value = SoftTargetKLDivergence(temperature=2.0)([[LN(9), 0.0]], [[0.0, 0.0]])
    np.testing.assert_allclose(value, 4 * (3 / 4 * LN(3 / 2) + 1 / 4 * LN(1 / 2)), atol=4e-6)


@pytest.mark.parametrize("temperature", [0.5, 1, 2.0, 7.5])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 60.0])
def test_float64_reference(logits, temperature, scale):
    teacher, student = (np.float32(scale * part) for part in logits)
    # float32's error in a difference of log-probabilities grows with the logits and, through the
    # factor, with temperature**2.
    tolerance = 1e-6 * temperature**2 * max(1.0, scale / temperature)
    np.testing.assert_allclose(
        rows(SoftTargetKLDivergence(temperature), teacher, student),
        reference(teacher, student, temperature),
        atol=tolerance,
    )


def test_batch_is_the_mean_of_its_rows(logits):
    teacher, student = (np.float32(part) for part in logits)
    expected = reference(teacher, student, 2.0).mean()
    np.testing.assert_allclose(SoftTargetKLDivergence(2.0)(teacher, student), expected, atol=4e-6)
    halves = [
        float(SoftTargetKLDivergence(2.0)(teacher[half], student[half]))
        for half in (slice(0, 2), slice(2, 4))
    ]
    np.testing.assert_allclose(np.mean(halves), expected, atol=4e-6)


def test_sample_weight_and_reduction_equal_those_of_keras(logits):
    teacher, student = (np.float32(part) for part in logits)
    expected = reference(teacher, student, 1.0)
    loss = SoftTargetKLDivergence(reduction="none")
    np.testing.assert_allclose(loss(teacher, student), expected, atol=1e-6)
    weights = [0.0, 2.0, 1.0, 0.0]
    np.testing.assert_allclose(
        loss(teacher, student, sample_weight=weights), expected * weights, atol=2e-6
    )


def test_zero_at_equality_and_positive_elsewhere(logits):
    teacher, student = logits
    np.testing.assert_array_equal(rows(SoftTargetKLDivergence(3.0), teacher, teacher), 0.0)
    assert (rows(SoftTargetKLDivergence(3.0), teacher, student) > 1e-3).all()


def test_unmoved_by_shift_and_permutation(logits):
    teacher, student = logits
    loss = SoftTargetKLDivergence(2.0)
    expected = rows(loss, teacher, student)
    shifted = rows(loss, teacher + 5.0, student - 3.0)
    np.testing.assert_allclose(shifted, expected, atol=2e-5)  # a shift of 5 costs 3 bits
    order = np.random.default_rng(2).permutation(6)
    np.testing.assert_allclose(
        rows(loss, teacher[:, order], student[:, order]), expected, atol=4e-6
    )


def test_changes_with_the_teacher_and_is_not_symmetric(logits):
    teacher, student = logits
    loss = SoftTargetKLDivergence()
    changed = teacher.copy()
    changed[:, 0] += 1.0
    difference = rows(loss, changed, student) - rows(loss, teacher, student)
    assert (abs(difference) > 1e-3).all()
    assert (abs(rows(loss, teacher, student) - rows(loss, student, teacher)) > 1e-3).all()


def test_high_temperature_gradient_is_the_centred_logit_difference(logits):
    teacher, student = (part - part.mean(axis=1, keepdims=True) for part in logits)
    student = tf.Variable(student, dtype=tf.float32)
    with tf.GradientTape() as tape:
        value = SoftTargetKLDivergence(100.0).call(tf.constant(teacher, tf.float32), student)
    # Hinton et al., equation 4, times temperature**2: (student - teacher) / num_candidates; the
    # next term of the expansion is of the order logits**2 / temperature = 4 %.
    np.testing.assert_allclose(
        tape.gradient(value, student), (student - teacher) / 6, atol=0.04 * abs(teacher).max()
    )


def test_gradient_is_temperature_times_the_difference_of_probabilities():
    student = tf.Variable([[0.0, 0.0]])
    with tf.GradientTape() as tape:
        value = SoftTargetKLDivergence(2.0).call(tf.constant([[LN(9), 0.0]]), student)
    # d/ds = temperature * (q - p) = 2 * ([1/2, 1/2] - [3/4, 1/4])
    np.testing.assert_allclose(tape.gradient(value, student), [[-0.5, 0.5]], atol=1e-6)


def test_huge_logits_do_not_saturate():
    # p = [1, 0] to float32, log q = [-200, 0]: KL = 200. Clipped probabilities would give 16.
    value = SoftTargetKLDivergence()([[200.0, 0.0]], [[0.0, 200.0]])
    np.testing.assert_allclose(value, 200.0, rtol=1e-6)
    student = tf.Variable([[0.0, 3e30]])
    with tf.GradientTape() as tape:
        value = SoftTargetKLDivergence().call(tf.constant([[3e30, 0.0]]), student)
    np.testing.assert_allclose(value, [3e30], rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(value, student), [[-1.0, 1.0]], atol=1e-6)


def test_half_precision_logits_are_computed_in_float32():
    teacher, student = (
        tf.constant([[11.0, 0.0]], tf.float16),
        tf.constant([[0.0, 11.0]], tf.float16),
    )
    value = SoftTargetKLDivergence().call(teacher, student)
    assert value.dtype == tf.float32
    np.testing.assert_allclose(value, reference([[11.0, 0.0]], [[0.0, 11.0]], 1.0), rtol=1e-6)


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf"), "2", None])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(
        ValueError, match=r"`temperature` must be a finite number greater than 0.*Received: temp"
    ):
        SoftTargetKLDivergence(temperature=temperature)


def test_a_single_logit_is_refused():
    with pytest.raises(ValueError, match=r"at least 2 candidates.*Received: .*\(3, 1\).*Binary"):
        SoftTargetKLDivergence()(tf.zeros([3, 1]), tf.zeros([3, 1]))


def test_round_trip_by_value_and_behaviour(logits):
    loss = SoftTargetKLDivergence(temperature=3.0, reduction="sum", name="kl")
    again = tf.keras.losses.deserialize(tf.keras.losses.serialize(loss))
    assert isinstance(again, SoftTargetKLDivergence)
    assert (again.temperature, again.reduction, again.name) == (3.0, "sum", "kl")
    teacher, student = (np.float32(part) for part in logits)
    np.testing.assert_array_equal(again(teacher, student), loss(teacher, student))


def without_cancellation(teacher, student, temperature):
    """`sum_j p_j (exp(-u_j) - 1 + u_j)`, u = log p - log q, in float64: no term is negative."""
    u = log_softmax(teacher / temperature) - log_softmax(student / temperature)
    terms = np.where(abs(u) < 1e-3, u**2 / 2 - u**3 / 6 + u**4 / 24, np.expm1(-u) + u)
    return temperature**2 * (np.exp(log_softmax(teacher / temperature)) * terms).sum(axis=-1)


def log_softmax(logits):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0, 100.0, 1000.0])
@pytest.mark.parametrize("near", [False, True], ids=["apart", "near"])
@pytest.mark.parametrize("width", [6, 350])
def test_small_divergences_keep_their_digits(width, near, temperature):
    random = np.random.default_rng(0)
    teacher, noise = np.float32(3.0 * random.normal(size=(2, 200, width)))
    student = teacher + np.float32(0.01) * noise if near else noise
    value = rows(SoftTargetKLDivergence(temperature), teacher, student)
    assert (value >= 0).all()
    expected = without_cancellation(np.float64(teacher), np.float64(student), temperature)
    np.testing.assert_allclose(value, expected, rtol=1e-3)
    small = expected < 1e-3 * temperature**2
    np.testing.assert_allclose(value[small], expected[small], rtol=1e-5)


def test_a_batch_of_small_and_large_divergences_and_one_of_nan():
    random = np.random.default_rng(0)
    teacher, noise = np.float32(random.normal(size=(2, 4, 5)))
    student = teacher + np.float32([[1e-3], [5.0], [0.3], [0.0]]) * noise
    student[3] = np.nan
    value = rows(SoftTargetKLDivergence(2.0), teacher, student)
    expected = without_cancellation(np.float64(teacher), np.float64(student), 2.0)
    np.testing.assert_allclose(value, expected, rtol=1e-5)  # NaN equals NaN


MASKS = pytest.mark.parametrize("mask", [-np.inf, np.finfo(np.float32).min])


@MASKS
@pytest.mark.parametrize("near", [False, True])
def test_a_masked_candidate_is_ignored(logits, mask, near):
    teacher, student = (np.float32(part) for part in logits)
    if near:
        student = teacher + np.float32(0.01) * student
    expected = without_cancellation(*(np.float64(p[:, 1:]) for p in (teacher, student)), 0.5)
    teacher[:, 0] = student[:, 0] = mask
    student = tf.Variable(student)
    with tf.GradientTape() as tape:
        value = SoftTargetKLDivergence(0.5).call(tf.constant(teacher), student)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    gradient = tape.gradient(value, student).numpy()
    np.testing.assert_array_equal(gradient[:, 0], 0.0)
    assert np.isfinite(gradient).all()


@MASKS
def test_candidates_masked_by_the_teacher_alone_have_a_soft_target_of_0(mask):
    # p = [0, 1], q = [3/4, 1/4].
    value = SoftTargetKLDivergence(0.5)([[mask, 0.0]], [[LN(3) / 2, 0.0]])
    np.testing.assert_allclose(value, 0.25 * LN(4), rtol=1e-6)


def test_an_undefined_divergence_is_infinite_or_nan():
    loss = SoftTargetKLDivergence()
    impossible = rows(loss, [[0.0, 0.0]], [[-np.inf, 0.0]])
    np.testing.assert_array_equal(impossible, [np.inf])
    assert np.isnan(rows(loss, [[-np.inf, -np.inf]], [[0.0, 0.0]])).all()


def test_more_axes_before_the_candidates_give_one_divergence_each():
    teacher, student = np.random.default_rng(0).normal(size=(2, 2, 3, 5)).astype(np.float32)
    loss = SoftTargetKLDivergence(temperature=2.0)
    flat = loss.call(teacher.reshape(6, 5), student.reshape(6, 5))
    np.testing.assert_allclose(loss.call(teacher, student), tf.reshape(flat, [2, 3]), rtol=1e-6)
