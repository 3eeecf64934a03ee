"""Popularity by counting, EASE against the regressions it solves."""

import numpy as np
import pytest
from tiny_data import random_windows, windows_from

from tfrs_distill.evaluation.baselines import EASE, popularity
from tfrs_distill.teachers.item_item_teacher import user_item_blocks


def user_item_matrix(windows):
    return np.concatenate(list(user_item_blocks(windows)))


SEQUENCES = [[1, 2, 3, 4, 5, 6, 7], [2, 3, 2, 3, 2], [3, 9], [9, 3, 8]]


@pytest.fixture
def windows():
    """User 0 has several windows, user 1 has repeated interactions."""
    return windows_from(SEQUENCES, num_items=10, max_history=4)


def test_matrix_has_a_1_for_each_interaction(windows):
    expected = np.zeros((4, 11), np.float32)
    for user, items in enumerate(SEQUENCES):
        expected[user, items] = 1.0
    np.testing.assert_array_equal(user_item_matrix(windows), expected)


def test_users_without_windows_have_no_row(windows):
    there = windows.users != 1
    assert user_item_matrix(windows.subset(there)).shape == (3, 11)


def test_popularity_counts_users_and_keeps_catalogue_order(windows):
    scores, items = popularity(windows)([np.array([], np.int32), np.array([3, 9])], 10)
    # Item 3 has 4 users, 2 and 9 have 2, 1, 4, 5, 6, 7, 8 one, 10 none.
    assert items[0].tolist() == [3, 2, 9, 1, 4, 5, 6, 7, 8, 10]
    assert items[1].tolist() == [2, 1, 4, 5, 6, 7, 8, 10, 0, 0]
    assert scores[0].tolist() == [4, 2, 2, 1, 1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("l2", [0.5, 20.0])
def test_each_column_is_a_ridge_regression_without_the_item_itself(l2):
    windows = random_windows(num_users=12, num_items=8, max_history=4)
    matrix = user_item_matrix(windows)[:, 1:].astype(np.float64)
    weights = EASE(windows, l2=l2).teacher.weights[1:, 1:]
    for item in range(8):
        others = np.arange(8) != item
        x, y = matrix[:, others], matrix[:, item]
        expected = np.linalg.solve(x.T @ x + l2 * np.eye(7), x.T @ y)
        np.testing.assert_allclose(weights[others, item], expected, atol=1e-6)
        assert weights[item, item] == 0.0


def test_ease_adds_the_weights_of_the_historys_items():
    windows = random_windows(num_users=12, num_items=8, max_history=4)
    ease = EASE(windows, l2=5.0)
    histories = [np.array([3, 1, 3]), np.array([8])]  # an item that occurs twice counts once
    scores, items = ease(histories, 8)
    for row, seen in enumerate(([1, 3], [8])):
        expected = ease.teacher.weights[seen].sum(axis=0)
        left = sorted(set(range(1, 9)) - set(seen), key=lambda item: -expected[item])
        assert items[row, : len(left)].tolist() == left
        np.testing.assert_allclose(scores[row, : len(left)], expected[left], rtol=1e-6)
        assert (items[row, len(left) :] == 0).all()


def test_padding_has_no_weight():
    ease = EASE(random_windows(num_items=8), l2=5.0)
    np.testing.assert_array_equal(ease.teacher.weights[0], 0.0)
    np.testing.assert_array_equal(ease.teacher.weights[:, 0], 0.0)
    assert ease.num_parameters == 64


@pytest.mark.parametrize("l2", [0.0, -1.0, float("nan")])
def test_l2_must_be_positive(windows, l2):
    with pytest.raises(ValueError, match=r"`l2` must be finite and greater than 0\. Received: l2="):
        EASE(windows, l2=l2)
