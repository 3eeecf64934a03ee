"""The uncompressed table."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_distill.compress.structures.structure import Parts, Structure


class Plain(Structure):
    """One row per item."""

    name = "plain"

    def floats(self) -> dict[str, tuple[int, int]]:
        """The table."""
        return {"table": (self.num_rows, self.dim)}

    def fit(self, table: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
        """The table."""
        return {"table": table}

    def rows(self, parts: Parts, rows: tf.Tensor | None) -> tf.Tensor:
        """Rows of the table."""
        return parts["table"].gather(rows)

    def scores(self, parts: Parts, queries: tf.Tensor) -> tf.Tensor:
        """Use the part's own method: packed numbers score from their codes."""
        return parts["table"].scores(queries)
