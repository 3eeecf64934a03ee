"""The cells of a table of which each row describes one thing that has an id."""

from __future__ import annotations

from collections.abc import Sequence

from tfrs_distill.data.tables import values
from tfrs_distill.data.tables.batches import Table


def cells_by_id(table: Table, id_column: str, columns: Sequence[str]) -> dict[str, list[list[str]]]:
    """Return what the columns say of each id: no, one or several texts a column.

    Of rows with the same id the first one counts; those without an id are left out.

    Args:
        table: the table.
        id_column: what holds the ids.
        columns: which are read.

    Raises:
        InputError: a column holds what is no id, or no text or number.
    """
    cells: dict[str, list[list[str]]] = {}
    for batch in table.batches(list(dict.fromkeys([id_column, *columns]))):
        ids = values.ids(id_column, batch.columns[id_column], batch.place).to_pylist()
        parts = [values.texts(name, batch.columns[name], batch.place) for name in columns]
        for row_id, *of_row in zip(ids, *parts):
            if row_id is not None:
                cells.setdefault(row_id, of_row)
    return cells
