"""Product quantization: a row is a few codes, each the index of an entry in a codebook."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_distill.compress.k_means import k_means
from tfrs_distill.compress.structures.structure import Parts, Structure, gather_shared


class Product(Structure):
    """`row = [book_1[code_1], ..., book_m[code_m]]`: m codes per row, one byte each, or four bits.

    The codebooks are fitted by k-means on each group of columns. Training changes the codebooks and
    the codes: a latent table, the table at first, has the gradients of the rows, and the code of a
    row is that of the entry nearest to its latent row. Only the codes are in a file. RecJPQ assigns
    equally many items to each code instead; for a student that is already trained this loses more
    accuracy.

    Reference: [Jegou et al., 2011](https://doi.org/10.1109/TPAMI.2010.57); trained codes,
    [Chen et al., 2020](https://arxiv.org/abs/1908.09756) (DPQ); codebooks that a recommender
    trains, [Petrov and Macdonald, 2024](https://arxiv.org/abs/2312.06165) (RecJPQ).
    """

    name = "product"
    sizes = ("number of codes per row", "size of a codebook")
    defaults = (256,)
    latent = ("latent",)

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
        """All codebooks, concatenated, and the latent table."""
        number, size = self.numbers
        latent = (self.num_rows, number * self.width)
        return {"codebooks": (number * size, self.width), "latent": latent}

    def integers(self) -> dict[str, tuple[int, ...]]:
        """The codes."""
        return {"codes": (self.num_rows, self.numbers[0])}

    def fit(self, table: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Fit the codebooks by k-means."""
        number, size = self.numbers
        padded = np.pad(table, [(0, 0), (0, number * self.width - self.dim)])
        books = [
            k_means(part, weights, size, seed=place)[0]
            for place, part in enumerate(np.split(padded, number, axis=1))
        ]
        return {"codebooks": np.concatenate(books), "latent": padded}

    def assigned(self, parts: Parts) -> dict[str, tf.Tensor]:
        """The codes of all rows."""
        return {
            "codes": self._nearest(parts["codebooks"].gather(None), parts["latent"].gather(None))
        }

    def trained_rows(self, parts: Parts, rows: tf.Tensor) -> tf.Tensor:
        """Concatenate the nearest entries; the latent rows have the gradients of the result."""
        number, size = self.numbers
        books, latent = parts["codebooks"].gather(None), parts["latent"].gather(rows)
        entries = tf.gather(books, self._nearest(books, latent) + size * tf.range(number))
        found = tf.reshape(entries, tf.shape(latent)) + (latent - tf.stop_gradient(latent))
        return found[:, : self.dim]

    def _nearest(self, books: tf.Tensor, latent: tf.Tensor) -> tf.Tensor:
        """Return the codes of latent rows: int32 [num_rows, number]."""
        number, codes = self.numbers[0], []
        # One piece at a time: the distances take 4 bytes per row and entry.
        for place, book in enumerate(tf.split(books, number)):
            first = place * self.width
            piece = latent[:, first : min(first + self.width, self.dim)]  # without padding,
            book = book[:, : piece.shape[1]]  # which is not 0 in few bits
            squares = tf.reduce_sum(tf.square(book), axis=1)
            distances = squares - 2.0 * tf.matmul(piece, book, transpose_b=True)
            codes.append(tf.argmin(distances, axis=1, output_type=tf.int32))
        return tf.stack(codes, axis=1)

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
