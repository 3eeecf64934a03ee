"""Resampling whole users: its weights, its width on planted data, its seed."""

import time

import numpy as np
import pytest

from tfrs_distill.evaluation import metrics
from tfrs_distill.evaluation.metrics import bootstrap


def weights_of(clusters, **arguments):
    """The row weights themselves, as the statistic."""
    return metrics.cluster_bootstrap(lambda weights: weights, np.array(clusters), **arguments)


def test_all_rows_of_a_user_are_resampled_together():
    clusters = [5, 5, 2, 9, 2, 2]
    weights = weights_of(clusters, num_samples=300)
    assert weights.shape == (300, 6)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 1])
    np.testing.assert_array_equal(weights[:, 2], weights[:, 4])
    np.testing.assert_array_equal(weights[:, 2], weights[:, 5])
    drawn = weights[:, [0, 2, 3]]
    np.testing.assert_array_equal(drawn.sum(axis=1), 3)  # as many users as there are
    # Each count is binomial of 3 and 1/3: mean 1, variance 2/3.
    assert abs(drawn.mean(axis=0) - 1).max() < 4 * np.sqrt(2 / 3 / 300)
    np.testing.assert_allclose(drawn.var(axis=0), 2 / 3, rtol=0.25)


def test_fixed_by_its_seed_for_any_block_size(monkeypatch):
    clusters = np.arange(50) % 7
    first = weights_of(clusters, num_samples=20, seed=3)
    np.testing.assert_array_equal(first, weights_of(clusters, num_samples=20, seed=3))
    assert (first != weights_of(clusters, num_samples=20, seed=4)).any()
    monkeypatch.setattr(bootstrap, "VALUES_AT_A_TIME", 150)
    sizes = []

    def statistic(weights):
        sizes.append(len(weights))
        return weights

    again = metrics.cluster_bootstrap(statistic, clusters, num_samples=20, seed=3)
    np.testing.assert_array_equal(first, again)
    assert sizes == [3] * 6 + [2]


def test_several_statistics_at_once():
    values, users = np.array([1.0, 2.0, 6.0]), np.array([1, 1, 2])
    both = metrics.cluster_bootstrap(
        lambda w: np.stack([w @ values, w.sum(axis=1)], axis=1), users, num_samples=50
    )
    assert both.shape == (50, 2)
    alone = metrics.cluster_bootstrap(lambda w: w @ values, users, num_samples=50)
    np.testing.assert_array_equal(both[:, 0], alone)


def test_planted_correlation_within_users_widens_the_interval():
    random = np.random.default_rng(0)
    users = np.repeat(np.arange(200), 10)
    values = np.repeat(random.normal(size=200), 10)
    samples = metrics.cluster_bootstrap(
        lambda w: w @ values / w.sum(axis=1), users, num_samples=2000, seed=1
    )
    low, high = metrics.percentile_interval(samples)
    # The mean of 200 independent normals: 1.96 / sqrt(200) each way, of 2000 rows a third of that.
    width = values.std() / np.sqrt(200)
    assert low == pytest.approx(values.mean() - 1.96 * width, abs=0.2 * width)
    assert high == pytest.approx(values.mean() + 1.96 * width, abs=0.2 * width)


def test_percentiles_are_over_defined_values():
    samples = np.append(np.arange(101.0), [np.nan] * 50)
    assert metrics.percentile_interval(samples) == pytest.approx((2.5, 97.5))
    assert np.isnan(metrics.percentile_interval(np.full(3, np.nan))).all()


def test_a_thousand_resamples_of_ten_thousand_rows_take_seconds():
    random = np.random.default_rng(0)
    users, scores = random.integers(0, 943, 10000), random.random(10000)
    labels = random.random(10000) < scores
    started = time.perf_counter()
    for metric in (
        lambda w: metrics.auc(labels, scores, w),
        lambda w: metrics.grouped_auc(labels, scores, users, w).value,
    ):
        samples = metrics.cluster_bootstrap(metric, users)
        assert samples.shape == (1000,)
    assert time.perf_counter() - started < 20  # about 2 s on a free core
