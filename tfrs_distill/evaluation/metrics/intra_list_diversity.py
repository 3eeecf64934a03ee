"""Diversity inside a recommended list."""

from __future__ import annotations

import numpy as np

from tfrs_distill import columns
from tfrs_distill.data.row_blocks import row_blocks
from tfrs_distill.evaluation.metrics.metric import Metric


def intra_list_diversity(item_ids: np.ndarray, item_vectors: np.ndarray) -> np.ndarray:
    """Compute the mean of 1 - cosine over all pairs of a query's items, one value per query.

    `diversity = sum_{i < j} (1 - cos(v_i, v_j)) / (n (n - 1) / 2)`, over the n items of the list; a
    zero vector has cosine 0 with every other. Computed in blocks of queries, in float64.

    Reference: [Ziegler et al., 2005](https://doi.org/10.1145/1060745.1060754), equation 5, which
    sums similarities; this is a mean of distances.

    Args:
        item_ids: int [num_queries, k], 0 in empty slots.
        item_vectors: float [num_items, dim], item index `i + 1` in row `i`: such as text vectors.

    Returns:
        float64 [num_queries], 0 to 2; NaN for a list with fewer than two items.

    Example:
    >>> intra_list_diversity(np.array([[1, 2], [1, 3]]), np.eye(3)[[0, 0, 1]]).tolist()
    [0.0, 1.0]
    """
    vectors = np.zeros((len(item_vectors) + 1, item_vectors.shape[1]))
    vectors[1:] = unit_vectors(item_vectors)
    found = np.full(len(item_ids), np.nan)
    for rows in row_blocks(len(item_ids), item_ids.shape[1] * vectors.shape[1]):
        of_lists = vectors[item_ids[rows]]  # zeros where a slot is empty
        together = of_lists.sum(axis=1)
        cosines = (together**2).sum(axis=1) - (of_lists**2).sum(axis=(1, 2))  # each pair twice
        number = (item_ids[rows] != columns.PADDING).sum(axis=1)
        pairs = number * (number - 1)
        found[rows] = 1 - np.divide(
            cosines, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0
        )
    return found


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """Return the vectors at length 1, float64 [num_vectors, dim]; one of zeros stays as it is."""
    vectors = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


DIVERSITY = Metric("diversity", "Diversity", note="mean of 1 - cosine over the pairs of a list")
