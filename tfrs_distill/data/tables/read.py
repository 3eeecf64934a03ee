"""Interactions from tables: files of any columns, or frames."""

from __future__ import annotations

import logging
import time
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.readers.item_texts import item_text
from tfrs_distill.data.tables import values
from tfrs_distill.data.tables.batches import Table, TableBatch, Tables, open_table, table_name
from tfrs_distill.data.tables.roles import (
    ID,
    ITEM,
    NAMES,
    RATING,
    TEXT,
    TIME,
    TITLE,
    USER,
    check_roles,
    find_column,
    plain_name,
)
from tfrs_distill.data.times import seconds_since_1970
from tfrs_distill.errors import InputError

logger = logging.getLogger(__name__)
Columns = Mapping[str, str | Sequence[str]]
SHOWN = 3  # examples in a sentence
SHOWN_ROLES = {ID: "id of the items"}


@dataclass
class TableFacts:
    """What became of a table's rows.

    Args:
        columns: which column was taken for what, by role.
        rows: how many there were.
        dropped: how many were left out, by reason.
        notes: what else is to be known, a sentence each.
    """

    columns: dict[str, str | tuple[str, ...]] = field(default_factory=dict)
    rows: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    @property
    def kept(self) -> int:
        """How many rows are interactions."""
        return self.rows - sum(self.dropped.values())

    def sentences(self) -> list[str]:
        """All of it, a sentence each."""
        taken = ", ".join(
            f"{SHOWN_ROLES.get(role, role)} = "
            + (repr(name) if isinstance(name, str) else " and ".join(map(repr, name)))
            for role, name in self.columns.items()
        )
        dropped = ", ".join(f"{number:,} {why}" for why, number in self.dropped.items())
        left_out = f"; left out: {dropped}" if dropped else ""
        return [
            f"Columns: {taken}.",
            f"{self.kept:,} of {self.rows:,} rows are interactions{left_out}.",
            *self.notes,
        ]


def read_table(
    interactions: Tables,
    items: Tables | None = None,
    *,
    columns: Columns | None = None,
    min_rating: float | None = None,
) -> Interactions:
    """Read who met which item when from files of any columns.

    CSV and other text with a separator (`,`, `;`, tab, `|`), JSON lines and Parquet; text also
    compressed; several files, or a folder of shards. The columns are found by their usual names
    (`user_id`, `customer`, `sku`, `timestamp`, ...) where they are not given. Ids are texts or
    whole numbers, kept as they are written. Times are numbers in any unit, or dates of ISO 8601; of
    a table without times, the order of its rows is the order of time. What was taken for what, and
    how many rows were left out for which reason, is logged.

    Memory: 20 bytes an interaction and one batch of rows, whatever the length of the files.

    Args:
        interactions: a file, several, or a folder of them; one row an interaction.
        items: the same of the items, one row each, whose title and other texts a teacher reads.
            Without it an item's id is its title.
        columns: the names of columns by what they are: `user`, `item`, `time`, `rating` of the
            interactions; `id`, `title`, `text` (one or several) of the items.
        min_rating: interactions with a lower rating, or none, are left out.

    Raises:
        MissingExtraError: pyarrow is not installed.
        InputError: a file cannot be read, a column is not there or holds something else, or no
            interactions are left. The message says where: file, line or row, column.

    Example:
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "orders.csv"
    >>> lines = "customer,sku,ts", "ann,SKU-007,2024-01-15", "bob,SKU-007,2024-01-16"
    >>> data = read_table([file]) if file.write_text(chr(10).join(lines)) else None
    >>> data.name, data.user_ids, data.catalogue.item_ids
    ('orders', ('ann', 'bob'), ('SKU-007',))
    """
    found, _ = interactions_of_tables(
        interactions, items, columns=columns, min_rating=min_rating, name=table_name(interactions)
    )
    return found


def from_dataframe(
    interactions: Any,
    items: Any = None,
    *,
    columns: Columns | None = None,
    min_rating: float | None = None,
    name: str = "data",
) -> Interactions:
    """Take who met which item when from frames in memory, as `read_table` reads it from files.

    Args:
        interactions: a frame of pandas or Polars, a pyarrow table, or a dict of columns.
        items: the same of the items.
        columns: as for `read_table`.
        min_rating: as for `read_table`.
        name: of the data set.

    Raises:
        MissingExtraError: pyarrow is not installed.
        InputError: as for `read_table`.

    Example:
    >>> data = from_dataframe({"user": ["a", "b"], "item": [7, 9], "time": [10, 11]})
    >>> data.catalogue.item_ids, data.timestamps.tolist()
    (('7', '9'), [10, 11])
    """
    found, _ = interactions_of_tables(
        interactions, items, columns=columns, min_rating=min_rating, name=name
    )
    return found


