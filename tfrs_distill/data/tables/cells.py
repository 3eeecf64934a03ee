"""The cells of a table whose rows each describe one thing with an id."""

from __future__ import annotations

from collections.abc import Sequence

from tfrs_distill.data.tables import values
from tfrs_distill.data.tables.batches import Table


def cells_by_id(table: Table, id_column: str, columns: Sequence[str]) -> dict[str, list[list[str]]]:
    """Return the texts of each id by column: zero, one or several per cell.

    The first row of each id is used; rows without an id are dropped.

    Args:
        table: the table.
        id_column: the column of ids.
        columns: the columns to read.

    Raises:
        InputError: an id column or a text column has invalid values.
    """
    cells: dict[str, list[list[str]]] = {}
    for batch in table.batches(list(dict.fromkeys([id_column, *columns]))):
        ids = values.ids(id_column, batch.columns[id_column], batch.place).to_pylist()
        parts = [values.texts(name, batch.columns[name], batch.place) for name in columns]
        for row_id, *of_row in zip(ids, *parts):
            if row_id is not None:
                cells.setdefault(row_id, of_row)
    return cells
