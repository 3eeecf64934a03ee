"""The difference of the means of two groups of queries without common queries."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfrs_distill.data.row_blocks import row_blocks
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation.metrics.bootstrap import draws, percentile_interval


def independent_difference(
    one: np.ndarray, other: np.ndarray, *, num_samples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Compare the mean values of two groups, such as women and men.

    Each group is resampled separately: `mean(one*) - mean(other*)`. For the same queries use
    `paired_difference`, whose interval is narrower.

    Reference: the two-sample bootstrap, [Efron and Tibshirani,
    1986](https://doi.org/10.1214/ss/1177013815), section 2.

    Args:
        one: float [num_queries of the group], at least one; or [num_runs, num_queries] of several
            runs, which are resampled too.
        other: float [num_queries of the other group], at least one; or of the same runs.
        num_samples: resamples.
        seed: of the resampling.

    Raises:
        InputError: the two have different numbers of runs.

    Returns:
        `difference` of the means and its 95 % bootstrap `interval`.

    Example:
    >>> independent_difference(np.array([0.5, 0.5]), np.array([0.25, 0.25, 0.25]))
    {'difference': 0.25, 'interval': [0.25, 0.25]}
    """
    num_runs = [len(np.atleast_2d(values)) for values in (one, other)]
    if num_runs[0] != num_runs[1]:
        raise InputError(
            f"Both groups need values of the same runs. Received: {num_runs[0]} and {num_runs[1]}."
        )
    generator = np.random.default_rng(seed)
    runs = draws(generator, num_samples, num_runs[0])
    means = []
    for values in map(np.atleast_2d, (one, other)):
        num_queries = values.shape[1]
        by_run = [
            draws(generator, rows.stop - rows.start, num_queries) @ values.T
            for rows in row_blocks(num_samples, num_queries)
        ]
        means.append((runs * np.concatenate(by_run)).sum(axis=1) / values.size)
    return {
        "difference": float(one.mean() - other.mean()),
        "interval": list(percentile_interval(means[0] - means[1])),
    }
