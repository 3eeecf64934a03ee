"""The paired difference of two scorers, query by query, and its significance."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfrs_distill.data.row_blocks import row_blocks
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation.metrics.bootstrap import bootstrap_interval


def paired_difference(
    one: np.ndarray, other: np.ndarray, *, num_samples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Compare two scorers' values for the same queries, from one run or several.

    Args:
        one: float [num_queries], or [num_runs, num_queries] for several seeds.
        other: values for the same queries; with the same number of runs, paired run by run.
        num_samples: number of bootstrap resamples.
        seed: seed of the bootstrap.

    Returns:
        `difference` of the means; its 95 % bootstrap `interval` over queries and, if both have the
        same runs, over runs; `ratio` of the means, None if that of `other` is 0; `p` of the
        permutation test of the queries' means over the runs; `gained` and `lost`, the shares of
        queries for which `one` is better and worse.

    Raises:
        InputError: the two are not of the same queries, or a value is not finite.

    Example:
    >>> found = paired_difference(np.array([0.2, 0.6, 0.5]), np.array([0.1, 0.4, 0.5]))
    >>> round(found["difference"], 9), round(found["ratio"], 9), round(found["gained"], 3)
    (0.1, 1.3, 0.667)
    """
    one, other = np.atleast_2d(one), np.atleast_2d(other)
    if one.shape[1] != other.shape[1] or not np.isfinite([one.sum(), other.sum()]).all():
        raise InputError(
            "A paired difference needs two finite values for each query. Received: values of "
            f"{one.shape[1]} and {other.shape[1]} queries, "
            f"{(~np.isfinite(one)).sum()} and {(~np.isfinite(other)).sum()} of them not finite."
        )
    difference = one.mean(axis=0) - other.mean(axis=0)
    of_runs = one - other if len(one) == len(other) else difference
    low, high = bootstrap_interval(of_runs, num_samples=num_samples, seed=seed)
    base = float(other.mean())
    return {
        "difference": float(difference.mean()),
        "interval": [low, high],
        "ratio": float(one.mean()) / base if base else None,
        "p": permutation_p(difference, seed=seed),
        "gained": float((difference > 0).mean()),
        "lost": float((difference < 0).mean()),
    }


def permutation_p(differences: np.ndarray, *, num_samples: int = 10000, seed: int = 0) -> float:
    """Return the two-sided p-value of the mean paired difference, by random sign flips.

    Under the null hypothesis each difference could have the other sign:
    `p = (1 + #{|mean(s * d)| >= |mean(d)|}) / (1 + num_samples)`, with s in {-1, 1} at random.

    Reference: for information retrieval, [Smucker et al.,
    2007](https://doi.org/10.1145/1321440.1321528).

    Args:
        differences: float [num_queries], one scorer's value minus the other's for the same query.
        num_samples: number of sign vectors.
        seed: seed of the signs.

    Example:
    >>> permutation_p(np.zeros(5)), permutation_p(np.ones(20), num_samples=999)
    (1.0, 0.001)
    """
    generator = np.random.default_rng(seed)
    observed = abs(differences.sum()) * (1 - 1e-12)
    as_large = 0
    for rows in row_blocks(num_samples, len(differences)):
        signs = generator.integers(0, 2, (rows.stop - rows.start, len(differences))) * 2 - 1
        as_large += int((np.abs(signs @ differences) >= observed).sum())
    return (1 + as_large) / (1 + num_samples)
