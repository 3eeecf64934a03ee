"""Averages of answers against probabilities that are averaged in the open."""

import importlib

import numpy as np
import pytest

from tfrs_distill.errors import InputError
from tfrs_distill.models.tasks import (
    Binary,
    NextItem,
    Ordinal,
    RatingDistribution,
    Regression,
)
from tfrs_distill.teachers.average_answers import average_answers

TASKS = (
    Regression("rating", 1, 5),
    Binary("like"),
    Ordinal("stars", (1, 2, 3)),
    RatingDistribution("grade", (1, 2, 3)),
    NextItem("next", 4),
)
RANDOM = np.random.default_rng(0)
SAID = [
    {task.name: RANDOM.normal(scale=2, size=(7, task.width)) for task in TASKS} for _ in range(3)
]
WEIGHTS = [1.0, 2.0, 5.0]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


def probabilities(task, logits):
    if task in ("like", "stars"):
        return sigmoid(logits)
    return softmax(logits) if task in ("grade", "next") else logits


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_the_average_is_one_of_probabilities(weights):
    shares = np.array([1, 1, 1] if weights is None else weights) / (8 if weights else 3)
    found = average_answers(SAID, TASKS, weights=weights)
    assert list(found) == [task.name for task in TASKS]
    for task in TASKS:
        name = task.name
        expected = sum(s * probabilities(name, said[name]) for s, said in zip(shares, SAID))
        assert found[name].shape == (7, task.width) and found[name].dtype == np.float32
        said = probabilities(name, found[name].astype(float))
        np.testing.assert_allclose(said, expected, rtol=2e-6)
    # Logits of a softmax are log-probabilities, so that they do not drift.
    np.testing.assert_allclose(np.exp(found["grade"].astype(float)).sum(axis=1), 1, rtol=1e-6)


def test_one_teacher_alone_keeps_what_it_says():
    found = average_answers(SAID[:1], TASKS)
    np.testing.assert_allclose(found["like"], SAID[0]["like"], rtol=1e-6)
    np.testing.assert_allclose(found["stars"], SAID[0]["stars"], rtol=1e-6)
    np.testing.assert_allclose(softmax(found["next"]), softmax(SAID[0]["next"]), rtol=1e-6)


def test_a_row_of_nan_leaves_the_others_to_speak():
    said = [{"like": np.array([0.0, np.nan, np.nan])}, {"like": np.array([2.0, 2.0, np.nan])}]
    found = average_answers(said, [Binary("like")], weights=[3, 1])["like"]
    first = 0.75 * 0.5 + 0.25 * sigmoid(2.0)
    np.testing.assert_allclose(found[:2, 0], [np.log(first / (1 - first)), 2.0], rtol=1e-6)
    assert np.isnan(found[2]).all()
    three = [{"grade": np.array([[0.0, 1, 2], [np.nan] * 3])}] + [{"grade": np.zeros((2, 3))}] * 2
    grade = average_answers(three, TASKS[3:4])["grade"]
    np.testing.assert_allclose(softmax(grade[1].astype(float)), [1 / 3] * 3, rtol=1e-6)


def test_a_task_may_be_answered_by_some_teachers_alone():
    said = [{"like": SAID[0]["like"], "rating": SAID[0]["rating"]}, {"rating": SAID[1]["rating"]}]
    found = average_answers(said, TASKS[:2], weights=[1, 3])
    np.testing.assert_allclose(found["like"], SAID[0]["like"], rtol=1e-6)
    expected = 0.25 * SAID[0]["rating"] + 0.75 * SAID[1]["rating"]
    np.testing.assert_allclose(found["rating"], expected, rtol=1e-6)


def test_sure_teachers_and_masked_items_stay_finite():
    said = [{"like": np.array([500.0, -500.0])}, {"like": np.array([500.0, 300.0])}]
    found = average_answers(said, [Binary("like")])["like"][:, 0]
    # Both say yes, with odds e^500. One says no and one says yes: 1/2, so the logit is 0.
    np.testing.assert_allclose(found, [500.0, 0.0], atol=1e-4)
    masked = np.float32(np.finfo(np.float32).min / 1e8)
    said = [{"next": np.array([[0.0, 1.0, masked, 0.0]], np.float32)}] * 2
    found = average_answers(said, [NextItem("next", 4)])["next"]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(softmax(found), softmax(np.array([[0, 1, -np.inf, 0]])), rtol=1e-6)


def test_many_rows_are_averaged_in_parts(monkeypatch):
    whole = average_answers(SAID, TASKS)
    module = importlib.import_module("tfrs_distill.teachers.average_answers")
    monkeypatch.setattr(module, "NUMBERS_AT_ONCE", 3)  # 7 rows of width 4: one at a time
    for task, logits in average_answers(SAID, TASKS).items():
        np.testing.assert_array_equal(logits, whole[task])


@pytest.mark.parametrize(
    ("said", "weights", "error", "words"),
    [
        ([], None, ValueError, "at least one teacher and one weight for each. Received: 0"),
        ([{}, {}], [1.0], ValueError, "Received: 2 teachers, 1 weights"),
        ([{}, {}], [1.0, 0.0], ValueError, "`weights` must be finite and above 0"),
        ([{"like": [1.0]}], [float("inf")], ValueError, "`weights` must be finite and above 0"),
        ([{"like": [1.0], "lik": [1.0]}], None, InputError, "answer lik, but the tasks are: like"),
        ([{}], None, InputError, "No teacher answers the task 'like'"),
        ([{"like": [[1.0, 2.0]]}], None, InputError, r"Teacher 0 .* shape \[1, 1\]. .*\[1, 2\]"),
        (
            [{"like": [1.0]}, {"like": [1.0, 2.0]}],
            None,
            InputError,
            r"Teacher 1 must answer 'like' with the shape \[1, 1\]. Received: \[2\]",
        ),
    ],
)
def test_what_it_refuses(said, weights, error, words):
    with pytest.raises(error, match=words):
        average_answers(said, [Binary("like")], weights=weights)
