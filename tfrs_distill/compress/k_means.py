"""Weighted k-means."""

from __future__ import annotations

import numpy as np

NUM_STEPS = 25
BLOCK = 4096  # rows whose distances are in memory at a time


def k_means(
    rows: np.ndarray, weights: np.ndarray, num_centres: int, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return centres with a small weighted squared distance to the rows, and each row's nearest.

    Lloyd's algorithm, starting from `num_centres` rows drawn by their weights. A centre without
    rows moves to the row that is farthest from its nearest centre.

    Reference: [Lloyd, 1982](https://doi.org/10.1109/TIT.1982.1056489).

    Args:
        rows: float [num_rows, dim].
        weights: float [num_rows], above 0.
        num_centres: at most `num_rows`.
        seed: for drawing the rows.

    Returns:
        float32 [num_centres, dim] and int32 [num_rows].
    """
    generator = np.random.default_rng(seed)
    drawn = generator.choice(len(rows), num_centres, replace=False, p=weights / weights.sum())
    centres = rows[drawn].astype(np.float64)
    nearest = np.zeros(len(rows), np.int32)
    for _ in range(NUM_STEPS):
        before = nearest
        nearest, distances = _nearest(rows, centres)
        if np.array_equal(before, nearest):
            break
        sizes = np.bincount(nearest, weights, num_centres)
        sums = np.stack(
            [np.bincount(nearest, weights * column, num_centres) for column in rows.T], axis=1
        )
        centres = sums / np.maximum(sizes, 1e-12)[:, None]
        empty = np.flatnonzero(sizes == 0)
        centres[empty] = rows[np.argsort(-weights * distances)[: len(empty)]]
    return centres.astype(np.float32), _nearest(rows, centres)[0]


def _nearest(rows: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest centre of every row, and the squared distance to it."""
    squares = np.square(centres).sum(axis=1)
    nearest, distances = np.zeros(len(rows), np.int32), np.zeros(len(rows))
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        all_distances = squares - 2.0 * block @ centres.T
        found = all_distances.argmin(axis=1)
        nearest[start : start + BLOCK] = found
        least = np.take_along_axis(all_distances, found[:, None], axis=1)[:, 0]
        distances[start : start + BLOCK] = least + np.square(block).sum(axis=1)
    return nearest, distances
