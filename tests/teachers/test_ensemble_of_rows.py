"""The ensemble of ranking rows against averaged probabilities."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.data import RankingExamples, row_blocks
from tfrs_distill.errors import InputError
from tfrs_distill.models.tasks import (
    Binary,
    NextItem,
    Ordinal,
    RatingDistribution,
    Regression,
)
from tfrs_distill.teachers.ensemble import Ensemble
from tfrs_distill.teachers.function_teacher import FunctionTeacher

TASKS = (
    Regression("rating", 1, 5),
    Binary("like"),
    Ordinal("stars", (1, 2, 3)),
    RatingDistribution("grade", (1, 2, 3)),
    NextItem("next", 4),
)
RANDOM = np.random.default_rng(0)
OUTPUTS = [
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


class Given:
    """A teacher whose logits of the rows are known."""

    def __init__(self, logits):
        self.logits_by_task = logits

    def row_logits(self, examples):
        return self.logits_by_task


def mean_of(given, tasks, weights=None):
    num_rows = max((len(values) for logits in given for values in logits.values()), default=1)
    rows = np.arange(num_rows)
    examples = RankingExamples({}, {}, users=rows, queries=rows)
    return Ensemble([Given(logits) for logits in given], weights, tasks=tasks).row_logits(examples)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_the_average_is_of_probabilities(weights):
    shares = np.array([1, 1, 1] if weights is None else weights) / (8 if weights else 3)
    found = mean_of(OUTPUTS, TASKS, weights=weights)
    assert list(found) == [task.name for task in TASKS]
    for task in TASKS:
        name = task.name
        expected = sum(s * probabilities(name, output[name]) for s, output in zip(shares, OUTPUTS))
        assert found[name].shape == (7, task.width) and found[name].dtype == np.float32
        output = probabilities(name, found[name].astype(float))
        np.testing.assert_allclose(output, expected, rtol=2e-6)
    # Logits of a softmax are log-probabilities, so that their offsets are fixed.
    np.testing.assert_allclose(np.exp(found["grade"].astype(float)).sum(axis=1), 1, rtol=1e-6)


def test_equal_teachers_keep_their_logits():
    found = mean_of([OUTPUTS[0]] * 2, TASKS)
    np.testing.assert_allclose(found["like"], OUTPUTS[0]["like"], rtol=1e-6)
    np.testing.assert_allclose(found["stars"], OUTPUTS[0]["stars"], rtol=1e-6)
    np.testing.assert_allclose(softmax(found["next"]), softmax(OUTPUTS[0]["next"]), rtol=1e-6)


@pytest.mark.parametrize("in_graph", [False, True])
def test_a_batch_of_rows_has_the_same_mean(in_graph):
    def function(number):
        return FunctionTeacher(
            lambda batch, ids: {
                name: tf.gather(tf.constant(logits, tf.float32), batch["example_id"])
                for name, logits in OUTPUTS[number].items()
            }
        )

    rows = np.arange(7)
    examples = RankingExamples({}, {}, users=rows, queries=rows)
    ensemble = Ensemble([function(0), function(1)], [1, 3], tasks=TASKS)
    (batch,) = examples.batches(7)
    found = (tf.function(ensemble.logits) if in_graph else ensemble.logits)(batch, None)
    expected = mean_of(OUTPUTS[:2], TASKS, weights=[1, 3])
    for name, logits in ensemble.row_logits(examples).items():
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(logits, expected[name], rtol=1e-5, atol=1e-6)


def test_the_fingerprint_depends_on_the_tasks():
    teachers = [FunctionTeacher(lambda *_: None, fingerprint=name) for name in "ab"]
    prints = {
        Ensemble(teachers, tasks=tasks).fingerprint() for tasks in ((), TASKS[:1], TASKS[1:2])
    }
    assert len(prints) == 3


def test_a_row_of_nan_uses_the_mean_of_the_others():
    output = [{"like": np.array([0.0, np.nan, np.nan])}, {"like": np.array([2.0, 2.0, np.nan])}]
    found = mean_of(output, [Binary("like")], weights=[3, 1])["like"]
    first = 0.75 * 0.5 + 0.25 * sigmoid(2.0)
    np.testing.assert_allclose(found[:2, 0], [np.log(first / (1 - first)), 2.0], rtol=1e-6)
    assert np.isnan(found[2]).all()
    three = [{"grade": np.array([[0.0, 1, 2], [np.nan] * 3])}] + [{"grade": np.zeros((2, 3))}] * 2
    grade = mean_of(three, TASKS[3:4])["grade"]
    np.testing.assert_allclose(softmax(grade[1].astype(float)), [1 / 3] * 3, rtol=1e-6)


def test_some_teachers_alone_may_have_a_task():
    output = [
        {"like": OUTPUTS[0]["like"], "rating": OUTPUTS[0]["rating"]},
        {"rating": OUTPUTS[1]["rating"]},
    ]
    found = mean_of(output, TASKS[:2], weights=[1, 3])
    np.testing.assert_allclose(found["like"], OUTPUTS[0]["like"], rtol=1e-6)
    expected = 0.25 * OUTPUTS[0]["rating"] + 0.75 * OUTPUTS[1]["rating"]
    np.testing.assert_allclose(found["rating"], expected, rtol=1e-6)


def test_confident_teachers_and_masked_items_stay_finite():
    output = [{"like": np.array([500.0, -500.0])}, {"like": np.array([500.0, 300.0])}]
    found = mean_of(output, [Binary("like")])["like"][:, 0]
    # Both predict 1, with odds e^500. One predicts 0 and one 1: 1/2, so the logit is 0.
    np.testing.assert_allclose(found, [500.0, 0.0], atol=1e-4)
    masked = np.float32(np.finfo(np.float32).min / 1e8)
    output = [{"next": np.array([[0.0, 1.0, masked, 0.0]], np.float32)}] * 2
    found = mean_of(output, [NextItem("next", 4)])["next"]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(softmax(found), softmax(np.array([[0, 1, -np.inf, 0]])), rtol=1e-6)


def test_many_rows_are_averaged_in_blocks(monkeypatch):
    whole = mean_of(OUTPUTS, TASKS)
    monkeypatch.setattr(row_blocks, "CELLS", 3)  # one row at a time
    for task, logits in mean_of(OUTPUTS, TASKS).items():
        np.testing.assert_array_equal(logits, whole[task])


@pytest.mark.parametrize(
    ("output", "weights", "error", "words"),
    [
        ([], None, ValueError, "at least two teachers and one weight for each. Received: 0"),
        ([{}, {}], [1.0], ValueError, "Received: 2 teachers, 1 weights"),
        ([{}, {}], [1.0, 0.0], ValueError, "`weights` must be finite and above 0"),
        ([{}, {}], [1.0, float("inf")], ValueError, "`weights` must be finite and above 0"),
        (
            [{"like": [1.0], "lik": [1.0]}, {}],
            None,
            InputError,
            "logits of lik, but the tasks are: like",
        ),
        ([{}, {}], None, InputError, "No teacher returns logits of the task 'like'"),
        (
            [{"like": [[1.0, 2.0]]}, {}],
            None,
            InputError,
            r"Teacher 0 .* \[num_rows, 1\]. .*\[1, 2\]",
        ),
        (
            [{"like": [1.0]}, {"like": [1.0, 2.0]}],
            None,
            InputError,
            r"logits of 'like' of the same rows. Received: the shapes \[\[1, 1\], \[2, 1\]\]",
        ),
    ],
)
def test_invalid_logits_are_refused(output, weights, error, words):
    arrays = [{name: np.array(values) for name, values in logits.items()} for logits in output]
    with pytest.raises(error, match=words):
        mean_of(arrays, [Binary("like")], weights=weights)


def test_logits_by_task_and_one_tensor_cannot_be_mixed():
    teachers = [FunctionTeacher(lambda *_: {"like": [[0.0]]}), FunctionTeacher(lambda *_: [[0.0]])]
    with pytest.raises(InputError, match="a dict of teacher 0, one tensor of teacher 1"):
        Ensemble(teachers, tasks=[Binary("like")]).logits({})
