"""Losses over a query's candidates: the compared rows, and the weight of a list."""

import copy

import numpy as np
import pytest
import tensorflow as tf
from tiny_ranking import (
    NAN,
    batches_of,
    divergence,
    example_columns,
    log_softmax,
    new_student,
    one_batch,
    with_weights,
)

from tfrs_distill import columns
from tfrs_distill.distiller import Distiller
from tfrs_distill.distiller.query_lists import lists_of
from tfrs_distill.losses import SoftTargetKLDivergence
from tfrs_distill.losses.candidate_lists import MASKED
from tfrs_distill.losses.list_mle_distillation import ListMLEDistillation
from tfrs_distill.losses.over_lists import OverLists
from tfrs_distill.losses.pairwise_distillation import PairwiseDistillation

LEVELS = np.arange(1.0, 6.0)


def softplus(x):
    return np.logaddexp(0.0, x)


def pairwise(teacher, student):
    """RankNet's mean over the ordered pairs of one list, by its definition."""
    pairs = [
        softplus(student[j] - student[i])
        for i in range(len(teacher))
        for j in range(len(teacher))
        if teacher[i] > teacher[j]
    ]
    return np.mean(pairs) if pairs else 0.0


def likelihood(teacher, student):
    """Plackett-Luce of the teacher's order of one list, by its definition."""
    order = np.argsort(-teacher, kind="stable")
    return sum(
        np.log(np.exp(student[order[k:]]).sum()) - student[order[k]] for k in range(len(order))
    )


def softmax_divergence(teacher, student):
    return divergence(teacher[None], student[None], 2.0)[0]


def by_query(examples, teacher, student, value):
    """Weighted mean over lists of two or more valid rows, weighted by their rows."""
    weights = np.float64(examples.get(columns.SAMPLE_WEIGHT, np.ones(len(teacher))))
    weights = np.where(np.isnan(teacher), 0.0, weights)
    values, totals = [], []
    for query in np.unique(examples[columns.QUERY_ID]):
        rows = (examples[columns.QUERY_ID] == query) & (weights > 0)
        if rows.sum() > 1:
            values.append(value(np.float64(teacher[rows]), np.float64(student[rows])))
            totals.append(weights[rows].sum())
    assert len(values) > 2 and len({*totals}) > 1  # lists of different lengths
    return np.average(values, weights=totals)


