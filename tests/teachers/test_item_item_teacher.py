"""EASE as a teacher: its logits from the regressions it solves, row by row."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_data import next_item_rows, random_windows

from tfrs_distill import columns
from tfrs_distill.evaluation.baselines import EASE
from tfrs_distill.teachers.item_item_teacher import ItemItemTeacher
from tfrs_distill.teachers.list_teacher import list_scores


@pytest.fixture(scope="module")
def windows():
    return random_windows(num_users=12, num_items=8, max_history=4)


def regressions(windows, l2):
    """Ridge regression of each item's column on all others, one by one, in float64."""
    num_items = windows.catalogue.num_items
    matrix = np.zeros((windows.users.max() + 1, num_items))
    for user, history, labels in zip(windows.users, windows.history, windows.labels):
        for item in [*history[history > 0], *labels[labels > 0]]:
            matrix[user, item - 1] = 1.0
    weights = np.zeros((num_items, num_items))
    for item in range(num_items):
        others = np.arange(num_items) != item
        x, y = matrix[:, others], matrix[:, item]
        weights[others, item] = np.linalg.solve(x.T @ x + l2 * np.eye(num_items - 1), x.T @ y)
    return weights


@pytest.mark.parametrize("in_graph", [False, True])
def test_each_row_adds_the_weights_of_its_distinct_items_so_far(windows, in_graph):
    weights = regressions(windows, 5.0)
    teacher = ItemItemTeacher(windows, l2=5.0)
    call = tf.function(teacher.logits) if in_graph else teacher.logits
    batch = next(iter(windows.batches(len(windows))))
    candidates = [7, 1, 1, 4]
    logits = call(batch, tf.constant(candidates))
    rows = [set(history) for history, _ in next_item_rows(windows)]
    expected = [weights[np.array(sorted(interacted)) - 1].sum(axis=0) for interacted in rows]
    expected = np.array(expected)[:, np.array(candidates) - 1]
    assert logits.dtype == tf.float32
    np.testing.assert_allclose(logits, expected, atol=1e-6)  # float32 weights below 1


@pytest.mark.parametrize("in_graph", [False, True])
def test_with_a_decay_the_latest_items_have_the_largest_weights(windows, in_graph):
    weights, decay = regressions(windows, 5.0), 1.5
    teacher = ItemItemTeacher(windows, l2=5.0, decay=decay)
    logits_of = tf.function(teacher.logits) if in_graph else teacher.logits
    batch = next(iter(windows.batches(len(windows))))
    candidates = np.array([7, 1, 4])
    logits = logits_of(batch, tf.constant(candidates))
    expected = []
    for history, _ in next_item_rows(windows):
        counts = {}
        for age, item in enumerate(reversed(history)):
            counts.setdefault(item, np.exp(-age / decay))  # repeated: the last time counts
        expected.append(sum(count * weights[item - 1] for item, count in counts.items()))
    np.testing.assert_allclose(logits, np.array(expected)[:, candidates - 1], atol=1e-6)
    assert teacher.fingerprint() != ItemItemTeacher(windows, l2=5.0, decay=2.0).fingerprint()
    assert teacher.fingerprint() != ItemItemTeacher(windows, l2=5.0).fingerprint()


@pytest.mark.parametrize("decay", [0.0, -1.0, float("nan"), float("inf")])
def test_an_invalid_decay_is_refused(windows, decay):
    for kind in (ItemItemTeacher, EASE):
        with pytest.raises(ValueError, match="`decay` must be finite and above 0, or None"):
            kind(windows, decay=decay)


def test_the_ease_scorer_decays_like_the_teacher(windows):
    """With the same histories: the scorer reads them completely, the teacher as windows."""
    ease, teacher = (kind(windows, l2=5.0, decay=2.0) for kind in (EASE, ItemItemTeacher))
    ease.exclude_seen = False
    histories = [np.array([3, 2, 3, 8]), np.array([5])]
    scores, items = ease(histories, 8)
    padded = np.array([[3, 2, 3, 8], [0, 0, 0, 5]])
    np.testing.assert_allclose(scores, list_scores(teacher, padded, items), atol=1e-6)


def test_lists_are_scored_by_the_same_sums(windows):
    weights = regressions(windows, 5.0)
    histories, lists = np.array([[0, 3, 2], [5, 5, 1]]), np.array([[4, 1], [8, 2]])
    expected = [
        [weights[np.array(sorted(interacted)) - 1, item - 1].sum() for item in items]
        for interacted, items in (({3, 2}, [4, 1]), ({5, 1}, [8, 2]))
    ]
    scores = list_scores(ItemItemTeacher(windows, l2=5.0), histories, lists)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-6)  # float32 weights below 1


def test_a_repeated_item_counts_once(windows):
    teacher = ItemItemTeacher(windows, l2=5.0)
    once, twice = (
        teacher.logits({columns.HISTORY: tf.constant([history])}, tf.range(1, 9))[-1]
        for history in ([0, 3, 2, 2], [0, 0, 3, 2])
    )
    np.testing.assert_array_equal(once, twice)


def test_items_of_the_history_are_not_excluded(windows):
    teacher, ease = ItemItemTeacher(windows, l2=5.0), EASE(windows, l2=5.0)
    output = teacher.logits({columns.HISTORY: tf.constant([[0, 0, 0, 3]])}, tf.range(1, 9))[0]
    assert np.isfinite(output).all()
    scores, items = ease([np.array([3])], 7)  # the scorer excludes item 3
    np.testing.assert_allclose(output.numpy()[items[0] - 1], scores[0], rtol=1e-6)
    assert 3 not in items[0]


def test_facts(windows):
    teacher = ItemItemTeacher(windows, l2=5.0)
    assert (teacher.num_items, teacher.num_parameters) == (8, 64)
    same = ItemItemTeacher(windows, l2=5.0).fingerprint()
    other = ItemItemTeacher(windows.subset(np.arange(5)), l2=5.0).fingerprint()
    assert teacher.fingerprint() == same
    assert len({same, other, ItemItemTeacher(windows, l2=6.0).fingerprint()}) == 3


def test_l2_must_be_positive(windows):
    with pytest.raises(ValueError, match=r"`l2` must be finite and greater than 0\. Received: "):
        ItemItemTeacher(windows, l2=0)
