"""Rows of an array that lies in several shards, read when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfrs_distill.knowledge.shard import ShardArray


class ShardedRows:
    """Row `i` is row `place[i]` of `parts[part[i]]`; only rows that are asked for are read.

    Args:
        parts: arrays of one dtype and one shape beyond their rows, memory-mapped; those of a shard
            are checked when their first row is read.
        part: int [num_rows].
        place: int [num_rows].

    Example:
    >>> rows = ShardedRows([np.array([1, 2]), np.array([3])], np.array([1, 0]), np.array([0, 1]))
    >>> rows[np.array([0, 1, 1])].tolist(), len(rows)
    ([3, 2, 2], 2)
    """

    def __init__(
        self, parts: Sequence[np.ndarray | ShardArray], part: np.ndarray, place: np.ndarray
    ) -> None:
        self.parts = list(parts)
        self.part, self.place = part, place
        self.dtype = self.parts[0].dtype
        self.shape = (len(part), *self.parts[0].shape[1:])

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """The rows at these indices, by one gather a shard: `[num_asked, ...]`."""
        part, place = self.part[rows], self.place[rows]
        asked = np.unique(part)
        if len(asked) == 1:
            return self.parts[asked[0]].take(place, axis=0)
        values = np.empty((len(part), *self.shape[1:]), self.dtype)
        for index in asked:
            mine = np.flatnonzero(part == index)
            values[mine] = self.parts[index].take(place[mine], axis=0)
        return values

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        values = self[np.arange(len(self))]
        return values if dtype is None else values.astype(dtype)  # type: ignore[call-overload]
