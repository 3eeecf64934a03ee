"""Product quantization: a row is a few codes, each the index of an entry in a codebook."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_distill.compress.k_means import k_means
from tfrs_distill.compress.structures.structure import Parts, Structure, gather_shared


class Product(Structure):
    """`row = [book_1[code_1], ..., book_m[code_m]]`: m codes per row, one byte each, or four bits.

    The codes come from k-means on each group of columns and are fixed; the codebooks are trained.
    RecJPQ assigns equally many items to each code instead; for a student that is already trained
    this loses more accuracy.

    Reference: [Jegou et al., 2011](https://doi.org/10.1109/TPAMI.2010.57); codebooks that a
    recommender trains, [Petrov and Macdonald, 2024](https://arxiv.org/abs/2312.06165) (RecJPQ).
    """

    name = "product"
    sizes = ("number of codes per row", "size of a codebook")
    defaults = (256,)

    def check(self) -> str:
        """Check that a code fits into a byte, and that every codebook has enough rows."""
        parts, size = self.numbers
        if not 1 <= parts <= self.dim:
            return f"a row has from 1 to {self.dim} codes"
        enough = num_codes(self.dim, parts)
        if parts > enough:
            return f"{enough} codes of {self.width} columns are enough"
        most = min(256, self.num_rows)
        return "" if 2 <= size <= most else f"a codebook has from 2 to {most} entries"

    @property
    def width(self) -> int:
        """Number of columns per code."""
        return -(-self.dim // self.numbers[0])

    def floats(self) -> dict[str, tuple[int, int]]:
        """All codebooks, concatenated."""
        parts, size = self.numbers
        return {"codebooks": (parts * size, self.width)}

    def integers(self) -> dict[str, tuple[int, ...]]:
        """The codes."""
        return {"codes": (self.num_rows, self.numbers[0])}

    def fit(self, table: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Fit codes and codebooks by k-means."""
        parts, size = self.numbers
        padded = np.pad(table, [(0, 0), (0, parts * self.width - self.dim)])
        found = [
            k_means(part, weights, size, seed=number)
            for number, part in enumerate(np.split(padded, parts, axis=1))
        ]
        return {
            "codebooks": np.concatenate([centres for centres, _ in found]),
            "codes": np.stack([codes for _, codes in found], axis=1),
        }

    @property
    def num_indices(self) -> int:
        """The size of a codebook."""
        return self.numbers[1]

    def rows(self, parts: Parts, rows: tf.Tensor | None) -> tf.Tensor:
        """Concatenate the codebook entries of each row."""
        number, size = self.numbers
        places = parts["codes"].gather(rows) + size * tf.range(number)
        entries = gather_shared(parts["codebooks"], places, rows)
        found = tf.reshape(entries, [-1, number * self.width])
        return found if found.shape[1] == self.dim else found[:, : self.dim]

    def scores(self, parts: Parts, queries: tf.Tensor) -> tf.Tensor:
        """Compute each entry's score once; a row's score is the sum over its codes."""
        number, size = self.numbers
        books = tf.reshape(parts["codebooks"].gather(None), [number, size, self.width])
        padded = tf.pad(queries, [[0, 0], [0, number * self.width - self.dim]])
        by_code = tf.transpose(tf.reshape(padded, [-1, number, self.width]), [1, 0, 2])
        of_entries = tf.matmul(by_code, books, transpose_b=True)
        codes = parts["codes"].gather(None)
        of_codes = [
            tf.gather(of_entries[place], codes[:, place], axis=1) for place in range(number)
        ]
        return tf.add_n(of_codes)


def num_codes(dim: int, most: int) -> int:
    """Return the number of codes for a row of `dim` columns, at the code width of `most` codes.

    Example:
    >>> num_codes(33, 24)  # 17 pairs
    17
    """
    return -(-dim // -(-dim // most))
