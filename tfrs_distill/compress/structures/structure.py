"""The interface of a stored form of a table: its parts, their fitting, and the rows from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
import tensorflow as tf

from tfrs_distill.errors import InputError


class Part(Protocol):
    """A table of numbers from which rows are computed, in any precision."""

    def gather(self, rows: tf.Tensor) -> tf.Tensor:
        """Rows by index: int32 `[...]` to float32 `[..., width]`."""

    def scores(self, queries: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Dot products with rows: float32 [num_queries, width], int32 [n] to [num_queries, n]."""


Parts = Mapping[str, Any]  # all parts by name: a `Part` of floats, a tensor of integers


class Tensor:
    """A part that is a tensor, a variable or a constant.

    Args:
        values: float [num_rows, width].
    """

    def __init__(self, values: Any) -> None:
        self.values = values

    def gather(self, rows: tf.Tensor) -> tf.Tensor:
        """Rows by index."""
        return tf.gather(self.values, rows)

    def scores(self, queries: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Dot products with rows."""
        return tf.matmul(queries, self.gather(rows), transpose_b=True)


class Exact(Tensor):
    """A constant that a converter keeps in 32 bits, because it adds a run-time zero to it."""

    def gather(self, rows: tf.Tensor) -> tf.Tensor:
        """Rows by index."""
        zero = tf.cast(tf.minimum(tf.shape(rows)[0], 0), tf.float32)
        return tf.gather(self.values + zero, rows)


class Structure(ABC):
    """A form of a table, float [num_rows, dim]: float parts are trained, integer parts are not.

    Args:
        num_rows: rows of the table, including padding.
        dim: its width.
        numbers: the sizes that follow the name, see `sizes`.

    Raises:
        InputError: the sizes do not fit the table.
    """

    name: ClassVar[str]
    sizes: ClassVar[tuple[str, ...]] = ()  # the meaning of each number
    defaults: ClassVar[tuple[int, ...]] = ()  # for the last numbers
    exact: ClassVar[tuple[str, ...]] = ()  # small parts that stay in 32 bits

    def __init__(self, num_rows: int, dim: int, *numbers: int) -> None:
        self.num_rows, self.dim, self.numbers = num_rows, dim, numbers
        wrong = self.check()
        if wrong:
            raise InputError(
                f"{self.name!r} does not suit a table of {num_rows:,} rows of {dim} numbers: "
                f"{wrong}. Received: {':'.join([self.name, *map(str, numbers)])}."
            )

    def check(self) -> str:
        """Return why the sizes do not fit the table; empty if they do."""
        return ""

    @abstractmethod
    def floats(self) -> dict[str, tuple[int, int]]:
        """The shapes of the trained parts, by name."""

    def integers(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the integer parts, by name."""
        return {}

    @property
    def num_indices(self) -> int:
        """Exclusive upper bound of all integers."""
        return 256

    @abstractmethod
    def fit(self, table: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Fit all parts to a table.

        Args:
            table: float32 [num_rows, dim]; row 0 is padding.
            weights: float [num_rows], above 0: the weight of each row's error.
        """

    @abstractmethod
    def rows(self, parts: Parts, rows: tf.Tensor) -> tf.Tensor:
        """Rows of the table: int32 [n] to float32 [n, dim].

        `rows` must not be constant in the graph; otherwise the converter stores the result.
        """

    def scores(self, parts: Parts, queries: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Dot products with rows: float32 [num_queries, dim], int32 [n] to [num_queries, n].

        Subclasses avoid computing full rows if another way needs fewer operations.
        """
        return tf.matmul(queries, self.rows(parts, rows), transpose_b=True)
