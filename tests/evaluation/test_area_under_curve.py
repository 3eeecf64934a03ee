"""AUC and GAUC: by hand, against scikit-learn with ties and weights, and their errors."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import metrics


@pytest.mark.parametrize(
    ("labels", "scores", "weights", "expected"),
    [
        ([1, 0], [2.0, 1.0], None, 1.0),
        ([1, 0], [1.0, 2.0], None, 0.0),
        ([1, 0, 1], [3.0, 3.0, 3.0], None, 0.5),
        ([1, 1, 0, 0], [4.0, 2.0, 3.0, 2.0], None, (2 + 0.5) / 4),
        ([1, 1, 0, 0], [4.0, 2.0, 3.0, 2.0], [1, 3, 1, 1], (2 + 1.5) / 8),
        ([1, 1, 0, 0], [4.0, 2.0, 3.0, 2.0], [1, 1, 5, 1], (6 + 0.5) / 12),
    ],
)
def test_auc_by_hand(labels, scores, weights, expected):
    value = metrics.auc(labels, scores, weights)
    assert type(value) is float
    assert value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("levels", [3, 10, 10**9])
@pytest.mark.parametrize("weighted", [False, True])
def test_auc_equals_scikit_learns(levels, weighted):
    random = np.random.default_rng(levels)
    labels, scores = random.integers(0, 2, 200), random.integers(0, levels, 200) / 7
    weights = random.random(200) if weighted else None
    assert metrics.auc(labels, scores, weights) == pytest.approx(
        roc_auc_score(labels, scores, sample_weight=weights), rel=1e-12
    )


def gauc_by_loop(labels, scores, users, weights):
    total = size = 0.0
    for user in np.unique(users):
        rows = users == user
        if 0 < (weights * labels)[rows].sum() < weights[rows].sum():
            n = weights[rows].sum()
            total += n * roc_auc_score(labels[rows], scores[rows], sample_weight=weights[rows])
            size += n
    return total / size


def test_gauc_by_hand():
    labels, scores = [1, 0, 1, 0, 0, 1, 1, 0], [9.0, 8.0, 1.0, 2.0, 2.0, 5.0, 6.0, 7.0]
    users = [7, 7, 3, 3, 3, 5, 5, 8]
    # User 7: 1 with 2 rows; user 3: 0 with 3 rows; users 5 and 8 have one class each.
    assert metrics.grouped_auc(labels, scores, users) == (2 / 5, 2, 2)


@pytest.mark.parametrize("levels", [3, 10**9])
@pytest.mark.parametrize("weighted", [False, True])
def test_gauc_equals_scikit_learns_per_user(levels, weighted):
    random = np.random.default_rng(levels)
    labels, scores = random.integers(0, 2, 300), random.integers(0, levels, 300)
    users = random.integers(0, 60, 300) * 3 + 1
    weights = random.random(300) if weighted else np.ones(300)
    value, there, skipped = metrics.grouped_auc(labels, scores, users, weights)
    assert value == pytest.approx(gauc_by_loop(labels, scores, users, weights), rel=1e-12)
    both = sum(0 < labels[users == user].mean() < 1 for user in np.unique(users))
    assert (there, skipped) == (both, len(np.unique(users)) - both) and skipped > 0


def test_gauc_ignores_differences_between_users():
    random = np.random.default_rng(0)
    labels, scores, users = random.integers(0, 2, 90), random.random(90), random.integers(0, 9, 90)
    shifted = scores + 100.0 * users
    assert metrics.grouped_auc(labels, shifted, users) == metrics.grouped_auc(labels, scores, users)
    assert metrics.auc(labels, shifted) != metrics.auc(labels, scores)


def test_users_may_be_strings():
    result = metrics.grouped_auc([1, 0, 0], [2.0, 1.0, 0.0], ["ann", "ann", "bob"])
    assert result == (1.0, 1, 1)


def test_a_row_of_weights_for_each_resample():
    random = np.random.default_rng(3)
    labels, scores = random.integers(0, 2, 50), random.integers(0, 20, 50)
    users = random.integers(0, 8, 50)
    weights = random.integers(0, 3, (6, 50)).astype(float)
    np.testing.assert_allclose(
        metrics.auc(labels, scores, weights),
        [roc_auc_score(labels, scores, sample_weight=row) for row in weights],
        rtol=1e-12,
    )
    result = metrics.grouped_auc(labels, scores, users, weights)
    np.testing.assert_allclose(
        result.value, [gauc_by_loop(labels, scores, users, row) for row in weights], rtol=1e-12
    )


def test_a_resample_that_misses_a_class_is_nan():
    weights = [[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]]
    expected = [1.0, np.nan, np.nan]
    np.testing.assert_array_equal(metrics.auc([1, 0], [2, 1], weights), expected)
    np.testing.assert_array_equal(
        metrics.grouped_auc([1, 0], [2, 1], [4, 4], weights).value, expected
    )


@pytest.mark.parametrize(
    ("labels", "weights", "words"),
    [
        ([1, 1, 1], None, "there is no negative one: all 3 labels are 1"),
        ([0, 0, 0], None, "there is no positive one: all 3 labels are 0"),
        ([1, 0, 0], [0, 1, 1], "there is no positive one"),
        ([1, 0, 1], [1, 0, 1], "there is no negative one.*or the others have weight 0"),
    ],
)
def test_auc_error_names_the_missing_class(labels, weights, words):
    with pytest.raises(InputError, match=words):
        metrics.auc(labels, [1.0, 2.0, 3.0], weights)


def test_gauc_needs_a_user_with_both_classes():
    words = "Received: 1 groups of positive rows alone and 2 of negative rows alone"
    with pytest.raises(InputError, match=words):
        metrics.grouped_auc([1, 1, 0, 0], [1.0, 2.0, 3.0, 4.0], [1, 1, 2, 3])


def test_labels_and_scores_are_checked():
    with pytest.raises(InputError, match="Labels must be 0 or 1. Received: 4.0 in row 1"):
        metrics.auc([1, 4], [1.0, 2.0])
    with pytest.raises(InputError, match="Predictions must be finite numbers. Received: nan"):
        metrics.grouped_auc([1, 0], [1.0, np.nan], [1, 1])
