"""NDCG of given candidate lists: by hand and against scikit-learn, list by list."""

from math import log2

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import metrics


@pytest.mark.parametrize(
    ("labels", "scores", "k", "expected"),
    [
        ([1, 0, 0], [3, 2, 1], 10, 1.0),
        ([0, 1, 0], [3, 2, 1], 10, 1 / log2(3)),
        ([0, 0, 1], [3, 2, 1], 2, 0.0),
        ([1, 0, 1], [3, 2, 1], 10, (1 + 1 / 2) / (1 + 1 / log2(3))),
        ([1, 0, 1], [3, 2, 1], 1, 1.0),
        ([2, 4, 0], [1, 0, 2], 10, (2 / log2(3) + 4 / 2) / (4 + 2 / log2(3))),
        ([1, 0], [5, 5], 10, (1 + 1 / log2(3)) / 2),  # equal scores: half the time first
        ([1, 0], [5, 5], 1, 1 / 2),
    ],
)
def test_by_hand(labels, scores, k, expected):
    result = metrics.list_ndcg(labels, scores, np.zeros(len(labels)), k=k)
    assert result.value == pytest.approx(expected, rel=1e-12)
    assert result[1:] == (1, 0)


@pytest.mark.parametrize("k", [1, 3, 10])
@pytest.mark.parametrize("levels", [3, 10**6])
def test_equal_to_scikit_learn_list_by_list(k, levels):
    random = np.random.default_rng(levels)
    labels, scores = random.integers(0, 4, 400), random.integers(0, levels, 400)
    lists = random.integers(0, 50, 400) * 2 + 5
    expected, skipped = [], 0
    for name in np.unique(lists):
        rows = lists == name
        if len(np.unique(labels[rows])) > 1:
            expected.append(ndcg_score([labels[rows]], [scores[rows]], k=k))
        else:
            skipped += 1
    result = metrics.list_ndcg(labels, scores, lists, k=k)
    assert result.value == pytest.approx(np.mean(expected), rel=1e-12)
    assert result[1:] == (len(expected), skipped)


def test_lists_with_equal_labels_are_skipped():
    labels = [1, 0, 1, 1, 0, 0, 1, 0, 1]
    scores = [2, 1, 2, 1, 2, 1, 5, 2, 1]
    lists = ["a", "a", "all", "all", "none", "none", "one", "b", "b"]
    result = metrics.list_ndcg(labels, scores, lists)
    assert result == (pytest.approx((1 + 1 / log2(3)) / 2), 2, 3)


def test_a_list_has_the_mean_weight_of_its_rows():
    labels, scores, lists = [1, 0, 0, 0, 1], [2, 1, 0, 2, 1], [4, 4, 4, 9, 9]
    result = metrics.list_ndcg(labels, scores, lists, weights=[3, 3, 3, 1, 1])
    assert result.value == pytest.approx((3 * 1 + 1 / log2(3)) / 4)
    resamples = np.array([[3, 3, 3, 1, 1], [0, 0, 0, 1, 1], [1, 1, 1, 0, 0], [0] * 5], float)
    result = metrics.list_ndcg(labels, scores, lists, weights=resamples)
    np.testing.assert_allclose(
        result.value, [(3 + 1 / log2(3)) / 4, 1 / log2(3), 1.0, np.nan], rtol=1e-12
    )


def test_invalid_input_is_refused():
    with pytest.raises(InputError, match="must be at least 0. Received: -1.0"):
        metrics.list_ndcg([1, -1], [1, 2], [0, 0])
    with pytest.raises(InputError, match="2 lists, each with equal labels"):
        metrics.list_ndcg([1, 1, 0], [1, 2, 3], [0, 0, 1])
    with pytest.raises(InputError, match="Predictions must be finite"):
        metrics.list_ndcg([1, 0], [1, np.nan], [0, 0])
    with pytest.raises(ValueError, match="`k` must be at least 1. Received: k=0"):
        metrics.list_ndcg([1, 0], [1, 2], [0, 0], k=0)
