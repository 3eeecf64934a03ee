"""Ids numbered in the order in which they first come, in bounded memory."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np

WAITING_BYTES = 1 << 26  # of ids that are numbered together


class NumberedIds:
    """Numbers ids from 0, in the order in which each first comes.

    Hashing a text is what it costs: some batches wait and are hashed in one go behind the ids that
    are known, so that these are hashed again once for as many bytes of new rows as they have.

    Example:
    >>> import pyarrow
    >>> ids = NumberedIds()
    >>> ids.add(pyarrow.array(["b", "a", "b"]))
    >>> ids.add(pyarrow.array(["c", "a"]))
    >>> ids.finish()
    (('b', 'a', 'c'), array([0, 1, 0, 2, 1], dtype=int32))
    """

    def __init__(self) -> None:
        import pyarrow as arrow

        self._known = arrow.array([], arrow.string())
        self._waiting: list[Any] = []
        self._numbers = array("i")

    def add(self, ids: Any) -> None:
        """Take a batch of ids: pyarrow strings, none missing."""
        self._waiting.append(ids)
        if sum(batch.nbytes for batch in self._waiting) >= max(WAITING_BYTES, self._known.nbytes):
            self._number()

    def finish(self) -> tuple[tuple[str, ...], np.ndarray]:
        """Return all ids by number, and the number of each that was added, int32."""
        self._number()
        return tuple(self._known.to_pylist()), np.frombuffer(self._numbers, np.int32)

    def _number(self) -> None:
        import pyarrow as arrow

        chunks = arrow.chunked_array([self._known, *self._waiting]).dictionary_encode().chunks
        self._waiting = []
        if not chunks:  # nothing has come yet
            return
        numbers = np.concatenate([chunk.indices.to_numpy() for chunk in chunks])
        self._numbers.frombytes(numbers[len(self._known) :].tobytes())
        self._known = chunks[-1].dictionary