LOSSES = {
    "pairwise": (lambda: PairwiseDistillation(name="own"), pairwise),
    "list mle": (lambda: ListMLEDistillation(name="own"), likelihood),
    "softmax": (lambda: OverLists(SoftTargetKLDivergence(2.0), name="own"), softmax_divergence),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_rows_of_one_query_are_compared(name, weighted):
    """In any order in the batch; NaN rows and rows of weight 0 are not in their list."""
    examples = with_weights(example_columns(2)) if weighted else example_columns(2)
    make, value = LOSSES[name]
    student = new_student("like")
    distiller = Distiller(student, None, make())
    terms = tf.function(distiller.loss_terms)(one_batch(examples), training=False)
    logits = student(one_batch(examples)).heads["like"].logits.numpy()[:, 0]
    teacher = examples[columns.teacher_logits("like")][:, 0]
    expected = by_query(examples, teacher, logits, value)
    np.testing.assert_allclose(terms["own"], expected, rtol=1e-5)


def test_a_task_of_several_logits_is_ranked_by_its_prediction():
    """The expected rating, for teacher and student."""
    examples = example_columns(2)
    student = new_student("rating")
    distiller = Distiller(student, None, PairwiseDistillation(name="own"))
    terms = distiller.loss_terms(one_batch(examples), training=False)
    logits = student(one_batch(examples)).heads["rating"].logits.numpy()
    output = examples[columns.teacher_logits("rating")]
    teacher, pupil = (np.exp(log_softmax(x)) @ LEVELS for x in (output, logits))
    expected = by_query(examples, teacher, pupil, pairwise)
    np.testing.assert_allclose(terms["own"], expected, rtol=1e-5)


def test_a_next_item_row_is_the_catalogues_list():
    """No query id is needed, and items of the history are in no list."""
    examples = example_columns(2)
    del examples[columns.QUERY_ID]
    student = new_student("next_item")
    distiller = Distiller(student, None, ListMLEDistillation(name="own"))
    terms = distiller.loss_terms(one_batch(examples), training=False)
    logits = student(one_batch(examples)).heads["next_item"].logits.numpy()
    output = examples[columns.teacher_logits("next_item")]
    values = []
    for row, history in enumerate(examples[columns.HISTORY]):
        left = [item for item in range(output.shape[1]) if item + 1 not in history]
        if not np.isnan(output[row, 0]):
            values.append(likelihood(np.float64(output[row, left]), np.float64(logits[row, left])))
    np.testing.assert_allclose(terms["own"], np.mean(values), rtol=1e-5)


def test_a_loss_of_lists_trains_and_puts_candidates_in_the_teachers_order():
    examples = example_columns(2)
    teacher = examples[columns.teacher_logits("like")]
    teacher[:] = np.nan_to_num(teacher)
    examples[columns.QUERY_ID] %= 3
    student = new_student("like")
    distiller = Distiller(student, None, PairwiseDistillation(name="own"), student_loss_weight=0.0)
    distiller.compile(optimizer=tf.keras.optimizers.Adam(0.1))
    logs = distiller.fit(batches_of(examples, 24), epochs=60, verbose=0).history["own"]
    logits = student(one_batch(examples)).heads["like"].logits.numpy()[:, 0]
    right = [
        (teacher[i, 0] - teacher[j, 0]) * (logits[i] - logits[j]) > 0
        for i in range(24)
        for j in range(i)
        if examples[columns.QUERY_ID][i] == examples[columns.QUERY_ID][j]
        and teacher[i] != teacher[j]
    ]
    assert logs[-1] < 0.2 * logs[0]
    assert len(right) > 50 and np.mean(right) > 0.9  # by chance: a half


def test_lists_keep_the_batchs_order_and_exclude_invalid_rows():
    query_ids = tf.constant([30, 10, 30, 20, 10, 30, 40, 40])
    counts = tf.constant([True, True, True, True, True, False, True, False])
    lists = lists_of(query_ids, counts)
    assert lists.padded(tf.range(8.0), -1.0).numpy().tolist() == [[0.0, 2.0], [1.0, 4.0]]
    assert lists.total(tf.range(8.0)).numpy().tolist() == [2.0, 5.0]
    ragged = lists_of(tf.constant([1, 1, 2, 2, 1]), tf.ones([5], tf.bool))
    assert ragged.padded(tf.range(5.0), -1.0).numpy().tolist() == [[0, 1, 4], [2, 3, -1]]


def test_gradients_reach_the_correct_rows():
    values = tf.Variable(tf.range(5.0))
    with tf.GradientTape() as tape:
        lists = lists_of(tf.constant([1, 2, 1, 2, 3]), tf.ones([5], tf.bool))
        total = tf.reduce_sum(lists.padded(values, 9.0) * [[1.0, 10.0], [100.0, 1000.0]])
    gradient = tf.convert_to_tensor(tape.gradient(total, values))
    assert gradient.numpy().tolist() == [1.0, 100.0, 10.0, 1000.0, 0.0]


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_without_any_list_has_loss_0_and_no_nan_gradient(name):
    """The teacher has logits for one row of each query only."""
    examples = example_columns(2)
    output = examples[columns.teacher_logits("like")]
    first = np.unique(examples[columns.QUERY_ID], return_index=True)[1]
    output[:] = NAN
    output[first] = 1.0
    student = new_student("like")
    distiller = Distiller(student, None, LOSSES[name][0]())
    with tf.GradientTape() as tape:
        terms = distiller.loss_terms(one_batch(examples), training=True)
    assert float(terms["own"]) == 0.0
    for gradient in tape.gradient(terms["total_loss"], student.trainable_variables):
        if gradient is not None:
            assert np.isfinite(tf.convert_to_tensor(gradient)).all()


@pytest.mark.parametrize("eagerly", [False, True])
def test_lists_of_one_candidate_each_are_refused_before_training(eagerly):
    examples = example_columns()
    examples[columns.QUERY_ID] = np.arange(24, dtype=np.int32)
    student = new_student("like")
    before = [weight.numpy() for weight in student.trainable_variables]
    distiller = Distiller(student, None, PairwiseDistillation(name="own"))
    distiller.compile(optimizer="adam", run_eagerly=eagerly)
    words = r"`own` compares the candidates of a query, but each query of the batch \(column "
    words += r"'query_id'\) has one row.*list_batches.* number of rows 8"
    with pytest.raises(ValueError, match=words):
        distiller.fit(batches_of(examples), verbose=0)
    for weight, old in zip(student.trainable_variables, before):
        np.testing.assert_array_equal(weight, old)


def test_later_batches_may_have_lists_of_one_candidate():
    examples = example_columns()
    examples[columns.QUERY_ID] = np.array([0, 0, *range(1, 23)], np.int32)
    examples[columns.teacher_logits("like")][:] = 1.0
    examples[columns.teacher_logits("like")][0] = 2.0
    distiller = Distiller(new_student("like"), None, PairwiseDistillation(name="own"))
    distiller.compile(optimizer=tf.keras.optimizers.SGD(0.0), run_eagerly=True)
    logs = distiller.fit(batches_of(examples), verbose=0).history
    assert int(distiller.optimizer.iterations) == 3
    terms = distiller.loss_terms(one_batch(examples), training=False)
    # Only the one list is included, in the epoch's mean as in the batch's.
    np.testing.assert_allclose(logs["own"], [terms["own"]], rtol=1e-6)


def test_a_batch_without_query_ids_is_refused():
    examples = example_columns()
    del examples[columns.QUERY_ID]
    distiller = Distiller(new_student("like"), None, PairwiseDistillation(name="own"))
    with pytest.raises(ValueError, match="'own' compares .* no column 'query_id'"):
        distiller.loss_terms(one_batch(examples), training=False)


# OverLists


def test_over_lists_is_the_divergence_of_each_list():
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(2, 3, 4)).astype(np.float32)
    lengths = [4, 2, 3]
    expected = [
        softmax_divergence(teacher[row, :n], student[row, :n]) for row, n in enumerate(lengths)
    ]
    for row, length in enumerate(lengths):
        teacher[row, length:] = MASKED
    values = OverLists(SoftTargetKLDivergence(2.0)).call(teacher, student)
    np.testing.assert_allclose(values, expected, atol=4e-6)  # float32, times the temperature**2