def interactions_of_tables(
    interactions: Any,
    items: Any,
    *,
    columns: Columns | None,
    min_rating: float | None,
    name: str,
) -> tuple[Interactions, TableFacts]:
    """Do what `read_table` does, and tell what became of the rows."""
    given = dict(columns or {})
    check_roles(given)
    table, facts = open_table(interactions), TableFacts()
    roles: dict[str, str] = {}
    for role in (USER, ITEM, TIME, RATING):
        required = role in (USER, ITEM)
        found = find_column(table.title, table.names, role, _one(given, role), required=required)
        if found is not None:
            roles[role] = found
    if min_rating is not None and RATING not in roles:
        raise InputError(
            f"`min_rating` needs a column of ratings, and {table.title} has none. Its columns are: "
            f'{", ".join(table.names)}. Name it, as with columns={{"{RATING}": "{table.names[0]}"}}'
            ", or leave `min_rating` out."
        )
    if len(set(roles.values())) < len(roles):
        raise InputError(f"Each column can be one thing. Received: {roles}.")
    facts.columns |= roles
    catalogue = None if items is None else _catalogue(open_table(items), given, facts)
    rows = _Rows(roles, catalogue, min_rating, facts)
    for batch in table.batches(list(roles.values())):
        rows.add(batch)
    data = rows.interactions(table.title, name)
    logger.info("%s", " ".join([f"{table.title}:", *facts.sentences()]))
    return data, facts


def _one(given: Columns, role: str) -> str | None:
    """The column that is given for a role of one column; None where none is."""
    column = given.get(role)
    if column is not None and not isinstance(column, str):
        raise InputError(f"One column is the {role}. Received: {column!r}.")
    return column


class _Rows:
    """The interactions so far: 20 bytes each, and what became of the other rows."""

    def __init__(
        self,
        columns: Mapping[str, str],
        catalogue: Catalogue | None,
        min_rating: float | None,
        facts: TableFacts,
    ) -> None:
        self.columns, self.catalogue = columns, catalogue
        self.min_rating, self.facts = min_rating, facts
        self.user_ids = _Ids(())
        self.item_ids = _Ids(() if catalogue is None else catalogue.item_ids)
        self.users, self.items, self.ratings = array("i"), array("i"), array("f")
        self.times: array[Any] = array("q")
        self.kind: str | None = None  # of the times, by the first batch that has one
        self.highest = -np.inf  # rating
        self.unrated = 0

    def add(self, batch: TableBatch) -> None:
        """Take the rows of a batch that are interactions."""
        columns = self.columns
        found = {role: batch.columns[name] for role, name in columns.items()}
        self.facts.rows += len(batch)
        users = values.ids(columns[USER], found[USER], batch.place)
        items = values.ids(columns[ITEM], found[ITEM], batch.place)
        keep = np.ones(len(batch), bool)
        keep &= self._without(keep, users.is_null(), "without a user")
        keep &= self._without(keep, items.is_null(), "without an item")
        times = ratings = None
        if TIME in found:
            times, known = self._times(found[TIME], batch)
            keep &= self._without(keep, ~known, "without a time")
        if RATING in found:
            ratings = values.ratings(columns[RATING], found[RATING], batch.place)
            unrated = np.isnan(ratings)
            if self.min_rating is not None:
                keep &= self._without(keep, unrated, "without a rating")
            self.unrated += int((keep & unrated).sum())
            ratings = np.where(unrated, 1.0, ratings)  # as in a data set without ratings
            self.highest = max(self.highest, np.max(ratings, initial=-np.inf, where=keep))
            if self.min_rating is not None:
                low = np.less(ratings, self.min_rating, where=keep, out=np.zeros_like(keep))
                keep &= self._without(keep, low, f"rated below {self.min_rating:g}")
        indices = self.item_ids.indices(items, keep, grows=self.catalogue is None)
        keep &= self._without(keep, indices == 0, "of items that the items table has not")
        user_indices = self.user_ids.indices(users, keep, grows=True)[keep] - 1
        self.users.frombytes(user_indices.tobytes())
        self.items.frombytes(indices[keep].tobytes())
        if ratings is not None:
            self.ratings.frombytes(ratings[keep].astype(np.float32).tobytes())
        if times is not None:
            self.times.frombytes(times[keep].tobytes())

    def _without(self, keep: np.ndarray, wrong: Any, why: str) -> np.ndarray:
        """Count the rows that are still kept and wrong; the mask of those that are not wrong."""
        wrong = np.asarray(wrong)
        number = int((keep & wrong).sum())
        if number:
            self.facts.dropped[why] += number
        return ~wrong

    def _times(self, column: Any, batch: TableBatch) -> tuple[np.ndarray, np.ndarray]:
        """The batch's times, in the array type of all so far, and which are known."""
        name = self.columns[TIME]
        kind, times, known = values.times(name, column, batch.place)
        if not known.any():
            return times.astype(self.times.typecode), known
        if self.kind is None:
            self.kind = kind
        if (kind == values.DATES) != (self.kind == values.DATES):
            row = int(np.argmax(known))
            text = column[row].as_py()
            expected = "a date" if self.kind == values.DATES else "a number"
            raise InputError(
                f"{batch.place(row)}: column {name!r} holds {text!r}, not {expected}, as before it."
            )
        if kind == values.FRACTIONS and self.times.typecode == "q":
            self.times = array("d", self.times)
        return times.astype(self.times.typecode), known

    def interactions(self, title: str, name: str) -> Interactions:
        """All that was kept.

        Raises:
            InputError: nothing was, or only what one user did.
        """
        facts = self.facts
        if not self.users:
            why = ", ".join(f"{number:,} are {reason}" for reason, number in facts.dropped.items())
            highest = f" The highest rating is {self.highest:g}." if self.highest > -np.inf else ""
            raise InputError(
                f"{title} holds no interactions: {f'of {facts.rows:,} rows {why}' if why else ''}"
                f"{'it has no rows' if not facts.rows else ''}.{highest}"
            )
        user_ids, item_ids = self.user_ids.texts(), self.item_ids.texts()
        if len(user_ids) == 1:
            (user,) = user_ids
            raise InputError(
                f"All rows of {title} are of one user, {user!r} in the column "
                f"{self.columns[USER]!r}: at least two are needed. Is it the right column?"
            )
        catalogue = self.catalogue
        if catalogue is None:
            catalogue = Catalogue(item_ids, item_ids, item_ids)
            facts.notes.append(
                "There is no items table: ids are the titles, and a teacher of text has nothing to "
                "read."
            )
        if self.unrated:
            facts.notes.append(f"Interactions without a rating: {self.unrated:,}, kept as rated 1.")
        facts.notes += _look_alikes("user", user_ids)
        facts.notes += _look_alikes("item", item_ids)
        return Interactions(
            name,
            catalogue,
            user_ids,
            np.frombuffer(self.users, np.int32),
            np.frombuffer(self.items, np.int32),
            np.frombuffer(self.ratings, np.float32)
            if self.ratings
            else np.ones(len(self.users), np.float32),
            self._timestamps(),
        )

    def _timestamps(self) -> np.ndarray:
        notes = self.facts.notes
        if TIME not in self.columns:
            notes.append("There is no column of times: the order of the rows is the order of time.")
            return np.arange(len(self.users))
        numbers = np.frombuffer(self.times, self.times.typecode)
        times = numbers.view("M8[ns]") if self.kind == values.DATES else numbers
        if (times == times[0]).all():
            notes.append("All times are equal: the order of the rows is the order of time.")
        seconds = seconds_since_1970(times)
        if seconds is not None:
            late = int((seconds > time.time()).sum())
            if late:
                notes.append(f"Times later than now: {late:,}.")
        return times


