"""Blocks of rows of a matrix that is too large to hold in memory."""

from __future__ import annotations

from collections.abc import Iterator

CELLS = 2**21  # per block: 8 MB in float32; computations hold a few arrays of this shape


def row_blocks(num_rows: int, num_columns: int, at_most: int | None = None) -> Iterator[slice]:
    """Yield slices of consecutive rows that cover all rows, with at most `CELLS` cells each.

    Args:
        num_rows: rows of the matrix.
        num_columns: columns of the matrix; if one row has more than `CELLS`, it is a block.
        at_most: a further limit on the rows of a block.

    Example:
    >>> [(block.start, block.stop) for block in row_blocks(5, CELLS // 2)]
    [(0, 2), (2, 4), (4, 5)]
    """
    size = max(1, CELLS // max(num_columns, 1))
    if at_most is not None:
        size = min(size, at_most)
    for start in range(0, num_rows, size):
        yield slice(start, min(start + size, num_rows))
