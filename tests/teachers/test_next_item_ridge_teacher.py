"""The ridge regression of the next item, compared with the regression solved row by row."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tiny_data import next_item_rows, random_windows, windows_from, with_dislikes, with_weights

from tfrs_distill.data import row_blocks as blocks
from tfrs_distill.evaluation.baselines import popularity
from tfrs_distill.teachers import ItemItemTeacher, NextItemRidgeTeacher
from tfrs_distill.teachers.item_item_teacher import user_item_blocks

NUM_ITEMS = 9
# Several windows per user, and repeated interactions.
SEQUENCES = [[1, 2, 1, 3, 4, 4, 2, 5, 1], [9, 3, 9, 2], [7, 7], [4, 5, 6, 4, 5, 8], [3]]


@pytest.fixture(scope="module")
def windows():
    return windows_from(SEQUENCES, num_items=NUM_ITEMS, max_history=4)


def past(history, decay):
    """`exp(-age / decay)` of each item's latest occurrence, float64 [NUM_ITEMS]."""
    row = np.zeros(NUM_ITEMS)
    for age, item in reversed(list(enumerate(reversed(history)))):  # the latest is written last
        row[item - 1] = 1.0 if decay is None else np.exp(-age / decay)
    return row


def regression(windows, l2, decay):
    rows = next_item_rows(windows)
    x = np.array([past(history, decay) for history, _ in rows])
    y = np.array([np.eye(NUM_ITEMS)[label - 1] for _, label in rows])
    return np.linalg.solve(x.T @ x + l2 * np.eye(NUM_ITEMS), x.T @ y)


@pytest.mark.parametrize("decay", [1.5, 16.0, None])
def test_weights_are_the_ridge_regression_of_labels_on_the_past(windows, decay):
    teacher = NextItemRidgeTeacher(windows, l2=0.7, decay=decay)
    expected = regression(windows, 0.7, decay)
    np.testing.assert_allclose(teacher.weights[1:, 1:], expected, atol=1e-6)  # kept as float32
    np.testing.assert_array_equal(teacher.weights[0], 0.0)
    np.testing.assert_array_equal(teacher.weights[:, 0], 0.0)


@pytest.mark.parametrize("decay", [1.5, None])
def test_a_labels_weight_is_its_rows_weight_in_the_regression(windows, decay):
    weighted = with_weights(windows)
    rows = next_item_rows(windows)
    v = weighted.weights[weighted.labels > 0][:, None]
    x = np.array([past(history, decay) for history, _ in rows])
    y = np.array([np.eye(NUM_ITEMS)[label - 1] for _, label in rows])
    expected = np.linalg.solve(x.T @ (v * x) + 0.7 * np.eye(NUM_ITEMS), x.T @ (v * y))
    teacher = NextItemRidgeTeacher(weighted, l2=0.7, decay=decay)
    np.testing.assert_allclose(teacher.weights[1:, 1:], expected, atol=1e-6)