class _Ids:
    """Ids and their indices, from 1 in the order in which they came.

    Args:
        known: the first ones.
    """

    def __init__(self, known: Sequence[str]) -> None:
        import pyarrow as arrow

        self.known = arrow.array(known, arrow.string())

    def texts(self) -> tuple[str, ...]:
        """All of them, by index."""
        return tuple(self.known.to_pylist())

    def indices(self, ids: Any, keep: np.ndarray, *, grows: bool) -> np.ndarray:
        """Return each kept id's index, int32; 0 of an unknown one, which is added if it `grows`.

        Rows that are not kept have 0.
        """
        import pyarrow as arrow
        from pyarrow import compute

        kept = ids.filter(arrow.array(keep))
        found = compute.index_in(kept, value_set=self.known)
        if grows and found.null_count:
            new = kept.filter(found.is_null()).unique()
            self.known = arrow.concat_arrays([self.known, new])
            found = compute.index_in(kept, value_set=self.known)
        indices = np.zeros(len(keep), np.int32)
        indices[keep] = found.fill_null(-1).to_numpy(zero_copy_only=False) + 1
        return indices


def _look_alikes(what: str, ids: Sequence[str]) -> list[str]:
    """A sentence about ids that differ only in case or in blanks at their ends."""
    if len({text.strip().casefold() for text in ids}) == len(ids):
        return []
    groups: dict[str, list[str]] = {}
    for text in ids:
        groups.setdefault(text.strip().casefold(), []).append(text)
    alike = [group for group in groups.values() if len(group) > 1]
    shown = "; ".join(" and ".join(map(repr, group)) for group in alike[:SHOWN])
    more = f"; and {len(alike) - SHOWN:,} more" if len(alike) > SHOWN else ""
    return [f"Ids of {what}s that differ only in case or blanks stay apart: {shown}{more}."]


def _catalogue(table: Table, given: Columns, facts: TableFacts) -> Catalogue:
    """The items of an items table, in its order; of rows with the same id the first one counts."""
    item = _one(given, ITEM)
    id_given = _one(given, ID) or (item if item in table.names else None)
    id_column = find_column(table.title, table.names, ID, id_given, required=True) or ""
    title = _one(given, TITLE)
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
