"""Ranking metrics by hand, as fractions."""

from math import log2

import numpy as np
import pytest

from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import metrics


def one(metric, items, positives):
    """The metric of a single query."""
    values = metric(np.array([items], np.int32), [np.array(positives, np.int32)])
    assert values.shape == (1,)
    return float(values[0])


@pytest.mark.parametrize(
    ("items", "positives", "expected"),
    [
        ([4, 9, 7], [4], 1.0),
        ([9, 4, 7], [4], 1 / log2(3)),
        ([9, 7, 4], [4], 1 / 2),  # log2(4) = 2
        ([4, 9, 7], [7, 4], (1 + 1 / 2) / (1 + 1 / log2(3))),
        ([1, 2, 3], [4], 0.0),
        ([3, 2, 1], [1, 2, 3, 4, 5], 1.0),  # as good as 3 slots allow
        ([9, 4, 7], [4, 1, 2, 3], (1 / log2(3)) / (1 + 1 / log2(3) + 1 / 2)),
        ([4, 0, 0], [4, 5], 1 / (1 + 1 / log2(3))),  # empty slots
        ([0, 0, 0], [4], 0.0),
        ([9, 4, 7], [4, 4], 1 / log2(3)),  # two interactions, one relevant item
    ],
)
def test_ndcg(items, positives, expected):
    assert one(metrics.ndcg, items, positives) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("items", "positives", "expected"),
    [
        ([4, 9, 7], [4], 1.0),
        ([4, 9, 7], [7, 4, 1], 2 / 3),
        ([1, 2, 3], [4], 0.0),
        ([3, 2, 1], [1, 2, 3, 4, 5], 3 / 5),
        ([4, 0, 0], [4, 5], 1 / 2),
        ([4, 9, 7], [4, 4], 1.0),
    ],
)
def test_recall(items, positives, expected):
    assert one(metrics.recall, items, positives) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("items", "positives", "expected"),
    [
        ([4, 9, 7], [4], 1.0),
        ([9, 4, 7], [7, 4], 1 / 2),  # the first of two counts
        ([9, 8, 7], [7], 1 / 3),
        ([1, 2, 3], [4], 0.0),
        ([0, 0, 0], [4], 0.0),
    ],
)
def test_reciprocal_rank(items, positives, expected):
    assert one(metrics.reciprocal_rank, items, positives) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("items", "positives", "expected"),
    [([4, 9], [4], 1.0), ([9, 4], [4, 9], 1.0), ([1, 2], [4], 0.0), ([0, 0], [4], 0.0)],
)
def test_hit_rate(items, positives, expected):
    assert one(metrics.hit_rate, items, positives) == expected


def test_an_item_recommended_twice_counts_once():
    for metric in (metrics.ndcg, metrics.recall, metrics.reciprocal_rank, metrics.hit_rate):
        assert one(metric, [4, 4, 4], [4]) == 1.0


def test_padding_is_not_a_hit_even_if_a_positive_is_0():
    np.testing.assert_array_equal(
        metrics.hits(np.array([[0, 4, 0]]), [np.array([0, 4])]), [[False, True, False]]
    )


def test_one_value_per_query():
    items = np.array([[1, 2], [3, 4], [5, 6]])
    positives = [np.array([2]), np.array([9, 8]), np.array([5, 6])]
    np.testing.assert_allclose(metrics.ndcg(items, positives), [1 / log2(3), 0, 1])
    np.testing.assert_allclose(metrics.recall(items, positives), [1, 0, 1])
    np.testing.assert_allclose(metrics.reciprocal_rank(items, positives), [1 / 2, 0, 1])
    np.testing.assert_allclose(metrics.hit_rate(items, positives), [1, 0, 1])


def test_another_number_of_queries_is_an_error():
    with pytest.raises(ValueError, match="an array for each query.*1 arrays for 2 queries"):
        metrics.recall(np.array([[1], [2]]), [np.array([1])])


def test_coverage():
    assert metrics.coverage(np.array([[1, 2], [2, 1]]), 8) == 2 / 8
    assert metrics.coverage(np.array([[1, 0], [0, 0]]), 8) == 1 / 8  # empty slots are not items
    assert metrics.coverage(np.array([[1, 2], [3, 4]]), 4) == 1.0


