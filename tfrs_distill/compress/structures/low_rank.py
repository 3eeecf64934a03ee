"""The table as a product of two narrow ones."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_distill.compress.structures.structure import Parts, Structure
from tfrs_distill.models.features.table import rows_at_run_time


class LowRank(Structure):
    """`table = left right`, left [num_rows, rank], right [rank, dim].

    They start from the singular value decomposition of the rows, each times the root of its
    weight: no other product of that rank has a smaller weighted squared error. Both factors are
    then rotated at random, `left R` and `R^T right`, which leaves the product as it is and spreads
    the few large columns of the left one over all of them: few bits lose less of it.

    Reference: [Eckart and Young, 1936](https://doi.org/10.1007/BF02288367); rotations,
    [Chee et al., 2023](https://arxiv.org/abs/2307.13304) (QuIP).
    """

    name = "low-rank"
    sizes = ("rank",)
    exact = ("right",)

    def check(self) -> str:
        """A rank of the table's width saves nothing, and a table has no more than it has rows."""
        (rank,) = self.numbers
        most = min(self.dim - 1, self.num_rows)
        return "" if 1 <= rank <= most else f"the rank must be from 1 to {most}"

    def floats(self) -> dict[str, tuple[int, int]]:
        """Both factors."""
        (rank,) = self.numbers
        return {"left": (self.num_rows, rank), "right": (rank, self.dim)}

    def fit(self, table: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Both factors, of like size, rotated."""
        (rank,) = self.numbers
        rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=[rank, rank]))
        roots = np.sqrt(weights)[:, None]
        _, values, right = np.linalg.svd(roots * table, full_matrices=False)
        right = right[:rank]
        size = np.sqrt(np.maximum(values[:rank], 1e-12) / np.sqrt(len(table)))
        return {
            "left": np.float32(table @ right.T / size @ rotation),
            "right": np.float32(rotation.T @ (size[:, None] * right)),
        }

    def rows(self, parts: Parts, rows: tf.Tensor) -> tf.Tensor:
        """Rows of the left factor times the right one."""
        return tf.matmul(parts["left"].gather(rows), self._right(parts, rows))

    def scores(self, parts: Parts, queries: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """The right factor first: `queries right^T left^T`."""
        narrow = tf.matmul(queries, self._right(parts, rows), transpose_b=True)
        return parts["left"].scores(narrow, rows)

    def _right(self, parts: Parts, rows: tf.Tensor) -> tf.Tensor:
        (rank,) = self.numbers
        return parts["right"].gather(rows_at_run_time(rank, rows))


def rank_of(table: np.ndarray, weights: np.ndarray, energy: float) -> int:
    """The least rank that keeps a share of the weighted squares of a table.

    Args:
        table: float [num_rows, dim].
        weights: float [num_rows].
        energy: the share, below 1.
    """
    values = np.linalg.svd(np.sqrt(weights)[:, None] * table, compute_uv=False)
    kept = np.cumsum(np.square(values)) / np.square(values).sum()
    return int(np.searchsorted(kept, energy)) + 1
