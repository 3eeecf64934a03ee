"""Arrays with one row per example, in memory or on disk, in one or several parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


class ExampleRows(Protocol):
    """An array with one row per example, in memory or on disk."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return the rows at these indices."""


class RowsOfParts:
    """Rows of an array stored in several parts: row `i` is row `place[i]` of `parts[part[i]]`.

    Only rows that are indexed are read.

    Args:
        parts: arrays of the same dtype and row shape, in memory or on disk.
        part: int [num_rows].
        place: int [num_rows].
        made_with: settings that the values depend on; rows with other settings cannot be joined.

    Example:
    >>> rows = RowsOfParts([np.array([1, 2]), np.array([3])], np.array([1, 0]), np.array([0, 1]))
    >>> rows[np.array([0, 1, 1])].tolist(), len(rows)
    ([3, 2, 2], 2)
    """

    def __init__(
        self,
        parts: Sequence[ExampleRows],
        part: np.ndarray,
        place: np.ndarray,
        made_with: str = "",
    ) -> None:
        self.parts, self.made_with = list(parts), made_with
        self.part, self.place = part, place
        self.dtype = self.parts[0].dtype
        self.shape = (len(part), *self.parts[0].shape[1:])

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows at these indices, with one gather per part: `[num_indices, ...]`."""
        part, place = self.part[rows], self.place[rows]
        parts = np.unique(part)
        if len(parts) == 1:
            return self.parts[parts[0]][place]
        values = np.empty((len(part), *self.shape[1:]), self.dtype)
        for index in parts:
            inside = np.flatnonzero(part == index)
            values[inside] = self.parts[index][place[inside]]
        return values

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        values = self[np.arange(len(self))]
        return values if dtype is None else values.astype(dtype)  # type: ignore[call-overload]