def test_overlap():
    theirs = np.array([[4, 9, 8, 1], [5, 6, 7, 8], [1, 2, 0, 0]])
    ours = np.array([[1, 2, 3, 4], [8, 7, 6, 5], [2, 9, 0, 0]])
    np.testing.assert_array_equal(metrics.overlap(ours, theirs), [2 / 4, 1, 1 / 4])


def test_bootstrap_interval_is_the_normal_one_for_many_values():
    values = np.random.default_rng(1).normal(0.3, 0.2, 2000)
    error = values.std() / np.sqrt(len(values))
    low, high = metrics.bootstrap_interval(values, num_samples=2000, seed=5)
    # The 95 % quantile of a normal is 1.96; of 2000 resamples it is off by about 3 %.
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_bootstrap_interval_is_fixed_by_its_seed():
    values = np.random.default_rng(0).random(50)
    first = metrics.bootstrap_interval(values, seed=3)
    assert first == metrics.bootstrap_interval(values, seed=3)
    assert first != metrics.bootstrap_interval(values, seed=4)


def test_bootstrap_interval_of_equal_values_is_a_point():
    low, high = metrics.bootstrap_interval(np.full(20, 0.25))
    assert low == pytest.approx(0.25) and high == pytest.approx(0.25)


def test_over_several_runs_both_queries_and_runs_are_resampled():
    """`values[r, q] = a_r + b_q`: the variances of the two means add up."""
    random = np.random.default_rng(2)
    runs, queries = random.normal(0, 0.3, 30), random.normal(0, 0.5, 400)
    values = 1.0 + runs[:, None] + queries[None, :]
    low, high = metrics.bootstrap_interval(values, num_samples=4000)
    error = np.sqrt(runs.var() / 30 + queries.var() / 400)
    np.testing.assert_allclose(
        [low, high], values.mean() + 1.96 * error * np.array([-1, 1]), atol=0.01
    )
    alone = metrics.bootstrap_interval(values.mean(axis=0), num_samples=4000)
    assert alone[1] - alone[0] < 0.6 * (high - low)


def test_one_run_is_resampled_by_queries_alone():
    values = np.random.default_rng(3).random(50)
    assert metrics.bootstrap_interval(values[None]) == metrics.bootstrap_interval(values)


@pytest.mark.parametrize(
    ("items", "positives", "precision", "average"),
    [
        ([4, 9, 7], [4], 1 / 3, 1.0),
        ([9, 4, 7], [7, 4], 2 / 3, (1 / 2 + 2 / 3) / 2),
        ([4, 9, 7], [4, 1, 2], 1 / 3, 1 / 3),  # two were not found
        ([4, 4, 7], [4], 1 / 3, 1.0),  # an item counts once
        ([4, 0, 0], [4, 5], 1 / 3, 1 / 2),  # empty slots
        ([1, 2, 3], [4], 0.0, 0.0),
    ],
)
def test_precision_and_average_precision(items, positives, precision, average):
    assert one(metrics.precision, items, positives) == pytest.approx(precision, rel=1e-12)
    assert one(metrics.average_precision, items, positives) == pytest.approx(average, rel=1e-12)


@pytest.mark.parametrize(
    ("items", "num_items", "expected"),
    [
        ([[1, 2], [3, 4]], 4, 0.0),
        ([[1, 2], [1, 2]], 4, 0.5),  # 0, 0, 2, 2: (2 * 1 + 2 * 3) / (4 * 4)
        ([[1, 2], [1, 3]], 3, 1 / 6),  # 1, 1, 2: (-2 + 0 + 4) / (3 * 4)
        ([[9, 0], [9, 0]], 2, 0.5),  # one of two candidates has everything; empty slots
        ([[0, 0]], 3, 0.0),
    ],
)
def test_gini(items, num_items, expected):
    assert metrics.gini(np.array(items), num_items) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ([0.2, np.nan], [0.1, 0.3], "of 2 and 2 queries, 1 and 0 of them not finite"),
        ([0.2, 0.3], [0.1, np.inf], "of 2 and 2 queries, 0 and 1 of them not finite"),
        ([0.2, 0.3, 0.4], [0.1], "of 3 and 1 queries"),
    ],
)
def test_a_paired_difference_needs_a_value_of_both_for_each_query(one, other, words):
    with pytest.raises(InputError, match=words):
        metrics.paired_difference(np.array(one), np.array(other))
