"""Fewer rows than items, by hashing: an item's row is a sum of shared rows."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.compress.structures.structure import Parts, Structure
from tfrs_distill.models.stored_constant import all_rows

FACTORS = (1009, 1511, 769, 1997)  # of the hash functions
MODULUS = 1_000_003  # a prime: the product of `FACTORS` and a smaller number fits into 32 bits
NUM_STEPS = 60  # of conjugate gradients


class SumOfRows(Structure):
    """`table[i] = sum_h rows_h[bucket_h(i)]`; the buckets are computed, not stored.

    The rows are initialized with the least squares solution.
    """

    @property
    @abstractmethod
    def num_buckets(self) -> list[int]:
        """The number of buckets of each function."""

    @abstractmethod
    def buckets(self, items: Any) -> list[Any]:
        """Return the bucket of each item for each function: arrays or tensors, like `items`."""

    def floats(self) -> dict[str, tuple[int, int]]:
        """The rows of all functions, concatenated."""
        return {"rows": (sum(self.num_buckets), self.dim)}

    def fit(self, table: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Fit the rows whose sums are nearest to the table's rows, by conjugate gradients."""
        shape = self.floats()["rows"]
        places = self._places(np.arange(self.num_rows))

        def sums(rows: np.ndarray) -> np.ndarray:
            return np.sum([rows[place] for place in places], axis=0)

        def back(errors: np.ndarray) -> np.ndarray:
            result = np.zeros(shape)
            for place in places:
                np.add.at(result, place, weights[:, None] * errors)
            return result

        rows, residual = np.zeros(shape), back(table.astype(np.float64))
        direction, size = residual.copy(), np.square(residual).sum()
        least = 1e-10 * size
        for _ in range(NUM_STEPS):
            if size <= least:
                break
            image = back(sums(direction))
            step = size / (direction * image).sum()
            rows, residual = rows + step * direction, residual - step * image
            before, size = size, np.square(residual).sum()
            direction = residual + size / before * direction
        return {"rows": rows.astype(np.float32)}

    def rows(self, parts: Parts, rows: tf.Tensor | None) -> tf.Tensor:
        """Sum the rows of each item's buckets."""
        rows = all_rows(self.num_rows) if rows is None else rows
        return tf.add_n([parts["rows"].gather(place) for place in self._places(rows)])

    def scores(self, parts: Parts, queries: tf.Tensor) -> tf.Tensor:
        """Compute each bucket's score once."""
        of_buckets = parts["rows"].scores(queries)
        places = self._places(all_rows(self.num_rows))
        return tf.add_n([tf.gather(of_buckets, place, axis=1) for place in places])

    def _places(self, items: Any) -> list[Any]:
        """Return each item's indices in the concatenated rows."""
        starts = np.cumsum([0, *self.num_buckets])[:-1].tolist()
        return [bucket + start for bucket, start in zip(self.buckets(items), starts)]


class Hashed(SumOfRows):
    """`bucket_h(i) = ((a_h i) mod p) mod b`, for factors a_h, a prime p and b buckets per function.

    Reference: several hash functions, [Svenstrup et al., 2017](https://arxiv.org/abs/1709.03933).
    """

    name = "hashed"
    sizes = ("buckets of a hash function", "number of hash functions")
    defaults = (2,)

    def check(self) -> str:
        """Check that there are fewer buckets than rows, and that products fit into 32 bits."""
        buckets, number = self.numbers
        if not 1 <= number <= len(FACTORS):
            return f"there are from 1 to {len(FACTORS)} hash functions"
        if self.num_rows > MODULUS:
            return f"at most {MODULUS:,} rows can be hashed"
        fits = 1 <= buckets and buckets * number < self.num_rows
        return "" if fits else "all functions' buckets together must be fewer than the rows"

    @property
    def num_buckets(self) -> list[int]:
        """The same number for each function."""
        buckets, number = self.numbers
        return [buckets] * number

    def buckets(self, items: Any) -> list[Any]:
        """Apply the hash functions."""
        buckets, number = self.numbers
        return [items * factor % MODULUS % buckets for factor in FACTORS[:number]]


class QuotientRemainder(SumOfRows):
    """`bucket_1(i) = i div b`, `bucket_2(i) = i mod b`: no two items share both buckets.

    Reference: [Shi et al., 2020](https://arxiv.org/abs/1909.02107).
    """

    name = "quotient-remainder"
    sizes = ("divisor",)

    def check(self) -> str:
        """Check that both functions' buckets are fewer than the rows."""
        (divisor,) = self.numbers
        fits = 1 <= divisor and sum(self.num_buckets) < self.num_rows
        return "" if fits else "quotients and remainders must be fewer than the rows"

    @property
    def num_buckets(self) -> list[int]:
        """Quotients and remainders."""
        (divisor,) = self.numbers
        return [-(-self.num_rows // divisor), divisor]

    def buckets(self, items: Any) -> list[Any]:
        """Quotient and remainder."""
        (divisor,) = self.numbers
        return [items // divisor, items % divisor]
