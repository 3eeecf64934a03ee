"""Arrays as a teacher: every form against NumPy, for rows of windows and of plain batches."""

import math

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from tiny_data import random_windows

import tfrs_distill as td
from tfrs_distill import columns
from tfrs_distill.errors import InputError
from tfrs_distill.teachers.arrays.array_teacher import ArrayTeacher

NUM_ITEMS, NUM_USERS = 9, 7
RANDOM = np.random.default_rng(0)
USERS = RANDOM.permutation(NUM_USERS) + 100  # out of order, and not row numbers
QUERIES = RANDOM.normal(size=(NUM_USERS, 3)).astype(np.float32)
ITEMS = RANDOM.normal(size=(NUM_ITEMS, 3)).astype(np.float32)
LISTS = np.array([RANDOM.permutation(NUM_ITEMS)[:4] + 1 for _ in range(NUM_USERS)])
LISTS[2, 2:] = 0  # a short list


@pytest.fixture
def windows():
    windows = random_windows(num_users=NUM_USERS, num_items=NUM_ITEMS)
    return td.data.Windows(windows.catalogue, windows.users + 100, windows.history, windows.labels)


def dense_lists(scores):
    """The logit of every item, list by list."""
    table = np.empty((NUM_USERS, NUM_ITEMS))
    for row, items in enumerate(LISTS):
        listed = [(item, score) for item, score in zip(items, scores[row]) if item]
        table[row] = min(score for _, score in listed) - math.log(NUM_ITEMS)
        for item, score in listed:
            table[row, item - 1] = score
    return table


