"""Ranking Distillation: by hand, against float64 loops, empty slots, errors."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.losses import RankingDistillation
from tfrs_distill.losses.candidate_lists import MASKED

LN = math.log


def call(loss, teacher, student):
    """Values and gradient of a batch."""
    student = tf.Variable(student, dtype=tf.float32)
    with tf.GradientTape() as tape:
        values = loss.call(tf.constant(teacher, tf.float32), student)
    return values.numpy(), tape.gradient(values, student).numpy()


def reference(teacher, student, k, position_decay, discrepancy):
    """One list, float64: value and gradient, rank by rank."""
    order = [slot for slot in np.argsort(-teacher, kind="stable") if teacher[slot] > -1e29]
    falling = [math.exp(-place / position_decay) for place in range(1, len(order) + 1)][:k]
    value, gradient = 0.0, np.zeros(len(teacher))
    for place, (slot, weight) in enumerate(zip(order, falling), start=1):
        rank = sum(student[other] >= student[slot] for other in order)
        weight *= max(math.tanh(discrepancy * (rank - place)), 0.0) / sum(falling)
        value += weight * np.logaddexp(0, -student[slot])
        gradient[slot] -= weight / (1 + math.exp(student[slot]))
    return value, gradient


@pytest.fixture
def lists():
    """Lists of 6, 4 and 2 candidates among empty slots."""
    random = np.random.default_rng(3)
    teacher, student = random.normal(size=(2, 3, 6))
    teacher[1, [0, 3]] = teacher[2, [0, 1, 2, 5]] = MASKED
    return np.float32(teacher), np.float32(student)


def test_by_hand():
    # The teacher's best is third, its second second, its third first.
    loss = RankingDistillation(k=2, position_decay=1.0, discrepancy=0.5)
    values, gradient = call(loss, [[3.0, 2.0, 1.0]], [[0.0, LN(3), LN(4)]])
    weight = math.exp(-1) / (math.exp(-1) + math.exp(-2)) * math.tanh(1.0)
    np.testing.assert_allclose(values, [weight * LN(2)], rtol=1e-6)
    np.testing.assert_allclose(gradient, [[-weight / 2, 0.0, 0.0]], rtol=1e-6)


def test_a_slow_decay_weights_all_ranks_equally():
    loss = RankingDistillation(k=2, position_decay=1e6, discrepancy=1e6)
    values, _ = call(loss, [[4.0, 3.0, 2.0, 1.0]], [[0.0, LN(3), 5.0, 6.0]])
    np.testing.assert_allclose(values, [(LN(2) + LN(4 / 3)) / 2], rtol=1e-5)


@pytest.mark.parametrize("k", [1, 3, 99])
@pytest.mark.parametrize("position_decay", [0.01, 1.0, 10])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 60.0])
def test_float64_reference_and_its_gradient(lists, scale, k, position_decay):
    teacher, student = lists[0], np.float32(scale * lists[1])
    values, gradient = call(RankingDistillation(k, position_decay, 0.1), teacher, student)
    expected = [
        reference(t, np.float64(s), k, position_decay, 0.1) for t, s in zip(teacher, student)
    ]
    # Weights are off by some 1e-7 of themselves, the logarithms as well.
    np.testing.assert_allclose(values, [value for value, _ in expected], rtol=2e-6, atol=1e-9)
    np.testing.assert_allclose(gradient, [slopes for _, slopes in expected], rtol=1e-5, atol=1e-7)


def test_a_student_with_the_teachers_ranking_has_no_gradient(lists):
    teacher, _ = lists
    values, gradient = call(RankingDistillation(6, 1.0, 0.1), teacher, 0.1 * teacher)
    np.testing.assert_array_equal(values, np.zeros(3))
    np.testing.assert_array_equal(gradient, np.zeros((3, 6)))


def test_candidates_with_equal_student_logits_share_the_lowest_of_their_ranks():
    loss = RankingDistillation(1, 1.0, 0.5)
    # The teacher's best shares ranks 1 and 2, then ranks 2 and 3.
    values, _ = call(loss, [[3.0, 2.0, 1.0]] * 2, [[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(values, np.tanh([0.5, 1.0]) * LN(2), rtol=1e-6)
    # A student with equal logits learns the teacher's best.
    _, gradient = call(loss, [[3.0, 2.0, 1.0]], np.zeros((1, 3)))
    np.testing.assert_allclose(gradient, [[-math.tanh(1.0) / 2, 0.0, 0.0]], rtol=1e-6)


def test_empty_slots_have_no_influence(lists):
    teacher, student = lists
    loss = RankingDistillation(3, 2.0, 0.3)
    values, gradient = call(loss, teacher, student)
    empty = teacher < -1e29
    for nonsense in (math.nan, 1e30, MASKED):
        again, its_gradient = call(loss, teacher, np.where(empty, nonsense, student))
        np.testing.assert_array_equal(again, values)
        np.testing.assert_array_equal(its_gradient, gradient)
    assert (gradient[empty] == 0).all()
    short = [1, 2, 4, 5]
    alone, _ = call(loss, teacher[1:2, short], student[1:2, short])
    np.testing.assert_allclose(alone, values[1:2], rtol=1e-6)


def test_lists_of_fewer_than_2_candidates_give_0():
    values, gradient = call(
        RankingDistillation(3, 1.0, 0.1), [[1.0, MASKED], [MASKED, MASKED]], [[1.0, 2.0]] * 2
    )
    np.testing.assert_array_equal(values, [0.0, 0.0])
    np.testing.assert_array_equal(gradient, np.zeros((2, 2)))


def test_no_gradient_goes_to_the_teacher():
    teacher, student = tf.Variable([[2.0, 1.0]]), tf.Variable([[0.0, 1.0]])
    with tf.GradientTape() as tape:
        value = RankingDistillation(1, 1.0, 0.1).call(teacher, student)
    assert tape.gradient(value, teacher) is None


@pytest.mark.parametrize("teacher", [[math.nan, 1.0, 2.0], [2.0, 1.0, math.nan], [math.nan] * 3])
def test_a_nan_teacher_gives_a_nan_loss(teacher):
    values, _ = call(
        RankingDistillation(1, 1.0, 0.1), [teacher, [1.0, 2.0, 3.0]], [[0.0, 1.0, 2.0]] * 2
    )
    assert np.isnan(values).tolist() == [True, False]


def test_half_precision_logits_are_computed_in_float32():
    values = RankingDistillation(1, 1.0, 10.0).call(
        tf.constant([[2.0, 1.0]], tf.float16), tf.constant([[-12.0, 0.0]], tf.float16)
    )
    assert values.dtype == tf.float32
    np.testing.assert_allclose(values, [np.logaddexp(0, 12.0)], rtol=1e-6)  # tanh(10) is 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 1.0, 0.1), r"`k` must be at least 1. Received: k=0"),
        ((2.0, 1.0, 0.1), r"`k` must be at least 1. Received: k=2.0"),
        ((3, 0.0, 0.1), r"`position_decay` must be a finite number greater than 0. Received: pos"),
        ((3, math.nan, 0.1), r"`position_decay` must be"),
        ((3, 1.0, -0.1), r"`discrepancy` must be .* Received: discrepancy=-0.1"),
        ((3, 1.0, math.inf), r"`discrepancy` must be"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        RankingDistillation(*arguments)


def test_a_list_of_one_slot_is_refused():
    with pytest.raises(ValueError, match=r"RankingDistillation needs at least 2 logits per row"):
        RankingDistillation(1, 1.0, 0.1)(tf.zeros([3, 1]), tf.zeros([3, 1]))


def test_it_is_a_list_loss_and_works_in_a_graph_on_a_whole_catalogue():
    assert RankingDistillation.of_lists is True
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(2, 3, 1682)).astype(np.float32)
    any_lists = tf.TensorSpec([None, None], tf.float32)
    loss = RankingDistillation(10, 5.0, 0.01)
    graph = tf.function(loss.call, input_signature=[any_lists, any_lists])
    expected = [reference(t, np.float64(s), 10, 5.0, 0.01)[0] for t, s in zip(teacher, student)]
    np.testing.assert_allclose(graph(teacher, student), expected, rtol=1e-5)


def test_round_trip_by_value_and_behaviour(lists):
    loss = RankingDistillation(2, 3.0, 0.2, reduction="sum", name="ranks")
    again = tf.keras.losses.deserialize(tf.keras.losses.serialize(loss))
    assert isinstance(again, RankingDistillation)
    assert (again.k, again.position_decay, again.discrepancy) == (2, 3.0, 0.2)
    assert (again.reduction, again.name) == ("sum", "ranks")
    np.testing.assert_array_equal(again(*lists), loss(*lists))


@pytest.mark.parametrize("slot", [0, 3])
def test_a_nan_student_below_the_last_position_gives_a_nan_loss(slot):
    student = np.zeros((2, 4), np.float32)
    student[0, slot] = math.nan
    teacher = tf.constant([[4.0, 3.0, 2.0, 1.0]] * 2)
    values = RankingDistillation(1, 1.0, 1.0).call(teacher, tf.constant(student))
    assert np.isnan(values).tolist() == [True, False]