def test_a_dislike_is_a_row_of_target_0(windows):
    signed = with_dislikes(with_weights(windows))
    rows = next_item_rows(windows)
    v = signed.weights[signed.labels > 0][:, None]
    x = np.array([past(history, 1.5) for history, _ in rows])
    y = np.array([np.eye(NUM_ITEMS)[label - 1] for _, label in rows]) * (v > 0)
    v = np.abs(v)
    expected = np.linalg.solve(x.T @ (v * x) + 0.7 * np.eye(NUM_ITEMS), x.T @ (v * y))
    teacher = NextItemRidgeTeacher(signed, l2=0.7, decay=1.5)
    np.testing.assert_allclose(teacher.weights[1:, 1:], expected, atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_disliked_item_is_not_in_the_past_unless_it_is_liked_too(weighted):
    """User 0 dislikes 3; user 1 likes 4 once and dislikes it twice; first items have no label."""
    windows = windows_from(
        [[5, 1, 3, 2], [3, 4, 4, 4, 6, 1, 7]], num_items=NUM_ITEMS, max_history=4
    )
    weights = np.where(windows.labels > 0, 2.0, 0.0)
    weights[(windows.users == 0)[:, None] & (windows.labels == 3)] = -5.0
    fours = np.argwhere(windows.labels == 4)
    weights[tuple(fours[[0, 2]].T)] = -3.0
    signed = replace(windows, weights=weights)
    (matrix,) = user_item_blocks(signed, weighted=weighted)
    liked = 2.0 if weighted else 1.0
    expected = np.zeros((2, NUM_ITEMS + 1))
    expected[0, [5, 1, 2]] = 1.0, liked, liked
    expected[1, [3, 4, 6, 1, 7]] = 1.0, liked, liked, liked, liked
    np.testing.assert_array_equal(matrix, expected)
    scores, items = popularity(signed)([np.array([], np.int32)], NUM_ITEMS)
    assert dict(zip(items[0].tolist(), scores[0].tolist()))[3] == 1.0  # of user 1 alone


def test_a_weight_of_2_equals_a_row_twice_and_ease_ignores_weights(windows):
    twice = replace(windows, weights=np.where(windows.labels > 0, 2.0, 0.0))
    both = windows.subset(np.repeat(np.arange(len(windows)), 2))
    weights = NextItemRidgeTeacher(twice, l2=0.7).weights
    np.testing.assert_allclose(weights, NextItemRidgeTeacher(both, l2=0.7).weights, atol=1e-7)
    ease = ItemItemTeacher(with_weights(windows), l2=0.7)
    np.testing.assert_array_equal(ease.weights, ItemItemTeacher(windows, l2=0.7).weights)


@pytest.mark.parametrize("options", [None, {}, {"jit_compile": True}])
@pytest.mark.parametrize("kind", [ItemItemTeacher, NextItemRidgeTeacher])
def test_logits_are_the_decayed_past_times_the_weights(windows, kind, options):
    teacher = kind(windows, l2=0.7, decay=1.5)
    call = teacher.logits if options is None else tf.function(teacher.logits, **options)
    batch = next(iter(windows.batches(len(windows))))
    candidates = np.array([7, 1, 4])
    x = np.array([past(history, 1.5) for history, _ in next_item_rows(windows)])
    expected = (x @ teacher.weights[1:, 1:])[:, candidates - 1]
    np.testing.assert_allclose(call(batch, tf.constant(candidates)), expected, atol=1e-6)


def test_sums_over_blocks_of_windows_are_the_same(monkeypatch):
    windows = random_windows(num_users=30, num_items=NUM_ITEMS, max_history=4)
    whole = NextItemRidgeTeacher(windows, l2=0.7, decay=2.0).weights
    monkeypatch.setattr(blocks, "CELLS", 3 * 16)  # three windows at a time
    np.testing.assert_allclose(
        NextItemRidgeTeacher(windows, l2=0.7, decay=2.0).weights, whole, atol=1e-7
    )


def test_facts(windows):
    teacher = NextItemRidgeTeacher(windows, l2=0.7, decay=1.5)
    assert teacher.settings == {"l2": 0.7, "decay": 1.5}
    assert teacher.num_parameters == NUM_ITEMS**2
    others = [
        NextItemRidgeTeacher(windows, l2=0.7, decay=1.6),
        NextItemRidgeTeacher(windows, l2=0.8, decay=1.5),
        NextItemRidgeTeacher(windows.subset(np.arange(3)), l2=0.7, decay=1.5),
    ]
    assert len({teacher.fingerprint()} | {other.fingerprint() for other in others}) == 4
    again = NextItemRidgeTeacher(windows, **teacher.settings)
    assert again.fingerprint() == teacher.fingerprint()


@pytest.mark.parametrize("settings", [{"l2": 0.0}, {"l2": np.inf}, {"decay": 0.0}])
def test_numbers_out_of_range_are_refused(windows, settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"`{name}` must be finite and "):
        NextItemRidgeTeacher(windows, **settings)
