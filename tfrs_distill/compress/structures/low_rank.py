"""The table as a product of two narrow matrices."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_distill.compress.structures.structure import Parts, Structure


class LowRank(Structure):
    """`table = left right`, left [num_rows, rank], right [rank, dim].

    Both are initialized by the singular value decomposition of the rows, each multiplied by the
    root of its weight: no other product of that rank has a smaller weighted squared error. Both
    factors are then rotated at random, `left R` and `R^T right`. The product stays the same, and
    the few large columns of the left factor are spread over all columns, which lowers the error of
    quantization.

    Reference: [Eckart and Young, 1936](https://doi.org/10.1007/BF02288367); rotations,
    [Chee et al., 2023](https://arxiv.org/abs/2307.13304) (QuIP).
    """

    name = "low-rank"
    sizes = ("rank",)
    exact = ("right",)

    def check(self) -> str:
        """Check that the rank is below the table's width and at most its number of rows."""
        (rank,) = self.numbers
        most = min(self.dim - 1, self.num_rows)
        return "" if 1 <= rank <= most else f"the rank must be from 1 to {most}"

    def floats(self) -> dict[str, tuple[int, int]]:
        """Both factors."""
        (rank,) = self.numbers
        return {"left": (self.num_rows, rank), "right": (rank, self.dim)}

    def fit(self, table: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Fit both factors, balanced in size, and rotate them."""
        (rank,) = self.numbers
        rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=[rank, rank]))
        roots = np.sqrt(weights)[:, None]
        _, values, right = np.linalg.svd(roots * table, full_matrices=False)
        right = right[:rank]
        size = np.sqrt(np.maximum(values[:rank], 1e-12) / np.sqrt(len(table)))
        return {
            "left": (table @ right.T / size @ rotation).astype(np.float32),
            "right": (rotation.T @ (size[:, None] * right)).astype(np.float32),
        }

    def rows(self, parts: Parts, rows: tf.Tensor | None) -> tf.Tensor:
        """Multiply rows of the left factor by the right factor."""
        return tf.matmul(parts["left"].gather(rows), parts["right"].gather(None))

    def scores(self, parts: Parts, queries: tf.Tensor) -> tf.Tensor:
        """Apply the right factor first: `queries right^T left^T`."""
        return parts["left"].scores(parts["right"].scores(queries))


def rank_of(table: np.ndarray, weights: np.ndarray, energy: float) -> int:
    """Return the least rank that keeps a share of the weighted squares of a table.

    Args:
        table: float [num_rows, dim].
        weights: float [num_rows].
        energy: the share, below 1.
    """
    values = np.linalg.svd(np.sqrt(weights)[:, None] * table, compute_uv=False)
    kept = np.cumsum(np.square(values)) / np.square(values).sum()
    return int(np.searchsorted(kept, energy)) + 1
