"""Pairs in the teacher's order: by hand, against float64 loops, empty slots, errors."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.losses import PairwiseDistillation
from tfrs_distill.losses.candidate_lists import MASKED

LN = math.log


def call(loss, teacher, student):
    """Values and gradient of a batch."""
    student = tf.Variable(student, dtype=tf.float32)
    with tf.GradientTape() as tape:
        values = loss.call(tf.constant(teacher, tf.float32), student)
    return values.numpy(), tape.gradient(values, student).numpy()


def reference(teacher, student, temperature=1.0, ndcg_weights=False):
    """One list, float64, pair by pair."""
    there = [i for i, logit in enumerate(teacher) if logit > -1e29]
    rank = {
        i: 1 + sum(student[j] > student[i] or (student[j] == student[i] and teacher[j] > teacher[i])
                   for j in there)
        for i in there
    }  # fmt: skip
    total = weights = 0.0
    for i in there:
        for j in there:
            if teacher[i] > teacher[j]:
                weight = 1.0
                if ndcg_weights:
                    most = max(teacher[slot] for slot in there)
                    weight = math.exp(teacher[i] - most) - math.exp(teacher[j] - most)
                    weight *= abs(1 / math.log2(1 + rank[i]) - 1 / math.log2(1 + rank[j]))
                margin = (student[i] - student[j]) / temperature
                total += weight * temperature * np.logaddexp(0, -margin)
                weights += weight
    return total / weights if weights else 0.0


@pytest.fixture
def lists():
    """Lists of 6, 4 and 2 candidates among empty slots, with ties of the teacher's."""
    random = np.random.default_rng(3)
    teacher, student = random.normal(size=(2, 3, 6))
    teacher[0, 4] = teacher[0, 1]
    teacher[1, [0, 3]] = teacher[2, [0, 1, 2, 5]] = -np.inf
    return teacher, student


def masked(teacher):
    return np.float32(np.where(np.isinf(teacher), MASKED, teacher))


@pytest.mark.parametrize(
    ("teacher", "student", "expected"),
    [
        ([2.0, 1.0], [0.0, 0.0], LN(2)),
        ([2.0, 1.0], [LN(3), 0.0], LN(4 / 3)),
        ([1.0, 2.0], [LN(3), 0.0], LN(4)),
        ([9.0, 5.0, 1.0], [LN(2), 0.0, LN(4)], (LN(3 / 2) + LN(3) + LN(5)) / 3),
        ([9.0, 9.0, 1.0], [LN(2), 0.0, LN(4)], (LN(3) + LN(5)) / 2),  # ties are not a pair
    ],
)
def test_by_hand(teacher, student, expected):
    values, _ = call(PairwiseDistillation(), [teacher], [student])
    np.testing.assert_allclose(values, [expected], rtol=1e-6)


def test_ndcg_weights_by_hand():
    # Gains 1, 1/2, 1/4; the student has them in places 3, 2, 1: discounts 1/2, 1/log2(3), 1.
    third = 1 / math.log2(3)
    weights = np.array([1 / 2 * (third - 1 / 2), 3 / 4 * 1 / 2, 1 / 4 * (1 - third)])
    losses = np.array([LN(1 + 2), LN(1 + 6), LN(1 + 3)])
    values, _ = call(
        PairwiseDistillation(ndcg_weights=True),
        [[0.0, -LN(2), -LN(4)]],
        [[0.0, LN(2), LN(6)]],
    )
    np.testing.assert_allclose(values, [weights @ losses / weights.sum()], rtol=2e-6)


@pytest.mark.parametrize("temperature", [0.5, 1, 4.0])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 60.0])
@pytest.mark.parametrize("ndcg_weights", [False, True])
def test_float64_reference(lists, temperature, scale, ndcg_weights):
    teacher, student = masked(lists[0]), np.float32(scale * lists[1])
    loss = PairwiseDistillation(temperature, ndcg_weights=ndcg_weights)
    expected = [
        reference(*pair, temperature, ndcg_weights)
        for pair in zip(np.float64(teacher), np.float64(student))
    ]
    # Weights and logarithms are each rounded to 6e-8 of themselves, in up to 15 pairs.
    np.testing.assert_allclose(call(loss, teacher, student)[0], expected, rtol=3e-6)


