"""Interactions from tables with any column names: files or frames."""

from __future__ import annotations

import logging
from typing import Any

from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.tables.batches import Tables, open_table
from tfrs_distill.data.tables.facts import TableFacts
from tfrs_distill.data.tables.interactions_table import InteractionRows
from tfrs_distill.data.tables.items_table import read_items
from tfrs_distill.data.tables.roles import (
    ITEM,
    RATING,
    TIME,
    USER,
    Columns,
    check_roles,
    find_column,
    one_column,
)
from tfrs_distill.errors import InputError

logger = logging.getLogger(__name__)


def read_table(
    interactions: Tables,
    items: Tables | None = None,
    *,
    columns: Columns | None = None,
    min_rating: float | None = None,
    disliked_below: float | None = None,
    weigh_by_rating: bool = False,
) -> Interactions:
    """Read user-item interactions from files with any column names.

    Formats: CSV and other text with a separator (`,`, `;`, tab, `|`), JSON lines and Parquet; text
    may be compressed; several files, or a folder of shards. Columns that are not given are found by
    their usual names (`user_id`, `customer`, `sku`, `timestamp`, ...). Ids are texts or integers,
    kept as written. Timestamps are numbers in any unit, or ISO 8601 dates; without them the row
    order is the time order. The log lists the column used for each role, and the number of dropped
    rows by reason.

    Memory: 20 bytes per interaction (21 with `disliked_below`), the ids and some batches of rows,
    for files of any length.

    Args:
        interactions: a file, several, or a folder of them; one row per interaction.
        items: the same for items, one row each, with title and other texts for a text teacher.
            Without it, ids are used as titles.
        columns: column names by role: `user`, `item`, `time`, `rating` of the interactions; `id`,
            `title`, `text` (one or several) of the items.
        min_rating: interactions with a lower rating, or none, are dropped.
        disliked_below: interactions with a lower rating are dislikes: as labels they have weight
            -1. Interactions without a rating are not dislikes. See `Interactions.with_dislikes`.
        weigh_by_rating: whether ratings are label weights in losses: the weight is the rating
            divided by the mean rating, both without dislikes. Interactions without a rating are
            dropped. Metrics are not weighted.

    Raises:
        MissingExtraError: pyarrow is not installed.
        InputError: a file cannot be read, a column is missing or has invalid values, or no
            interactions remain. The message has the location: file, line or row, column.

    Example:
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "orders.csv"
    >>> lines = "customer,sku,ts", "ann,SKU-007,2024-01-15", "bob,SKU-007,2024-01-16"
    >>> data = read_table([file]) if file.write_text(chr(10).join(lines)) else None
    >>> data.name, data.user_ids, data.catalogue.item_ids
    ('orders', ('ann', 'bob'), ('SKU-007',))
    """
    found, _ = interactions_of_tables(
        interactions,
        items,
        columns=columns,
        min_rating=min_rating,
        disliked_below=disliked_below,
        weigh_by_rating=weigh_by_rating,
    )
    return found


def from_dataframe(
    interactions: Any,
    items: Any = None,
    *,
    columns: Columns | None = None,
    min_rating: float | None = None,
    disliked_below: float | None = None,
    weigh_by_rating: bool = False,
    name: str = "data",
) -> Interactions:
    """Read user-item interactions from frames in memory, as `read_table` does from files.

    Args:
        interactions: a pandas or Polars frame, a pyarrow table, or a dict of columns.
        items: the same for items.
        columns: as for `read_table`.
        min_rating: as for `read_table`.
        disliked_below: as for `read_table`.
        weigh_by_rating: as for `read_table`.
        name: name of the data set.

    Raises:
        MissingExtraError: pyarrow is not installed.
        InputError: as for `read_table`.

    Example:
    >>> data = from_dataframe({"user": ["a", "b"], "item": [7, 9], "time": [10, 11]})
    >>> data.catalogue.item_ids, data.timestamps.tolist()
    (('7', '9'), [10, 11])
    """
    found, _ = interactions_of_tables(
        interactions,
        items,
        columns=columns,
        min_rating=min_rating,
        disliked_below=disliked_below,
        weigh_by_rating=weigh_by_rating,
        name=name,
    )
    return found


def interactions_of_tables(
    interactions: Any,
    items: Any,
    *,
    columns: Columns | None,
    min_rating: float | None = None,
    disliked_below: float | None = None,
    weigh_by_rating: bool = False,
    rated_only: bool = False,
    in_order: bool = True,
    added: bool = False,
    name: str | None = None,
) -> tuple[Interactions, TableFacts]:
    """Do what `read_table` does, and also return facts about the rows.

    With `rated_only`, rows without a rating are dropped. With `in_order` false the row order has no
    meaning: a table without timestamps then has none, see `Interactions.has_times`. With `added`
    the rows are for `Interactions.joined`, and may all be of one user, or all be dislikes. By
    default the name of the data set is that of the table.
    """
    given = dict(columns or {})
    check_roles(given)
    check_thresholds(min_rating, disliked_below)
    table, facts = open_table(interactions), TableFacts()
    roles: dict[str, str] = {}
    for role in (USER, ITEM, TIME, RATING):
        required = role in (USER, ITEM)
        found = find_column(
            table.title, table.names, role, one_column(given, role), required=required
        )
        if found is not None:
            roles[role] = found
    readers = {
        "min_rating": min_rating is not None,
        "disliked_below": disliked_below is not None,
        "weigh_by_rating": weigh_by_rating,
        "a model of ratings": rated_only,
    }
    needed = [name for name, is_on in readers.items() if is_on]
    if RATING not in roles and needed:
        raise InputError(
            f"{needed[0]} needs a column of ratings, and {table.title} has none. Its columns are: "
            f'{", ".join(table.names)}. Name it, as with columns={{"{RATING}": "{table.names[0]}"}}'
            f" (--column {RATING}={table.names[0]}), or do not use {needed[0]}."
        )
    if len(set(roles.values())) < len(roles):
        raise InputError(f"Each column can have one role. Received: {roles}.")
    facts.columns |= roles
    catalogue = None if items is None else read_items(open_table(items), given, facts)
    rows = InteractionRows(
        roles,
        catalogue,
        min_rating,
        disliked_below,
        weigh_by_rating,
        rated_only,
        in_order,
        facts,
        added,
    )
    for batch in table.batches(list(roles.values())):
        rows.add(batch)
    data = rows.interactions(table.title, name or table.name)
    logger.info("%s", " ".join([f"{table.title}:", *facts.sentences()]))
    return data, facts


def check_thresholds(min_rating: float | None, disliked_below: float | None) -> None:
    """Require that some kept interactions can be dislikes.

    Raises:
        InputError: all interactions that would be dislikes are dropped.
    """
    if min_rating is None or disliked_below is None or disliked_below > min_rating:
        return
    raise InputError(
        f"`min_rating` {min_rating:g} drops lower ratings, so no interaction with a rating "
        f"below `disliked_below` {disliked_below:g} remains to be a dislike. Give a "
        "`min_rating` below `disliked_below`, or only one of the two."
    )
