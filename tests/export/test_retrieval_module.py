import numpy as np
import pytest
import tensorflow as tf
from planted_student import (
    LOWEST,
    PlantedStudent,
    assert_answers,
    expected,
    histories_of,
    padded,
)

from tfrs_distill.errors import InputError
from tfrs_distill.export.retrieval_module import RetrievalModule, retrieval_signature

STUDENT = PlantedStudent()


@pytest.mark.parametrize("where", ["front", "back", "between"])
@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize("length", [1, 5, 700])
def test_returns_the_models_top_k(batch_size, length, where):
    lengths = [min(length, 1 + 4 * row) for row in range(batch_size)]
    histories = histories_of(60, lengths)
    outputs = RetrievalModule(STUDENT, 60, k=10).retrieve(padded(histories, length, where))
    scores, item_ids = outputs["scores"].numpy(), outputs["item_ids"].numpy()
    assert_answers(STUDENT, histories, scores, item_ids, 10)


def test_excludes_items_too_old_for_the_student_to_read():
    best_of_new_user = expected(STUDENT, [], 1)[1][0]
    others = [item for item in range(1, 61) if item != best_of_new_user][: STUDENT.max_history]
    history = np.array([[best_of_new_user, *others]], np.int32)
    item_ids = RetrievalModule(STUDENT, 60, k=60).retrieve(history)["item_ids"].numpy()[0]
    assert best_of_new_user not in item_ids
    assert (item_ids > 0).sum() == 60 - len(others) - 1


def test_unknown_numbers_count_as_padding():
    module = RetrievalModule(STUDENT, 60, k=10)
    odd = np.array([[-1, 3, 61, 2**31 - 1, -(2**31), 7]], np.int32)
    clean = np.array([[0, 3, 0, 0, 0, 7]], np.int32)
    for key in ("scores", "item_ids"):
        np.testing.assert_array_equal(module.retrieve(odd)[key], module.retrieve(clean)[key])
    assert_answers(STUDENT, [[3, 7]], *_arrays(module.retrieve(odd)), 10)


def test_empty_history_returns_the_prior():
    outputs = RetrievalModule(STUDENT, 60, k=10).retrieve(np.zeros([1, 3], np.int32))
    assert_answers(STUDENT, [[]], *_arrays(outputs), 10)


def test_slots_without_a_remaining_item_have_0_and_the_lowest_score():
    history = np.arange(1, 59, dtype=np.int32)[None]  # items 59 and 60 are left
    scores, item_ids = _arrays(RetrievalModule(STUDENT, 60, k=5).retrieve(history))
    assert set(item_ids[0, :2]) == {59, 60}
    assert item_ids[0, 2:].tolist() == [0, 0, 0]
    assert scores[0, 2:].tolist() == [LOWEST] * 3


def test_equal_scores_are_in_the_order_of_their_index():
    student = PlantedStudent(num_items=6)
    student.table.assign(tf.zeros_like(student.table))
    student.bias.assign(tf.zeros_like(student.bias))
    _, item_ids = _arrays(RetrievalModule(student, 6, k=4).retrieve(np.array([[2]], np.int32)))
    assert item_ids[0].tolist() == [1, 3, 4, 5]


def test_k_is_at_most_the_catalogue():
    module = RetrievalModule(STUDENT, 60, k=100)
    assert module.k == 60
    assert retrieval_signature(module, 5)["outputs"]["scores"]["shape"] == [-1, 60]


def test_keeps_only_the_variables_of_the_query():
    assert [variable.shape.as_list() for variable in RetrievalModule(STUDENT, 60).variables] == [
        [61, 4]
    ]


def test_refuses_k_below_1():
    with pytest.raises(InputError, match="`k` must be at least 1. Received: k=0"):
        RetrievalModule(STUDENT, 60, k=0)


def test_refuses_another_catalogue():
    with pytest.raises(InputError, match=r"must have 60 rows.*Received: shape \[61, 5\]"):
        RetrievalModule(STUDENT, 59)


def test_refuses_a_student_that_diverged():
    student = PlantedStudent()
    student.bias.assign(tf.fill(student.bias.shape, np.nan))
    with pytest.raises(InputError, match="not all finite"):
        RetrievalModule(student, 60)


def test_padding_row_may_hold_any_values():
    student = PlantedStudent()
    student.bias.assign(tf.tensor_scatter_nd_update(student.bias, [[0]], [[np.inf]]))
    _, item_ids = _arrays(RetrievalModule(student, 60, k=60).retrieve(np.array([[1]], np.int32)))
    assert sorted(item_ids[0].tolist()) == [0, *range(2, 61)]


def _arrays(outputs):
    return outputs["scores"].numpy(), outputs["item_ids"].numpy()