def test_over_lists_is_loaded_with_its_loss():
    loss = OverLists(SoftTargetKLDivergence(3.0), name="mine")
    again = tf.keras.losses.deserialize(tf.keras.losses.serialize(loss))
    assert (type(again), type(again.loss)) == (OverLists, SoftTargetKLDivergence)
    assert (again.temperature, again.name, again.of_lists) == (3.0, "mine", True)
    assert OverLists(SoftTargetKLDivergence()).name == "over_lists_soft_target_kl_divergence"


def test_a_copy_of_over_lists_has_its_own_temperature():
    loss = OverLists(SoftTargetKLDivergence(3.0))
    other = copy.copy(loss)
    other.temperature = 5.0
    assert (loss.temperature, loss.loss.temperature) == (3.0, 3.0)
    assert (other.temperature, other.loss.temperature) == (5.0, 5.0)


@pytest.mark.parametrize(
    ("loss", "error", "words"),
    [
        ("kl", TypeError, "`loss` must be a `tf.keras.losses.Loss`. Received: 'kl'"),
        (PairwiseDistillation(), ValueError, "PairwiseDistillation already compares lists"),
        (tf.keras.losses.MeanAbsoluteError(), ValueError, "the value of MeanAbsoluteError"),
    ],
)
def test_a_loss_that_cannot_be_used_over_lists_is_refused(loss, error, words):
    with pytest.raises(error, match=words):
        OverLists(loss)
