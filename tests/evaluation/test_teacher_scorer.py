"""Any teacher as a scorer: its batches, lists and errors."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tiny_data import tiny_catalogue

from tfrs_distill import columns
from tfrs_distill.data.splits import Queries
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import evaluate
from tfrs_distill.evaluation.retrieval import ModelScorer, TeacherScorer
from tfrs_distill.models import RetrievalStudent
from tfrs_distill.teachers.arrays.array_teacher import ArrayTeacher

NUM_ITEMS = 6
USERS = np.array([4, 9, 2], np.int32)
HISTORIES = tuple(np.array(h, np.int32) for h in ([1, 2, 3, 4, 5], [6], []))
POSITIVES = tuple(np.array(p, np.int32) for p in ([6], [1, 2], [3]))
QUERIES = Queries(tiny_catalogue(NUM_ITEMS), USERS, HISTORIES, POSITIVES)


class Recorded:
    """A teacher that prefers item i + 1 to item i and records its batches."""

    def __init__(self):
        self.batches = []

    def logits(self, batch, candidate_ids):
        self.batches.append({name: np.asarray(value) for name, value in batch.items()})
        rows = int((np.asarray(batch[columns.LABELS]) > 0).sum())
        return tf.tile(tf.cast(candidate_ids, tf.float32)[None], [rows, 1])


def test_a_query_is_a_window_labelled_at_its_last_position():
    teacher = Recorded()
    TeacherScorer(teacher, QUERIES, max_history=3, batch_size=2)(HISTORIES, k=2)
    first, second = teacher.batches
    assert set(first) == {"user_id", "history", "labels"}
    np.testing.assert_array_equal(first["history"], [[3, 4, 5], [0, 0, 6]])
    np.testing.assert_array_equal(second["history"], [[0, 0, 0]])
    np.testing.assert_array_equal(first["user_id"], [4, 9])
    np.testing.assert_array_equal(second["user_id"], [2])
    # The mark is the same everywhere: no label (6, 1 or 2, and 3) leaks.
    np.testing.assert_array_equal(first["labels"], [[0, 0, 1], [0, 0, 1]])
    np.testing.assert_array_equal(second["labels"], [[0, 0, 1]])
    assert {batch[name].dtype for batch in teacher.batches for name in batch} == {np.dtype("int32")}


def test_it_recommends_the_best_items_outside_the_full_history():
    scores, items = TeacherScorer(Recorded(), QUERIES, max_history=2, batch_size=2)(HISTORIES, k=3)
    np.testing.assert_array_equal(items, [[6, 0, 0], [5, 4, 3], [6, 5, 4]])
    np.testing.assert_array_equal(scores[1:], [[5, 4, 3], [6, 5, 4]])
    found = evaluate(TeacherScorer(Recorded(), QUERIES, max_history=2), QUERIES, k=1)
    assert found.values["hit_rate"][0]


def test_logits_are_over_the_whole_catalogue():
    logits = TeacherScorer(Recorded(), QUERIES, max_history=2, batch_size=2).logits()
    expected = np.tile(np.arange(1.0, 7.0), (3, 1))
    np.testing.assert_array_equal(logits[:, 1:], expected)
    assert np.isneginf(logits[:, 0]).all() and logits.dtype == np.float32


def test_a_two_tower_model_has_the_same_scores_as_in_its_own_scorer():
    student = RetrievalStudent.from_history(
        num_items=NUM_ITEMS, max_history=3, embedding_dim=4, seed=0
    )
    random = np.random.default_rng(0)
    student.query_tower.set_weights(
        [random.normal(size=w.shape) for w in student.query_tower.get_weights()]
    )
    scores, items = TeacherScorer(student, QUERIES, max_history=3)(HISTORIES, k=4)
    expected_scores, expected = ModelScorer(student)(HISTORIES, k=4)
    np.testing.assert_array_equal(items, expected)
    finite = np.isfinite(expected_scores)
    # The same float32 dot products, summed in another order.
    np.testing.assert_allclose(scores[finite], expected_scores[finite], atol=1e-5)


def test_a_teacher_that_reads_users_gets_user_indices():
    output = np.random.default_rng(0).normal(size=(3, NUM_ITEMS))
    teacher = ArrayTeacher.from_scores(np.array([2, 4, 9]), output)
    logits = TeacherScorer(teacher, QUERIES, max_history=3, batch_size=2).logits()
    np.testing.assert_allclose(logits[:, 1:], output[[1, 2, 0]], rtol=1e-6)


def test_an_unknown_user_is_named():
    teacher = ArrayTeacher.from_scores(np.array([2, 4]), np.zeros((2, NUM_ITEMS)))
    with pytest.raises(InputError, match=r"no finite score for every item for user 9"):
        TeacherScorer(teacher, QUERIES, max_history=3).logits()


def test_a_teacher_of_examples_cannot_score_queries():
    teacher = ArrayTeacher.from_scores(
        np.array([0, 1, 2]), np.zeros((3, NUM_ITEMS)), column=columns.EXAMPLE_ID
    )
    with pytest.raises(ValueError, match=r"no column 'example_id'"):
        TeacherScorer(teacher, QUERIES, max_history=3).logits()


def test_other_queries_are_refused():
    scorer = TeacherScorer(Recorded(), QUERIES, max_history=3)
    with pytest.raises(ValueError, match=r"their order: 3 queries\. Received: 1 other histories"):
        scorer(HISTORIES[:1], k=2)
    with pytest.raises(ValueError, match=r"Received: 3 other histories.*`queries\.subset\(rows\)`"):
        scorer((HISTORIES[1], HISTORIES[0], HISTORIES[2]), k=2)
    copies = [np.array(history) for history in HISTORIES]
    assert scorer(copies, k=2)[1].shape == (3, 2)  # equal is enough
    two = QUERIES.subset(np.array([2, 0]))
    _, items = TeacherScorer(Recorded(), two, max_history=3)(two.histories, k=1)
    np.testing.assert_array_equal(items, [[6], [6]])


def test_logits_of_another_shape_are_refused():
    class Narrow(Recorded):
        def logits(self, batch, candidate_ids):
            return super().logits(batch, candidate_ids)[:, :4]

    with pytest.raises(ValueError, match=r"shape \(3, 6\) \(rows, candidates\)\. .*\(3, 4\)"):
        TeacherScorer(Narrow(), QUERIES, max_history=3).logits()


def test_only_candidates_are_scored():
    queries = replace(QUERIES, candidates=np.array([2, 3, 6], np.int32))
    scorer = TeacherScorer(Recorded(), queries, max_history=2, batch_size=2)
    none = -np.inf
    np.testing.assert_array_equal(scorer.logits(), [[none, none, 2, 3, none, none, 6]] * 3)
    found = evaluate(scorer, queries, k=2)
    # The first history holds 2 and 3, the second 6.
    np.testing.assert_array_equal(found.item_ids, [[6, 0], [3, 2], [6, 3]])
