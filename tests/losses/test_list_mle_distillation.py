"""The likelihood of the teacher's order: by hand, against float64 loops, empty slots, errors."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.losses import ListMLEDistillation
from tfrs_distill.losses.candidate_lists import MASKED

LN = math.log


def call(loss, teacher, student):
    """Values and gradient of a batch."""
    student = tf.Variable(student, dtype=tf.float32)
    with tf.GradientTape() as tape:
        values = loss.call(tf.constant(teacher, tf.float32), student)
    return values.numpy(), tape.gradient(values, student).numpy()


def reference(teacher, student, top_k=None):
    """One list, float64: value and gradient, rank by rank."""
    order = [slot for slot in np.argsort(-teacher, kind="stable") if teacher[slot] > -1e29]
    value, gradient = 0.0, np.zeros(len(teacher))
    for place in range(len(order))[:top_k]:
        left = student[order[place:]]
        largest = left.max()
        log_sum = largest + np.log(np.exp(left - largest).sum())
        value += log_sum - student[order[place]]
        gradient[order[place:]] += np.exp(left - log_sum)
        gradient[order[place]] -= 1.0
    return value, gradient


@pytest.fixture
def lists():
    """Lists of 6, 4 and 2 candidates among empty slots."""
    random = np.random.default_rng(3)
    teacher, student = random.normal(size=(2, 3, 6))
    teacher[1, [0, 3]] = teacher[2, [0, 1, 2, 5]] = MASKED
    return np.float32(teacher), np.float32(student)


@pytest.mark.parametrize(
    ("teacher", "student", "top_k", "expected"),
    [
        ([3.0, 2.0, 1.0], [0.0, 0.0, 0.0], None, LN(6)),
        ([3.0, 2.0, 1.0], [0.0, 0.0, 0.0], 1, LN(3)),
        ([1.0, 2.0, 3.0], [LN(1), LN(2), LN(3)], None, LN(2) + LN(3 / 2)),  # 3/6 * 2/3
        ([3.0, 2.0, 1.0], [LN(1), LN(2), LN(3)], None, LN(6) + LN(5 / 2)),  # 1/6 * 2/5
        ([3.0, 2.0, 1.0], [LN(1), LN(2), LN(3)], 1, LN(6)),
        ([3.0, 2.0, 1.0], [LN(1), LN(2), LN(3)], 9, LN(6) + LN(5 / 2)),
        ([2.0, 2.0, 1.0], [LN(1), LN(2), LN(3)], None, LN(6) + LN(5 / 2)),  # ties: list order
    ],
)
def test_by_hand(teacher, student, top_k, expected):
    values, _ = call(ListMLEDistillation(top_k), [teacher], [student])
    np.testing.assert_allclose(values, [expected], rtol=1e-6)


def test_probabilities_of_all_orders_sum_to_1():
    student = np.random.default_rng(0).normal(size=4)
    orders = np.array(list(itertools.permutations(range(4))), np.float32)
    values, _ = call(ListMLEDistillation(), orders, np.tile(student, (24, 1)))
    np.testing.assert_allclose(np.exp(-np.float64(values)).sum(), 1.0, rtol=1e-6)


@pytest.mark.parametrize("top_k", [None, 1, 3])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 60.0])
def test_float64_reference_and_its_gradient(lists, scale, top_k):
    teacher, student = lists[0], np.float32(scale * lists[1])
    values, gradient = call(ListMLEDistillation(top_k), teacher, student)
    expected = [reference(t, np.float64(s), top_k) for t, s in zip(teacher, student)]
    # Up to 6 places, each the difference of two numbers of the logits' size, rounded to 6e-8 of it.
    np.testing.assert_allclose(
        values, [value for value, _ in expected], rtol=1e-6, atol=4e-7 * max(scale, 1.0)
    )
    np.testing.assert_allclose(
        gradient, [slopes for _, slopes in expected], atol=2e-6 * max(scale, 1.0)
    )


def test_huge_logits_do_not_overflow_or_vanish():
    values, gradient = call(
        ListMLEDistillation(), [[3.0, 2.0, 1.0]] * 2, [[0, 1e4, 0], [0, -1e4, 0]]
    )
    # log(e**1e4 + ...) - 0, then 0; and log 2, then 1e4.
    np.testing.assert_allclose(values, [1e4, 1e4 + LN(2)], rtol=1e-6)
    np.testing.assert_allclose(gradient, [[-1, 1, 0], [-0.5, -1, 1.5]], atol=1e-3)


def test_empty_slots_have_no_influence(lists):
    teacher, student = lists
    values, gradient = call(ListMLEDistillation(), teacher, student)
    empty = teacher < -1e29
    for nonsense in (math.nan, 1e30, MASKED):
        again, its_gradient = call(
            ListMLEDistillation(), teacher, np.where(empty, nonsense, student)
        )
        np.testing.assert_array_equal(again, values)
        np.testing.assert_array_equal(its_gradient, gradient)
    assert (gradient[empty] == 0).all()
    short = [1, 2, 4, 5]
    alone, _ = call(ListMLEDistillation(), teacher[1:2, short], student[1:2, short])
    np.testing.assert_allclose(alone, values[1:2], rtol=1e-6)


def test_lists_of_fewer_than_2_candidates_give_0():
    values, gradient = call(
        ListMLEDistillation(), [[1.0, MASKED, MASKED], [MASKED] * 3], [[1.0, 2.0, 3.0]] * 2
    )
    np.testing.assert_array_equal(values, [0.0, 0.0])
    np.testing.assert_array_equal(gradient, np.zeros((2, 3)))


def test_unmoved_by_a_shift_of_the_student_and_by_the_teachers_scale(lists):
    teacher, student = lists[0][:1], lists[1][:1]
    values, _ = call(ListMLEDistillation(), teacher, student)
    np.testing.assert_allclose(
        call(ListMLEDistillation(), 50 * teacher - 3, student + 8.0)[0], values, rtol=1e-5
    )
    assert abs(call(ListMLEDistillation(), -teacher, student)[0] - values) > 1e-2


def test_no_gradient_goes_to_the_teacher():
    teacher, student = tf.Variable([[2.0, 1.0]]), tf.Variable([[0.0, 1.0]])
    with tf.GradientTape() as tape:
        value = ListMLEDistillation().call(teacher, student)
    assert tape.gradient(value, teacher) is None


@pytest.mark.parametrize("teacher", [[math.nan, 1.0, 2.0], [2.0, 1.0, math.nan], [math.nan] * 3])
def test_a_nan_teacher_gives_a_nan_loss(teacher):
    values, _ = call(ListMLEDistillation(1), [teacher, [1.0, 2.0, 3.0]], [[0.0] * 3] * 2)
    assert np.isnan(values).tolist() == [True, False]


def test_half_precision_logits_are_computed_in_float32():
    values = ListMLEDistillation().call(
        tf.constant([[2.0, 1.0]], tf.float16), tf.constant([[0.0, 12.0]], tf.float16)
    )
    assert values.dtype == tf.float32
    np.testing.assert_allclose(values, [np.logaddexp(0, 12.0)], rtol=1e-6)


def test_a_list_of_one_slot_is_refused():
    with pytest.raises(ValueError, match=r"ListMLEDistillation needs at least 2 logits per row"):
        ListMLEDistillation()(tf.zeros([3, 1]), tf.zeros([3, 1]))


@pytest.mark.parametrize("top_k", [0, -1, 2.0])
def test_top_k_must_be_at_least_1(top_k):
    with pytest.raises(ValueError, match=r"`top_k` must be None or at least 1. Received: top_k="):
        ListMLEDistillation(top_k)


def test_it_is_a_list_loss_and_works_in_a_graph_on_a_whole_catalogue():
    assert ListMLEDistillation.of_lists is True
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(2, 3, 1682)).astype(np.float32)
    any_lists = tf.TensorSpec([None, None], tf.float32)
    graph = tf.function(ListMLEDistillation(10).call, input_signature=[any_lists, any_lists])
    expected = [reference(t, np.float64(s), 10)[0] for t, s in zip(teacher, student)]
    np.testing.assert_allclose(graph(teacher, student), expected, rtol=1e-5)


def test_round_trip_by_value_and_behaviour(lists):
    loss = ListMLEDistillation(top_k=2, reduction="sum", name="likelihood")
    again = tf.keras.losses.deserialize(tf.keras.losses.serialize(loss))
    assert isinstance(again, ListMLEDistillation)
    assert (again.top_k, again.reduction, again.name) == (2, "sum", "likelihood")
    np.testing.assert_array_equal(again(*lists), loss(*lists))


@pytest.mark.parametrize("top_k", [1, 2, None])
@pytest.mark.parametrize("slot", [0, 3])
def test_a_nan_student_below_the_last_position_gives_a_nan_loss(slot, top_k):
    student = np.zeros((2, 4))
    student[0, slot] = math.nan
    values, _ = call(ListMLEDistillation(top_k), [[4.0, 3.0, 2.0, 1.0]] * 2, student)
    assert np.isnan(values).tolist() == [True, False]
