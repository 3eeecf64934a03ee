"""Bootstrap intervals: for a mean over queries, and for any metric over users."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tfrs_distill.data.row_blocks import row_blocks

MANY = 100  # clusters from which on an interval has about its nominal coverage
VALUES_AT_A_TIME = 2**20  # row weights held at once: 8 MB, and a few times that in a statistic


def bootstrap_interval(
    values: np.ndarray, *, num_samples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the mean over queries, or queries and seeds.

    For a difference of two scorers, pass the difference of their values for the same queries: the
    interval is then paired. With few queries it is too narrow, see `too_few_to_resample`. Values of
    several runs are resampled over queries and, independently, over runs, so the interval covers
    other queries and other seeds. With one run it does not cover other seeds, and with few runs it
    is too narrow: a resample of n has `(n - 1) / n` of the variance of new runs.

    Reference: resampling both, [Owen, 2007](https://arxiv.org/abs/0712.1111).

    Args:
        values: float [num_queries], or [num_runs, num_queries] of the same queries.
        num_samples: number of resamples.
        seed: seed of the resampling.

    Example:
    >>> values = np.array([[0.25] * 100, [0.75] * 100])  # two runs that differ, queries that do not
    >>> bootstrap_interval(values)
    (0.25, 0.75)
    """
    generator = np.random.default_rng(seed)
    values = np.atleast_2d(values)
    means = [
        np.einsum(
            "sr,rq,sq->s",
            draws(generator, rows.stop - rows.start, values.shape[0]),
            values,
            draws(generator, rows.stop - rows.start, values.shape[1]),
            optimize=True,
        )
        / values.size
        for rows in row_blocks(num_samples, values.shape[1])
    ]
    return percentile_interval(np.concatenate(means))


def draws(generator: np.random.Generator, num_samples: int, number: int) -> np.ndarray:
    """Return the counts in each resample: int [num_samples, number]; 1 if `number` is 1."""
    if number == 1:
        return np.ones((num_samples, 1), np.int64)
    return generator.multinomial(number, np.full(number, 1 / number), size=num_samples)


def too_few_to_resample(num_clusters: int) -> bool:
    """Return whether there are too few users, queries or lists for a bootstrap interval.

    The limit is 100. A resample of n has `(n - 1) / n` of the variance of a new sample, and its
    percentiles follow the skewness of the few values: a 95 % interval then covers the true value
    less often, with 10 users in 87 to 89 of 100 cases (`benchmarks/intervals.py`).

    Reference: [Hesterberg, 2015](https://doi.org/10.1080/00031305.2015.1089789).

    Args:
        num_clusters: number of resampled units.
    """
    return num_clusters < MANY


def cluster_bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray],
    clusters: np.ndarray,
    *,
    num_samples: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Resample users, and return the statistic of each resample.

    Each resample draws as many clusters as there are, with replacement. All rows of a cluster are
    drawn together. Rows of one user are not independent, so resampling rows would give intervals
    that are too narrow. Two statistics of the same clusters with the same `num_samples` and `seed`
    use the same resamples: their differences are paired.

    Reference: [Field and Welsh, 2007](https://doi.org/10.1111/j.1467-9868.2007.00593.x),
    the randomised cluster bootstrap.

    Args:
        statistic: row weights, float64 [some_resamples, num_rows], to values, [some_resamples] or
            [some_resamples, num_statistics]; such as `lambda w: metrics.auc(labels, scores, w)`.
        clusters: the cluster of each row, such as its user, [num_rows].
        num_samples: number of resamples.
        seed: seed of the resampling.

    Returns:
        float64 [num_samples] or [num_samples, num_statistics].

    Example:
    >>> values, users = np.array([1.0, 1.0, 4.0]), np.array([7, 7, 9])
    >>> means = cluster_bootstrap(lambda w: w @ values / w.sum(axis=1), users, num_samples=99)
    >>> sorted(set(means.tolist()))  # the first user twice, both, the second twice
    [1.0, 2.0, 4.0]
    """
    names, cluster = np.unique(np.asarray(clusters), return_inverse=True)
    generator = np.random.default_rng(seed)
    chances = np.full(len(names), 1 / len(names))
    at_a_time = max(1, VALUES_AT_A_TIME // max(len(cluster), 1))
    samples = []
    for start in range(0, num_samples, at_a_time):
        size = min(at_a_time, num_samples - start)
        drawn = generator.multinomial(len(names), chances, size=size)
        samples.append(statistic(drawn.astype(np.float64)[:, cluster]))
    return np.concatenate(samples)


def resample_runs(samples: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Resample runs too: the mean of each resample over as many runs, drawn with replacement.

    `cluster_bootstrap` of every run followed by this function does for a metric that is not a mean
    (such as AUC) what `bootstrap_interval` does for the mean of `[num_runs, num_queries]`: it
    resamples users and, independently, runs.

    Args:
        samples: float [num_samples, num_runs], a run's statistic in each resample of its users.
        seed: seed of the resampling; its draws are independent of those of `cluster_bootstrap`.

    Returns:
        float64 [num_samples].

    Example:
    >>> sorted(set(resample_runs(np.tile([1.0, 3.0], (99, 1))).tolist()))
    [1.0, 2.0, 3.0]
    """
    generator = np.random.default_rng([seed, 1])
    means: np.ndarray = (draws(generator, *samples.shape) * samples).mean(axis=1)
    return means


def percentile_interval(samples: np.ndarray) -> tuple[float, float]:
    """Return the bounds of the middle 95 % of resampled values, without NaN.

    Example:
    >>> percentile_interval(np.arange(201.0))
    (5.0, 195.0)
    """
    defined = samples[~np.isnan(samples)]
    if len(defined) == 0:
        return math.nan, math.nan
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)