@pytest.mark.parametrize("ndcg_weights", [False, True])
def test_gradient_is_the_slope_of_the_float64_reference(lists, ndcg_weights):
    teacher, student = np.float64(masked(lists[0])), np.float64(np.float32(lists[1]))
    _, gradient = call(PairwiseDistillation(2.0, ndcg_weights), teacher, student)
    step = 1e-6  # too small to change a rank, so the weights stay as they are
    expected = np.zeros(student.shape)
    for row, slot in np.ndindex(*student.shape):
        change = np.zeros(6)
        change[slot] = step
        up, down = (
            reference(teacher[row], student[row] + sign * change, 2.0, ndcg_weights)
            for sign in (1, -1)
        )
        expected[row, slot] = (up - down) / (2 * step)
    # Differences of float64 values of size 1 are off by 1e-16 / step; float32 by a few 1e-7.
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("ndcg_weights", [False, True])
def test_empty_slots_have_no_influence(lists, ndcg_weights):
    loss = PairwiseDistillation(ndcg_weights=ndcg_weights)
    teacher, student = masked(lists[0]), np.float32(lists[1])
    values, gradient = call(loss, teacher, student)
    for nonsense in (math.nan, 1e30, MASKED):
        again, its_gradient = call(loss, teacher, np.where(np.isinf(lists[0]), nonsense, student))
        np.testing.assert_array_equal(again, values)
        np.testing.assert_array_equal(its_gradient, gradient)
    assert (gradient[np.isinf(lists[0])] == 0).all()
    short = [1, 2, 4, 5]
    alone, _ = call(loss, teacher[1:2, short], student[1:2, short])
    np.testing.assert_allclose(alone, values[1:2], rtol=1e-6)


def test_lists_without_a_pair_give_0():
    teacher = [[1.0, MASKED, MASKED], [MASKED] * 3, [2.0, 2.0, 2.0]]
    values, gradient = call(PairwiseDistillation(), teacher, [[1.0, 2.0, 3.0]] * 3)
    np.testing.assert_array_equal(values, [0.0, 0.0, 0.0])
    np.testing.assert_array_equal(gradient, np.zeros((3, 3)))


def test_without_weights_only_the_teachers_order_matters(lists):
    teacher, student = lists
    ranks = np.argsort(np.argsort(teacher[:1])) * 100.0 - 7.0
    ranks[0, 4] = ranks[0, 1]
    np.testing.assert_array_equal(
        call(PairwiseDistillation(), teacher[:1], student[:1])[0],
        call(PairwiseDistillation(), ranks, student[:1])[0],
    )
    backwards = call(PairwiseDistillation(), -teacher[:1], student[:1])[0]
    assert abs(backwards - call(PairwiseDistillation(), teacher[:1], student[:1])[0]) > 1e-2


def test_an_untrained_student_learns_with_ndcg_weights_too():
    # Its equal logits are ranked in the teacher's order, so that no pair has weight 0.
    values, gradient = call(PairwiseDistillation(ndcg_weights=True), [[1.0, 3.0, 2.0]], [[0.0] * 3])
    np.testing.assert_allclose(values, [LN(2)], rtol=1e-6)
    assert gradient[0, 1] < -0.1 and gradient[0, 0] > 0.1


