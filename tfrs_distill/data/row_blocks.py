"""Rows of a matrix that is too large to be held at once, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator

CELLS = 2**21  # of one block: 8 MB in float32, and a few arrays of that shape while it is worked on


def row_blocks(num_rows: int, num_columns: int, at_most: int | None = None) -> Iterator[slice]:
    """Yield slices of consecutive rows, together all of them, of at most `CELLS` cells each.

    Args:
        num_rows: rows of the matrix.
        num_columns: its columns; of a row that alone has more than `CELLS`, one is a block.
        at_most: rows of a block, beside that.

    Example:
    >>> [(block.start, block.stop) for block in row_blocks(5, CELLS // 2)]
    [(0, 2), (2, 4), (4, 5)]
    """
    size = max(1, CELLS // max(num_columns, 1))
    if at_most is not None:
        size = min(size, at_most)
    for start in range(0, num_rows, size):
        yield slice(start, min(start + size, num_rows))
