"""The table of items: a row each, with its id, its title and its other texts."""

from __future__ import annotations

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.readers.item_texts import item_text
from tfrs_distill.data.tables import values
from tfrs_distill.data.tables.batches import Table
from tfrs_distill.data.tables.facts import TableFacts
from tfrs_distill.data.tables.roles import (
    ID,
    ITEM,
    NAMES,
    TEXT,
    TITLE,
    Columns,
    find_column,
    one_column,
    plain_name,
)
from tfrs_distill.errors import InputError


def read_items(table: Table, given: Columns, facts: TableFacts) -> Catalogue:
    """The items of an items table, in its order; of rows with the same id the first one counts."""
    item = one_column(given, ITEM)
    id_given = one_column(given, ID) or (item if item in table.names else None)
    id_column = find_column(table.title, table.names, ID, id_given, required=True) or ""
    title = one_column(given, TITLE)
    title_column = find_column(table.title, table.names, TITLE, title, required=False)
    text_columns = _text_columns(table, given, {id_column, title_column})
    found = {ID: id_column, TITLE: title_column, TEXT: tuple(text_columns)}
    facts.columns |= {role: column for role, column in found.items() if column}
    described: dict[str, tuple[str, str]] = {}
    repeated = unnamed = 0
    taken = [name for name in (id_column, title_column, *text_columns) if name]
    for batch in table.batches(taken):
        item_ids = values.ids(id_column, batch.columns[id_column], batch.place).to_pylist()
        nothing: list[list[str]] = [[]] * len(item_ids)
        titles = nothing
        if title_column:
            titles = values.texts(title_column, batch.columns[title_column], batch.place)
        parts = [values.texts(name, batch.columns[name], batch.place) for name in text_columns]
        for row, item_id in enumerate(item_ids):
            unnamed += item_id is None
            repeated += item_id in described
            if item_id is None or item_id in described:
                continue
            title = " ".join(titles[row]) or item_id
            more = [text for part in parts for text in part[row]]
            described[item_id] = (title, item_text(title, more))
    if not described:
        raise InputError(f"{table.title} holds no items.")
    if repeated:
        facts.notes.append(
            f"Rows of an item that the items table has already: {repeated:,}, left out."
        )
    if unnamed:
        facts.notes.append(f"Rows of the items table without an id: {unnamed:,}, left out.")
    titles_, texts_ = zip(*described.values())
    return Catalogue(tuple(described), titles_, texts_)


def _text_columns(table: Table, given: Columns, others: set[str | None]) -> list[str]:
    """The columns of texts: those given, or all of the usual names."""
    of_text = given.get(TEXT)
    if of_text is not None:
        asked = [of_text] if isinstance(of_text, str) else list(of_text)
        for name in asked:
            find_column(table.title, table.names, TEXT, name, required=True)
        return asked
    usual = [name for name in table.names if plain_name(name) in NAMES[TEXT]]
    return [name for name in usual if name not in others]