def test_a_small_temperature_leaves_the_distance_of_wrongly_ordered_pairs():
    values, gradient = call(PairwiseDistillation(1e-3), [[2.0, 1.0]] * 2, [[0.0, 3.0], [3.0, 0.0]])
    np.testing.assert_allclose(values, [3.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(gradient, [[-1.0, 1.0], [0.0, 0.0]], atol=1e-6)


def test_huge_logits_do_not_overflow():
    values, gradient = call(PairwiseDistillation(), [[2.0, 1.0]], [[-1e30, 1e30]])
    np.testing.assert_allclose(values, [2e30], rtol=1e-6)
    np.testing.assert_array_equal(gradient, [[-1.0, 1.0]])


def test_very_negative_teacher_logits_do_not_overflow_in_padded_lists():
    loss, student = PairwiseDistillation(ndcg_weights=True), [[0.0, 1.0, 0.0]]
    low, _ = call(loss, [[-200.0, -201.0, MASKED]], student)
    np.testing.assert_allclose(low, call(loss, [[2.0, 1.0, MASKED]], student)[0], rtol=1e-5)


def test_no_gradient_goes_to_the_teacher():
    teacher, student = tf.Variable([[2.0, 1.0]]), tf.Variable([[0.0, 1.0]])
    with tf.GradientTape() as tape:
        value = PairwiseDistillation(ndcg_weights=True).call(teacher, student)
    assert tape.gradient(value, teacher) is None


@pytest.mark.parametrize("teacher", [[math.nan, 1.0, 2.0], [math.nan] * 3])
@pytest.mark.parametrize("ndcg_weights", [False, True])
def test_a_nan_teacher_gives_a_nan_loss(teacher, ndcg_weights):
    values, _ = call(
        PairwiseDistillation(ndcg_weights=ndcg_weights), [teacher, [1.0, 2.0, 3.0]], [[0.0] * 3] * 2
    )
    assert np.isnan(values).tolist() == [True, False]


@pytest.mark.parametrize("ndcg_weights", [False, True])
def test_half_precision_logits_are_computed_in_float32(ndcg_weights):
    values = PairwiseDistillation(ndcg_weights=ndcg_weights).call(
        tf.constant([[2.0, 1.0, -np.inf], [-np.inf] * 3], tf.float16),  # what MASKED becomes
        tf.constant([[0.0, 12.0, 0.0]] * 2, tf.float16),
    )
    assert values.dtype == tf.float32
    np.testing.assert_allclose(values, [np.logaddexp(0, 12.0), 0.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("teacher", "student", "words"),
    [
        ([3, 1], [3, 1], r"needs at least 2 logits per row. Received: teacher \(3, 1\)"),
        ([3], [3], r"needs logits \[num_rows, width\]"),
        ([3, 2], [3, 4], "same rows and candidates"),
    ],
)
def test_invalid_lists_are_refused(teacher, student, words):
    with pytest.raises(ValueError, match=words):
        PairwiseDistillation()(tf.zeros(teacher), tf.zeros(student))


def test_temperature_must_be_positive():
    with pytest.raises(ValueError, match=r"`temperature` must be .* Received: temperature=0\."):
        PairwiseDistillation(temperature=0)


def test_it_is_a_list_loss_and_works_in_a_graph_with_a_changed_temperature(lists):
    assert PairwiseDistillation.of_lists is True
    loss = PairwiseDistillation()
    loss.temperature = tf.Variable(2.0)
    any_lists = tf.TensorSpec([None, None], tf.float32)
    graph = tf.function(loss.call, input_signature=[any_lists, any_lists])
    teacher, student = masked(lists[0]), np.float32(lists[1])
    np.testing.assert_allclose(
        graph(teacher, student), call(PairwiseDistillation(2.0), teacher, student)[0], rtol=1e-6
    )


def test_round_trip_by_value_and_behaviour(lists):
    loss = PairwiseDistillation(3.0, ndcg_weights=True, reduction="sum", name="pairs")
    again = tf.keras.losses.deserialize(tf.keras.losses.serialize(loss))
    assert isinstance(again, PairwiseDistillation)
    assert (again.temperature, again.ndcg_weights, again.reduction, again.name) == (
        3.0,
        True,
        "sum",
        "pairs",
    )
    teacher, student = masked(lists[0]), np.float32(lists[1])
    np.testing.assert_array_equal(again(teacher, student), loss(teacher, student))
