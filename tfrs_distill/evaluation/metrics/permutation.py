"""Whether a paired difference could be chance: a permutation test."""

from __future__ import annotations

import numpy as np

from tfrs_distill.data.row_blocks import row_blocks


def permutation_p(differences: np.ndarray, *, num_samples: int = 10000, seed: int = 0) -> float:
    """Return the two-sided p of a mean of paired differences by flipping their signs at random.

    If neither scorer were better, each difference could as well have the other sign:
    `p = (1 + #{|mean(s * d)| >= |mean(d)|}) / (1 + num_samples)`, s in {-1, 1} at random.

    Reference: for information retrieval, [Smucker et al.,
    2007](https://doi.org/10.1145/1321440.1321528).

    Args:
        differences: float [num_queries], one scorer's value less the other's for the same query.
        num_samples: of the signs.
        seed: of the signs.

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
