"""Fewer rows than items: rarely interacted items share rows."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_distill.compress.k_means import k_means
from tfrs_distill.compress.structures.structure import Parts, Structure, gather_shared

SHARED = 0.25  # share of the rows for items without their own row


class SharedRows(Structure):
    """`table[i] = rows[row_of[i]]`.

    Three quarters of the rows belong to one item each, the items with the largest weights; all
    other items share the last quarter, grouped by k-means.
    """

    name = "shared-rows"
    sizes = ("number of rows",)

    def check(self) -> str:
        """Check that there are fewer rows than items."""
        (number,) = self.numbers
        most = self.num_rows - 1
        return "" if 4 <= number <= most else f"there must be from 4 to {most} rows"

    def floats(self) -> dict[str, tuple[int, int]]:
        """The rows."""
        return {"rows": (self.numbers[0], self.dim)}

    def integers(self) -> dict[str, tuple[int, ...]]:
        """The row index of each item."""
        return {"row_of": (self.num_rows,)}

    @property
    def num_indices(self) -> int:
        """The number of rows."""
        return self.numbers[0]

    def fit(self, table: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Give the items with the largest weights their own rows; apply k-means to the others."""
        (number,) = self.numbers
        num_shared = max(1, round(SHARED * number))
        order = np.argsort(-weights, kind="stable")
        unshared, others = np.split(order, [number - num_shared])
        centres, nearest = k_means(table[others], weights[others], num_shared)
        row_of = np.zeros(len(table), np.int32)
        row_of[unshared] = np.arange(len(unshared))
        row_of[others] = len(unshared) + nearest
        return {"rows": np.concatenate([table[unshared], centres]), "row_of": row_of}

    def rows(self, parts: Parts, rows: tf.Tensor | None) -> tf.Tensor:
        """Return the rows of these items."""
        return gather_shared(parts["rows"], parts["row_of"].gather(rows), rows)

    def scores(self, parts: Parts, queries: tf.Tensor) -> tf.Tensor:
        """Compute each row's score once, however many items share it."""
        of_rows = parts["rows"].scores(queries)
        return tf.gather(of_rows, parts["row_of"].gather(None), axis=1)
