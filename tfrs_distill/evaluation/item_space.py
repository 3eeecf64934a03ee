"""Comparison of item vectors of several models: a two-dimensional map, and shared neighbours.

Item vectors are compared by direction only (as unit vectors), because models differ in scale.
"""

from __future__ import annotations

import numpy as np

from tfrs_distill.data.row_blocks import row_blocks
from tfrs_distill.evaluation import metrics
from tfrs_distill.evaluation.metrics.intra_list_diversity import unit_vectors


def principal_components(vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """Project unit vectors on their first two principal components.

    With the rows `x_i = v_i / |v_i|` minus their mean, and the eigenvectors `a_1`, `a_2` of
    `sum_i x_i x_i^T` with the largest eigenvalues, the coordinates are `x_i . a_1`, `x_i . a_2`.
    The sign of an axis makes its entry of the largest size positive.

    Args:
        vectors: float [num_items, dim].

    Returns:
        The coordinates, float64 [num_items, 2], and their share of the variance (0 if there is
        none).

    Example:
    >>> coordinates, share = principal_components(np.array([[3.0, 0.0], [-2.0, 0.0]]))
    >>> coordinates.tolist(), share
    ([[1.0, 0.0], [-1.0, 0.0]], 1.0)
    """
    centred = unit_vectors(vectors)
    centred -= centred.mean(axis=0)
    values, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    coordinates = np.zeros((len(centred), 2))
    coordinates[:, : axes.shape[1]] = centred @ axes
    total = float(values.sum())
    return coordinates, float(values[::-1][:2].sum()) / total if total > 0 else 0.0


def turned_to(coordinates: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Rotate or mirror a map so that its points are as near to another map's as possible.

    Uses the orthogonal matrix R that minimises `sum_i |R x_i - s y_i|^2` for every scale s > 0;
    distances do not change. Reference: [Schoenemann, 1966](https://doi.org/10.1007/BF02289451).

    Args:
        coordinates: float [num_items, 2], with mean 0.
        others: coordinates of the same items in the other map, with mean 0.

    Example:
    >>> turned_to(np.array([[0.0, 1.0], [0.0, -1.0]]), np.array([[5.0, 0.0], [-5.0, 0.0]])).round(9)
    array([[ 1.,  0.],
           [-1.,  0.]])
    """
    left, _, right = np.linalg.svd(coordinates.T @ others)
    turned: np.ndarray = coordinates @ (left @ right)
    return turned


def neighbour_overlap(one: np.ndarray, other: np.ndarray, rows: np.ndarray, k: int) -> float:
    """Return the mean overlap of an item's k nearest neighbours (by cosine) in two models.

    For two random orders it is `k / (num_items - 1)`.

    Args:
        one: float [num_items, dim], vectors of one model.
        other: [num_items, another dim].
        rows: int, the items whose neighbours among all items are compared.
        k: number of neighbours, less than `num_items`.

    Example:
    >>> line = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    >>> neighbour_overlap(line, line[[0, 2, 1, 3]], np.arange(4), 1)
    0.0
    """
    return float(metrics.overlap(*(_nearest(vectors, rows, k) for vectors in (one, other))).mean())


def _nearest(vectors: np.ndarray, rows: np.ndarray, k: int) -> np.ndarray:
    """Item indices from 1, int [num_rows, k]."""
    unit = unit_vectors(vectors)
    found = []
    for block in row_blocks(len(rows), len(unit)):
        some = rows[block]
        cosines = unit[some] @ unit.T
        cosines[np.arange(len(some)), some] = -np.inf
        found.append(np.argsort(-cosines, axis=1, kind="stable")[:, :k] + 1)
    return np.concatenate(found)
