"""The interface of a stored form of a table: its parts, their fitting, and the rows from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
import tensorflow as tf

from tfrs_distill.errors import InputError
from tfrs_distill.models.features.table import in_fewest_bytes
from tfrs_distill.models.stored_constant import stored_codes, stored_constant, take

PACKED_BITS, FIRST_CODE = 4, -8  # of indices below 16


class Part(Protocol):
    """A table of numbers from which rows are computed, in any precision."""

    def gather(self, rows: tf.Tensor | None) -> tf.Tensor:
        """Rows by index, all for None: int32 `[...]` to `[..., width]`."""

    def scores(self, queries: tf.Tensor) -> tf.Tensor:
        """Dot products with all rows: float32 [num_queries, width] to [num_queries, num_rows]."""


Parts = Mapping[str, Part]  # all parts by name; those of integers have no scores


class Tensor:
    """A part that is a tensor, a variable or a constant.

    Args:
        values: float [num_rows, width], or int32 `[num_rows, ...]`.
    """

    def __init__(self, values: Any) -> None:
        self._values = values

    @property
    def values(self) -> tf.Tensor:
        """All rows."""
        return self._values

    def gather(self, rows: tf.Tensor | None) -> tf.Tensor:
        """Rows by index, all for None."""
        return take(self.values, rows)

    def scores(self, queries: tf.Tensor) -> tf.Tensor:
        """Dot products with all rows."""
        return tf.matmul(queries, self.values, transpose_b=True)


class Exact(Tensor):
    """A constant that a converter keeps in 32 bits."""

    @property
    def values(self) -> tf.Tensor:
        """All rows."""
        return stored_constant(self._values)


class Indices:
    """Constant integers of a file, in as few bits as they need.

    Args:
        values: integers of at least 0, `[num_rows, ...]`.
    """

    def __init__(self, values: np.ndarray) -> None:
        self._packs = bool(values.max(initial=0) < 2**PACKED_BITS)
        stored = (values + FIRST_CODE).astype(np.int8) if self._packs else in_fewest_bytes(values)
        self._stored = tf.constant(stored)

    def gather(self, rows: tf.Tensor | None) -> tf.Tensor:
        """Rows by index, all for None: int32."""
        if self._packs:
            codes = take(stored_codes(self._stored, PACKED_BITS), rows)
            return tf.cast(codes, tf.int32) - FIRST_CODE
        return tf.cast(take(stored_constant(self._stored), rows), tf.int32)


def gather_shared(part: Part, places: tf.Tensor, rows: tf.Tensor | None) -> tf.Tensor:
    """Rows of a part that items share: unpack them all, once each, if all items are read."""
    return tf.gather(part.gather(None), places) if rows is None else part.gather(places)


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
    latent: ClassVar[tuple[str, ...]] = ()  # trained parts that a file does not have

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

    def assigned(self, parts: Parts) -> dict[str, tf.Tensor]:
        """Return the integer parts that follow from the trained parts, by name."""
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
    def rows(self, parts: Parts, rows: tf.Tensor | None) -> tf.Tensor:
        """Rows of the table: int32 [n] to float32 [n, dim]; None for all rows."""

    def trained_rows(self, parts: Parts, rows: tf.Tensor) -> tf.Tensor:
        """Rows of the table in training: the same values, with gradients to all trained parts."""
        return self.rows(parts, rows)

    def scores(self, parts: Parts, queries: tf.Tensor) -> tf.Tensor:
        """Dot products with all rows: float32 [num_queries, dim] to [num_queries, num_rows].

        Subclasses avoid computing full rows if another way needs fewer operations.
        """
        return tf.matmul(queries, self.rows(parts, None), transpose_b=True)
