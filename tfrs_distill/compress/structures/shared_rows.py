"""Fewer rows than items: items that are rarely met share one."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_distill.compress.k_means import k_means
from tfrs_distill.compress.structures.structure import Parts, Structure
from tfrs_distill.models.features.table import rows_at_run_time

SHARED = 0.25  # of the rows, the share for items that have none of their own


class SharedRows(Structure):
    """`table[i] = rows[row_of[i]]`.

    Three quarters of the rows belong to one item each, those that count most; all others share the
    last quarter, alike ones by k-means.
    """

    name = "shared-rows"
    sizes = ("number of rows",)

    def check(self) -> str:
        """There must be fewer rows than items."""
        (number,) = self.numbers
        most = self.num_rows - 1
        return "" if 4 <= number <= most else f"there must be from 4 to {most} rows"

    def floats(self) -> dict[str, tuple[int, int]]:
        """The rows."""
        return {"rows": (self.numbers[0], self.dim)}

    def integers(self) -> dict[str, tuple[int, ...]]:
        """Whose they are."""
        return {"row_of": (self.num_rows,)}

    @property
    def num_indices(self) -> int:
        """The rows that items have."""
        return self.numbers[0]

    def fit(self, table: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Rows of their own for the items that count most, and k-means of the others."""
        (number,) = self.numbers
        num_shared = max(1, round(SHARED * number))
        order = np.argsort(-weights, kind="stable")
        unshared, others = np.split(order, [number - num_shared])
        centres, nearest = k_means(table[others], weights[others], num_shared)
        row_of = np.zeros(len(table), np.int32)
        row_of[unshared] = np.arange(len(unshared))
        row_of[others] = len(unshared) + nearest
        return {"rows": np.concatenate([table[unshared], centres]), "row_of": row_of}

    def rows(self, parts: Parts, rows: tf.Tensor) -> tf.Tensor:
        """The rows that these items have."""
        return parts["rows"].gather(tf.cast(tf.gather(parts["row_of"], rows), tf.int32))

    def scores(self, parts: Parts, queries: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Each row's score once, however many items have it."""
        of_rows = parts["rows"].scores(queries, rows_at_run_time(self.numbers[0], rows))
        return tf.gather(of_rows, tf.cast(tf.gather(parts["row_of"], rows), tf.int32), axis=1)
