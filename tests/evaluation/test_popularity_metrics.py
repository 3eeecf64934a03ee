"""Novelty, popularity bias and diversity: by hand, and in an evaluation."""

from itertools import combinations
from math import log2

import numpy as np
import pytest
from tiny_data import tiny_catalogue, windows_from

from tfrs_distill.data import row_blocks as blocks
from tfrs_distill.data.splits import Queries
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import evaluate, metrics

COUNTS = np.array([0, 8, 4, 1, 0])  # of items 1 to 4, by 8 users


def test_novelty_is_the_mean_self_information_of_the_recommended_items():
    found = metrics.novelty(np.array([[1, 2], [3, 0], [4, 1]]), COUNTS, num_users=8)
    assert found.tolist() == [(0 + 1) / 2, 3.0, (3 + 0) / 2]  # item 4 as if it had one user


def test_popularity_counts_only_the_recommended_items():
    found = metrics.recommended_popularity(np.array([[1, 2], [3, 0], [4, 1]]), COUNTS)
    assert found.tolist() == [6.0, 1.0, 4.0]


def test_the_lift_is_over_the_popularity_of_the_histories():
    histories = [np.array([2, 3]), np.array([], int), np.array([3])]
    lists = np.array([[1, 2], [1, 1], [0, 0]])
    # Only the first query has both: 6 against 2.5.
    assert metrics.popularity_lift(lists, histories, COUNTS) == pytest.approx(6 / 2.5 - 1)
    two = metrics.popularity_lift(lists[[0, 0]], [histories[0], histories[2]], COUNTS)
    assert two == pytest.approx((6 + 6) / (2.5 + 1) - 1)


def test_diversity_is_the_mean_over_the_pairs():
    random = np.random.default_rng(0)
    vectors, lists = random.normal(size=(9, 4)), random.integers(1, 10, (6, 5))
    lists[1, 3:] = 0
    vectors[lists[0, 0] - 1] = 0.0  # orthogonal to every other
    found = metrics.intra_list_diversity(lists, vectors)
    for row, items in enumerate(lists):
        distances = []
        for one, other in combinations(items[items > 0], 2):
            a, b = vectors[one - 1], vectors[other - 1]
            sizes = np.linalg.norm(a) * np.linalg.norm(b)
            distances.append(1 - (a @ b / sizes if sizes else 0.0))
        assert found[row] == pytest.approx(np.mean(distances), abs=1e-12)


@pytest.mark.filterwarnings("error")
def test_lists_without_items_have_no_value():
    empty = np.array([[0, 0], [1, 0]])
    assert np.isnan(metrics.novelty(empty, COUNTS, 8)).tolist() == [True, False]
    assert np.isnan(metrics.recommended_popularity(empty, COUNTS)).tolist() == [True, False]
    diversity = metrics.intra_list_diversity(empty, np.eye(4))
    assert np.isnan(diversity).tolist() == [True, True]  # one item has no pair


def test_diversity_in_blocks_is_the_same(monkeypatch):
    random = np.random.default_rng(1)
    vectors, lists = random.normal(size=(30, 8)), random.integers(1, 31, (50, 6))
    whole = metrics.intra_list_diversity(lists, vectors)
    monkeypatch.setattr(blocks, "CELLS", 7 * 6 * 8)
    np.testing.assert_array_equal(metrics.intra_list_diversity(lists, vectors), whole)


def test_an_evaluation_averages_them_over_its_queries():
    train = windows_from([[1, 2], [1, 2, 3], [1, 3], [1, 2]], num_items=4, max_history=4)
    queries = Queries(tiny_catalogue(4), [0, 1], ([3], [2]), ([1], [4]))
    lists = np.array([[1, 2], [1, 4]])
    found = evaluate(lambda histories, k: (np.zeros((2, k)), lists[:, :k]), queries, k=2)
    result = found.beyond_accuracy(train, np.eye(4)[[0, 0, 1, 2]])
    assert result == pytest.approx(
        {
            "novelty@2": np.mean([log2(4 / 3) / 2, log2(4) / 2]),  # with 4, 3, 2 and 0 of 4 users
            "popularity@2": np.mean([3.5, 2.0]),
            "popularity_lift@2": (3.5 + 2.0) / (2 + 3) - 1,
            "diversity@2": np.mean([0.0, 1.0]),
        }
    )
    assert found.at(1).beyond_accuracy(train) == pytest.approx(
        {"novelty@1": 0.0, "popularity@1": 4.0, "popularity_lift@1": 8 / 5 - 1}
    )
    with pytest.raises(ValueError, match=r"`item_vectors` must be \[4, dim\].*shape \(3, 3\)"):
        found.beyond_accuracy(train, np.eye(3))


def test_the_interval_of_independent_groups_is_that_of_two_means():
    random = np.random.default_rng(2)
    one, other = random.normal(0.3, 0.2, 900), random.normal(0.1, 0.4, 400)
    found = metrics.independent_difference(one, other, num_samples=3000)
    assert found["difference"] == pytest.approx(one.mean() - other.mean())
    error = np.sqrt(one.var() / 900 + other.var() / 400)
    expected = found["difference"] + 1.96 * error * np.array([-1, 1])
    assert found["interval"] == pytest.approx(expected, abs=0.15 * error)
    again = metrics.independent_difference(one, other, num_samples=3000)
    assert found == again


def test_groups_of_several_runs_are_resampled_by_runs_too():
    """Runs that differ by 0 and 1 in one group: only the runs vary."""
    one = np.stack([np.zeros(500), np.ones(500)])
    found = metrics.independent_difference(one, np.zeros((2, 300)))
    assert found == {"difference": 0.5, "interval": [0.0, 1.0]}
    with pytest.raises(InputError, match="of the same runs. Received: 2 and 1"):
        metrics.independent_difference(one, np.zeros(300))
    both = metrics.independent_difference(one, one)  # a run is drawn for both groups at once
    assert both == {"difference": 0.0, "interval": [0.0, 0.0]}