LISTED_SCORES = -np.sort(RANDOM.normal(size=LISTS.shape), axis=1)
ORDER = np.tile([0.0, -math.log(2), -math.log(3), -math.log(4)], (NUM_USERS, 1))
FORMS = {
    "embeddings": (ArrayTeacher.from_embeddings(USERS, QUERIES, ITEMS), QUERIES @ ITEMS.T),
    "scores": (ArrayTeacher.from_scores(USERS, 5 * QUERIES @ ITEMS.T), 5 * QUERIES @ ITEMS.T),
    "lists": (
        ArrayTeacher.from_lists(USERS, LISTS, LISTED_SCORES, num_items=NUM_ITEMS),
        dense_lists(LISTED_SCORES),
    ),
    "order": (ArrayTeacher.from_lists(USERS, LISTS, num_items=NUM_ITEMS), dense_lists(ORDER)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_row_of_a_window_gets_its_users_logits(windows, form):
    teacher, table = FORMS[form]
    batch = next(iter(windows.batches(len(windows), seed=1)))
    candidates = [3, 9, 1, 3]
    users = np.repeat(batch[columns.USER_ID], np.count_nonzero(batch[columns.LABELS], axis=1))
    row_of = {user: row for row, user in enumerate(USERS)}
    expected = np.array([table[row_of[user], np.array(candidates) - 1] for user in users])
    output = teacher.logits(batch, tf.constant(candidates))
    assert output.dtype == tf.float32
    np.testing.assert_allclose(output, expected, atol=1e-5)


def test_rows_of_a_plain_batch_are_its_queries():
    teacher, table = FORMS["scores"]
    output = teacher.logits({columns.USER_ID: tf.constant(USERS[[4, 0, 4]])}, tf.range(1, 10))
    np.testing.assert_allclose(output, table[[4, 0, 4]], atol=1e-5)


def test_an_order_alone_gives_scores_by_1_over_the_rank():
    teacher = ArrayTeacher.from_lists([5], [[2, 4, 1]], num_items=100_000)
    batch = {columns.USER_ID: tf.constant([5])}
    odds = np.exp(teacher.logits(batch, tf.constant([2, 4, 1]))[0])
    np.testing.assert_allclose(odds / odds[0], [1, 1 / 2, 1 / 3], rtol=1e-6)
    rest = np.exp(teacher.logits(batch, tf.range(5, 100_001))).sum()
    # 99,996 of 100,000 parts of the last one's 1/3; a float32 sum of 1e5 terms.
    np.testing.assert_allclose(rest, 0.99996 / 3, rtol=1e-3)


def test_examples_may_be_the_queries(windows):
    numbers = np.arange(len(windows))
    scores = np.repeat(numbers[:, None], NUM_ITEMS, axis=1)
    teacher = ArrayTeacher.from_scores(numbers, scores, column=columns.EXAMPLE_ID)
    batch = next(iter(windows.batches(len(windows))))
    rows = np.repeat(numbers, np.count_nonzero(windows.labels, axis=1))
    np.testing.assert_array_equal(teacher.logits(batch, tf.constant([1]))[:, 0], rows)


@pytest.mark.nightly
def test_a_missing_query_stops_the_distiller_and_is_named(windows):
    held = ArrayTeacher.from_scores(USERS, QUERIES @ ITEMS.T)
    absent = windows.users[5]
    partial = ArrayTeacher.from_scores(USERS[USERS != absent], (QUERIES @ ITEMS.T)[USERS != absent])
    for teacher in (held, partial):
        student = td.models.RetrievalStudent.from_history(
            num_items=NUM_ITEMS, max_history=4, embedding_dim=4, seed=0
        )
        distiller = td.Distiller(student, teacher, td.losses.SoftTargetKLDivergence())
        distiller.compile(optimizer="adam")
        if teacher is held:
            history = distiller.fit(windows.batches(4), epochs=20, verbose=0).history
            assert history["distillation_loss"][-1] < history["distillation_loss"][0]
            continue
        first = int(np.argmax(windows.users == absent))
        with pytest.raises(ValueError, match=f"returns NaN or infinite values for example {first}"):
            distiller.fit(windows.batches(len(windows)), verbose=0)


def test_a_batch_without_the_column_is_refused():
    with pytest.raises(ValueError, match="no column 'user_id'.* It has: \\['history'\\]"):
        FORMS["scores"][0].logits({columns.HISTORY: tf.constant([[1]])}, tf.constant([1]))


def test_the_fingerprint_depends_on_the_values_and_not_on_the_order_of_queries():
    scores = QUERIES @ ITEMS.T
    turned = ArrayTeacher.from_scores(USERS[::-1], scores[::-1])
    assert turned.fingerprint() == ArrayTeacher.from_scores(USERS, scores).fingerprint()
    others = [
        FORMS["embeddings"][0],
        ArrayTeacher.from_scores(USERS, scores + 1),
        ArrayTeacher.from_scores(USERS + 1, scores),
        ArrayTeacher.from_scores(USERS, scores, column=columns.EXAMPLE_ID),
    ]
    prints = {teacher.fingerprint() for teacher in [turned, *others]}
    assert len(prints) == 5


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ArrayTeacher.from_scores([1, 1], np.zeros([2, 3])), "must be unique. 1 occurs"),
        (lambda: ArrayTeacher.from_scores([], np.zeros([0, 3])), "whole numbers, .* at least one"),
        (lambda: ArrayTeacher.from_scores([1.5], np.zeros([1, 3])), "whole numbers.*float64"),
        (lambda: ArrayTeacher.from_scores([1, 2], np.zeros([3, 3])), "3 rows for 2 queries"),
        (lambda: ArrayTeacher.from_scores([1, 2], np.zeros([2])), r"Received: shape \(2,\)"),
        (
            lambda: ArrayTeacher.from_scores([1, 2], [[0, 1], [0, math.nan]]),
            "`scores` must be finite. Row 1 is not",
        ),
        (
            lambda: ArrayTeacher.from_embeddings([1], np.zeros([1, 2]), np.zeros([4, 3])),
            r"one width. Received: \(1, 2\) and \(4, 3\)",
        ),
        (
            lambda: ArrayTeacher.from_lists([1], [[1, 2]], [[0.0]], num_items=3),
            r"Received: \(1, 2\) and \(1, 1\)",
        ),
        (
            lambda: ArrayTeacher.from_lists([1, 2], [1, 2], num_items=3),
            r"must both be \[num_queries, k\]. Received: \(2,\)",
        ),
        (
            lambda: ArrayTeacher.from_lists([1, 2], [[1, 2], [3, 4]], num_items=3),
            "1 to 3, or 0. Row 1 holds 4",
        ),
        (
            lambda: ArrayTeacher.from_lists([1, 2], [[1, 2], [0, 0]], num_items=3),
            "Row 1 is empty",
        ),
        (
            lambda: ArrayTeacher.from_lists([1], [[2, 2]], num_items=3),
            "Row 0 holds one twice",
        ),
    ],
)
def test_invalid_arrays_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_columns_of_a_shuffled_frame_are_read_by_position():
    frame = pd.DataFrame(LISTS, index=np.arange(NUM_USERS)[::-1])
    users = pd.Series(USERS, index=np.arange(NUM_USERS)[::-1])
    given = ArrayTeacher.from_lists(users, frame, num_items=NUM_ITEMS)
    plain = ArrayTeacher.from_lists(USERS, LISTS, num_items=NUM_ITEMS)
    assert given.fingerprint() == plain.fingerprint()


def test_items_beyond_int32_are_refused():
    with pytest.raises(InputError, match=r"`listed_items` must fit into int32\. .*4294967299"):
        ArrayTeacher.from_lists([1], np.array([[2**32 + 3, 1]]), num_items=NUM_ITEMS)
