"""Top-K and the sum of the rest: a complete distribution, coarse-grained and exact."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.knowledge.top_k_knowledge import align_top_k, summarise_top_k
from tfrs_distill.losses import SoftTargetKLDivergence

NUM_ROWS, NUM_ITEMS = 4, 10


def logits_of(seed, scale=2.0):
    return np.float32(scale * np.random.default_rng(seed).normal(size=(NUM_ROWS, NUM_ITEMS)))


def softmax(logits, temperature):
    exponentials = np.exp(np.float64(logits) / temperature)
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def coarse(probabilities, order, k):
    """The k best of `order` and the sum of all others."""
    top = np.take_along_axis(probabilities, order[:, :k], axis=1)
    rest = np.take_along_axis(probabilities, order[:, k:], axis=1).sum(axis=1, keepdims=True)
    return np.concatenate([top, rest], axis=1)


def aligned(teacher, student, k, temperature):
    ids, values, tail = summarise_top_k(tf.constant(teacher), k, (temperature,))
    student = tf.convert_to_tensor(student)
    return align_top_k(student, ids, values, tail[:, 0], temperature)


@pytest.mark.parametrize("k", [1, 3, NUM_ITEMS - 1])
def test_the_top_k_is_exact_and_the_tail_is_the_sum_of_the_rest(k):
    logits = logits_of(0)
    ids, values, tail = summarise_top_k(tf.constant(logits), k, (1.0, 2.5))
    assert (ids.shape, values.shape, tail.shape) == ((4, k), (4, k), (4, 2))
    assert ids.dtype == tf.int32
    order = np.argsort(-logits, axis=1)
    np.testing.assert_array_equal(ids, order[:, :k] + 1)
    np.testing.assert_array_equal(values, np.take_along_axis(logits, order[:, :k], axis=1))
    for column, temperature in enumerate((1.0, 2.5)):
        rest = np.take_along_axis(np.float64(logits), order[:, k:], axis=1) / temperature
        np.testing.assert_allclose(tail[:, column], np.log(np.exp(rest).sum(axis=1)), atol=1e-6)
        whole = np.exp(np.float64(logits) / temperature).sum(axis=1)
        top_and_tail = np.exp(np.float64(values) / temperature).sum(axis=1) + np.exp(
            np.float64(tail[:, column])
        )
        np.testing.assert_allclose(top_and_tail, whole, rtol=1e-6)


def test_by_hand():
    # Probabilities 6/12, 3/12, 2/12, 1/12; the rest after 2 is 3/12.
    logits = tf.constant([np.log([2, 6, 1, 3])], tf.float32)
    ids, values, tail = summarise_top_k(logits, 2, (1.0,))
    assert ids.numpy().tolist() == [[2, 4]]
    np.testing.assert_allclose(np.exp(values), [[6, 3]], rtol=1e-6)
    np.testing.assert_allclose(np.exp(tail), [[3]], rtol=1e-6)


def test_a_tiny_tail_keeps_its_digits():
    # In float32 log(sum of all - sum of top) would be log(0).
    logits = tf.constant([[60.0, 59.0, -40.0, -41.0]])
    _, _, tail = summarise_top_k(logits, 2, (1.0,))
    np.testing.assert_allclose(tail, [[-40 + np.log1p(np.exp(-1))]], rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("k", [1, 4, NUM_ITEMS - 1])
def test_a_softmax_over_top_and_rest_gives_the_exact_probabilities(k, temperature):
    teacher, student = logits_of(0), logits_of(1)
    order = np.argsort(-teacher, axis=1)
    for logits, original in zip(aligned(teacher, student, k, temperature), (teacher, student)):
        assert logits.shape == (NUM_ROWS, k + 1)
        np.testing.assert_allclose(
            tf.nn.softmax(logits / temperature),
            coarse(softmax(original, temperature), order, k),
            atol=1e-6,
        )


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_kl_over_top_and_rest_against_float64(temperature, scale):
    teacher, student = logits_of(0, scale), logits_of(1, scale)
    order = np.argsort(-teacher, axis=1)
    p, q = (coarse(softmax(logits, temperature), order, 3) for logits in (teacher, student))
    expected = temperature**2 * (p * np.log(p / q)).sum(axis=1)
    loss = SoftTargetKLDivergence(temperature).call(*aligned(teacher, student, 3, temperature))
    np.testing.assert_allclose(loss, expected, atol=2e-6 * temperature**2 * max(scale, 1.0))


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_gradient_in_closed_form(temperature):
    teacher, student = logits_of(0), tf.Variable(logits_of(1))
    with tf.GradientTape() as tape:
        loss = SoftTargetKLDivergence(temperature).call(*aligned(teacher, student, 3, temperature))
    # Kept item j: temperature * (q_j - p_j). Another: its share of the rest, times
    # temperature * (q_rest - p_rest).
    order = np.argsort(-teacher, axis=1)
    p, q = softmax(teacher, temperature), softmax(student.numpy(), temperature)
    expected = temperature * (q - p)
    for row in range(NUM_ROWS):
        rest = order[row, 3:]
        share = q[row, rest] / q[row, rest].sum()
        expected[row, rest] = temperature * share * (q[row, rest].sum() - p[row, rest].sum())
    np.testing.assert_allclose(tape.gradient(loss, student), expected, atol=2e-6)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_a_student_equal_to_the_teacher_has_no_loss(temperature):
    teacher = logits_of(0)
    student = tf.Variable(teacher + 3.0)  # a shift makes no difference
    with tf.GradientTape() as tape:
        loss = SoftTargetKLDivergence(temperature).call(*aligned(teacher, student, 3, temperature))
    np.testing.assert_allclose(loss, np.zeros(NUM_ROWS), atol=1e-6)
    np.testing.assert_allclose(tape.gradient(loss, student), 0.0, atol=1e-6)


def test_a_tiny_tail_gives_a_finite_loss_and_gradient():
    teacher = np.float32([[80.0, 79.0, -80.0, -81.0]])
    student = tf.Variable([[-80.0, 79.0, 80.0, 81.0]])
    with tf.GradientTape() as tape:
        loss = SoftTargetKLDivergence().call(*aligned(teacher, student, 2, 1.0))
    p, q = softmax(teacher, 1.0), softmax(student.numpy(), 1.0)
    p, q = (np.array([each[0, 0], each[0, 1], each[0, 2:].sum()]) for each in (p, q))
    np.testing.assert_allclose(loss, [(p * np.log(p / q)).sum()], rtol=1e-6)
    gradient = tape.gradient(loss, student).numpy()
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient.sum(), 0.0, atol=1e-6)


def test_ties_are_cut_without_losing_probability():
    teacher = np.zeros((1, 6), np.float32)
    teacher_logits, _ = aligned(teacher, tf.constant(teacher), 2, 1.0)
    np.testing.assert_allclose(tf.nn.softmax(teacher_logits), [[1 / 6, 1 / 6, 4 / 6]], rtol=1e-6)


@pytest.mark.parametrize("gap", [3.0, 12.0, 30.0, 80.0])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_rest_too_small_for_subtraction_is_still_exact(gap, temperature):
    """With 3 equal items behind 2 others its log-sum-exp is ln 3 + their logit, however small."""
    student = np.float32([[gap, gap - 1.0, 0.0, 0.0, 0.0]])
    ids, values, tail = summarise_top_k(tf.constant(student), 2, (temperature,))
    _, aligned_student = align_top_k(tf.constant(student), ids, values, tail[:, 0], temperature)
    # The subtraction is used down to a rest of 1 %, where float32 leaves it five digits.
    expected = temperature * np.log(3.0)
    np.testing.assert_allclose(aligned_student[0, -1], expected, atol=1e-4)


@pytest.mark.parametrize("scale", [0.1, 1.0, 4.8, 6.8, 30.0])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 10.0])
def test_gradient_against_float64_for_any_size_of_the_rest(temperature, scale):
    """Kept item j: T (q_j - p_j). Another: its share of the rest, times T (q_rest - p_rest)."""
    num_items = 60
    random = np.random.default_rng(0)
    teacher = np.float32(2.0 * random.normal(size=(8, num_items)))
    logits = np.float32(scale * random.normal(size=(8, num_items)))
    order = np.argsort(-teacher, axis=1)
    p, q = softmax(teacher, temperature), stable_softmax(logits, temperature)
    for k in (1, 5, 30, num_items - 1):
        student = tf.Variable(logits)
        with tf.GradientTape() as tape:
            pair = aligned(teacher, student, k, temperature)
            loss = SoftTargetKLDivergence(temperature).call(*pair)
        expected = temperature * (q - p)
        rest = order[:, k:]
        share = stable_softmax(np.take_along_axis(logits, rest, axis=1), temperature)
        of_rest = np.take_along_axis(expected, rest, axis=1).sum(axis=1, keepdims=True)
        np.put_along_axis(expected, rest, share * of_rest, axis=1)
        # A logit of size x is rounded by 6e-8 x, and so, relatively, is its probability.
        atol = 3e-7 * temperature * max(1.0, np.abs(logits).max() / temperature)
        np.testing.assert_allclose(tape.gradient(loss, student), expected, atol=atol)


def stable_softmax(logits, temperature):
    shifted = np.float64(logits) - logits.max(axis=1, keepdims=True)
    return softmax(shifted, temperature)
