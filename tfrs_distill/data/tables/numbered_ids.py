"""Number ids in the order of their first occurrence, in bounded memory."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np

WAITING_BYTES = 1 << 26  # of ids that are numbered at once


class NumberedIds:
    """Number ids from 0, in the order of their first occurrence.

    Most of the cost is hashing texts. Batches are collected and hashed together with the known ids,
    so that known ids are hashed again only once per equal amount of new bytes.

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
        """Add a batch of ids: pyarrow strings, none missing."""
        self._waiting.append(ids)
        if sum(batch.nbytes for batch in self._waiting) >= max(WAITING_BYTES, self._known.nbytes):
            self._number()

    def finish(self) -> tuple[tuple[str, ...], np.ndarray]:
        """Return all ids by number, and the number of each added id, int32."""
        self._number()
        return tuple(self._known.to_pylist()), np.frombuffer(self._numbers, np.int32)

    def _number(self) -> None:
        import pyarrow as arrow

        chunks = arrow.chunked_array([self._known, *self._waiting]).dictionary_encode().chunks
        self._waiting = []
        if not chunks:  # no batch yet
            return
        numbers = np.concatenate([chunk.indices.to_numpy() for chunk in chunks])
        self._numbers.frombytes(numbers[len(self._known) :].tobytes())
        self._known = chunks[-1].dictionary
