"""The table of items: one row each, with id, title and further texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.item_features import ItemAttributes, in_catalogue
from tfrs_distill.data.readers.item_texts import item_text
from tfrs_distill.data.tables import values
from tfrs_distill.data.tables.batches import Table, open_table
from tfrs_distill.data.tables.cells import cells_by_id
from tfrs_distill.data.tables.facts import TableFacts
from tfrs_distill.data.tables.roles import (
    ATTRIBUTE,
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

MAX_LABELS = 1000  # per column: each label is an entry of every item's vector


def read_items(table: Table, given: Columns, facts: TableFacts) -> Catalogue:
    """Return the items of a table, in its order; the first row of each id is used."""
    id_column = _id_column(table, one_column(given, ID), one_column(given, ITEM))
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
            f"Rows of the items table with an id that occurred before: {repeated:,}, dropped."
        )
    if unnamed:
        facts.notes.append(f"Rows of the items table without an id: {unnamed:,}, dropped.")
    titles_, texts_ = zip(*described.values())
    return Catalogue(tuple(described), titles_, texts_)


def read_item_attributes(
    table: Any,
    catalogue: Catalogue,
    columns: Sequence[str],
    *,
    id_column: str | None = None,
    item_column: str | None = None,
) -> ItemAttributes:
    """Read item attributes, such as brand and price, from columns of an items table.

    A numeric column becomes a number of `ItemAttributes`. Any other column becomes labels
    `COLUMN=VALUE`; a cell with a list has several. An empty cell means no attribute. The first row
    of each id is used.

    Args:
        table: a file or several, a folder of them, or a frame, as for `read_table`.
        catalogue: the items.
        columns: names of the columns to read.
        id_column: the column of item ids; None = found by its usual names.
        item_column: the name of the interactions' item column: used if `id_column` is None and this
            table has a column of that name.

    Raises:
        MissingExtraError: pyarrow is not installed.
        InputError: the table cannot be read, a column or an item of the catalogue is missing, or a
            column has too many labels (it is a text or an id).

    Example:
    >>> things = Catalogue(("SKU-1", "SKU-2"), ("Pen", "Ink"), ("Pen", "Ink"))
    >>> frame = {"sku": ["SKU-2", "SKU-1"], "brand": ["Acme", None], "price": [9.5, 2]}
    >>> found = read_item_attributes(frame, things, ["brand", "price"])
    >>> found.labels, found.numbers.tolist(), found.number_names
    (((), ('brand=Acme',)), [[2.0], [9.5]], ('price',))
    """
    opened = open_table(table)
    for name in columns:
        find_column(opened.title, opened.names, ATTRIBUTE, name, required=True)
    cells = cells_by_id(opened, _id_column(opened, id_column, item_column), columns)
    of_items = in_catalogue(cells, catalogue, opened.title)
    labels: list[list[str]] = [[] for _ in of_items]
    numbers: dict[str, list[float]] = {}
    for place, name in enumerate(columns):
        column = [of_item[place] for of_item in of_items]
        found = values.numbers_of(column)
        if found is not None:
            numbers[name] = found
            continue
        for of_item, texts in zip(labels, column):
            of_item += [f"{name}={text}" for text in dict.fromkeys(texts)]
        different = {text for texts in column for text in texts}
        if len(different) > MAX_LABELS:
            raise InputError(
                f"{opened.title}: column {name!r} has {len(different):,} different values for "
                f"{catalogue.num_items:,} items; at most {MAX_LABELS:,} can be labels. Is it a "
                "text? Then use it as an item text (`text`)."
            )
    return ItemAttributes(
        tuple(map(tuple, labels)),
        np.array(list(numbers.values())).T.reshape(len(of_items), len(numbers)),
        tuple(numbers),
    )


def _id_column(table: Table, given: str | None, item_column: str | None) -> str:
    """Return the column of item ids: as given, named as in the interactions, or a usual name."""
    given = given or (item_column if item_column in table.names else None)
    return find_column(table.title, table.names, ID, given, required=True) or ""


def _text_columns(table: Table, given: Columns, others: set[str | None]) -> list[str]:
    """Return the text columns: those given, or all with usual names."""
    of_text = given.get(TEXT)
    if of_text is not None:
        chosen = [of_text] if isinstance(of_text, str) else list(of_text)
        for name in chosen:
            find_column(table.title, table.names, TEXT, name, required=True)
        return chosen
    usual = [name for name in table.names if plain_name(name) in NAMES[TEXT]]
    return [name for name in usual if name not in others]
