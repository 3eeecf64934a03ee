"""The table of users: one row each, with groups for segment metrics, and attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfrs_distill.data.tables import values
from tfrs_distill.data.tables.batches import Table, open_table
from tfrs_distill.data.tables.cells import cells_by_id
from tfrs_distill.data.tables.roles import ATTRIBUTE, GROUP, NAMES, USER, find_column, plain_name
from tfrs_distill.errors import InputError

MAX_GROUPS = 50  # per column: more values cannot be compared as groups
MANY_NUMBERS = 8  # distinct numbers: more are grouped into quartiles
MAX_VALUES = 1000  # per attribute: each value has a vector in the student


def read_user_groups(
    table: Any,
    user_ids: Sequence[str],
    columns: Sequence[str] = (),
    *,
    user_column: str | None = None,
) -> dict[str, tuple[str, ...]]:
    """Read user groups from a users table, for metrics by segment.

    A column with more than 8 distinct numbers is split into quartiles of the users that have a
    value. A user that is not in the table, or has an empty cell, is in no group. The first row of
    each id is used.

    Args:
        table: a file or several, a folder of them, or a frame, as for `read_table`.
        user_ids: the users, in the order of their indices.
        columns: names of the columns; none = those with usual names, such as country.
        user_column: the name of the interactions' user column: used if this table has a column of
            that name; otherwise found by its usual names.

    Returns:
        The group of every user by column, "" for none, as `segments` takes it.

    Raises:
        MissingExtraError: pyarrow is not installed.
        InputError: the table cannot be read, a column is missing or has more than 50 distinct
            values, or the table has none of the users.

    Example:
    >>> frame = {"user": ["bob", "ann"], "country": ["fr", "de"], "age": [30, 40]}
    >>> read_user_groups(frame, ["ann", "bob", "eve"], ["country", "age"])
    {'country': ('de', 'fr', ''), 'age': ('40', '30', '')}
    """
    opened = open_table(table)
    for name in columns:
        find_column(opened.title, opened.names, GROUP, name, required=True)
    columns = columns or [name for name in opened.names if plain_name(name) in NAMES[GROUP]]
    if not columns:
        raise InputError(
            f"Which columns of {opened.title} are groups of users? Its columns are: "
            f"{', '.join(opened.names)}. Name them (--column group={opened.names[-1]})."
        )
    cells = _cells_of_users(opened, user_ids, columns, user_column)
    return {
        name: _groups(opened.title, name, [" ".join(texts) for texts in column])
        for name, column in cells.items()
    }


def read_user_columns(
    table: Any,
    user_ids: Sequence[str],
    columns: Sequence[str],
    *,
    user_column: str | None = None,
) -> dict[str, list[float] | tuple[str, ...]]:
    """Read user attributes for a student, such as age and plan, from a users table.

    A user that is not in the table, or has an empty cell, has a missing value. The first row of
    each id is used.

    Args:
        table: a file or several, a folder of them, or a frame, as for `read_table`.
        user_ids: the users, in the order of their indices.
        columns: names of the columns to read.
        user_column: as for `read_user_groups`.

    Returns:
        One value per user by column, as `AttributeVocabulary.from_columns` takes it: floats for a
        numeric column, NaN if missing; else texts, "" if missing.

    Raises:
        MissingExtraError: pyarrow is not installed.
        InputError: the table cannot be read, a column is missing or has more than 1,000 distinct
            texts, or the table has none of the users.

    Example:
    >>> frame = {"user": ["bob", "ann"], "plan": ["free", None], "age": [30, 40]}
    >>> read_user_columns(frame, ["ann", "bob", "eve"], ["plan", "age"])
    {'plan': ('', 'free', ''), 'age': [40.0, 30.0, nan]}
    """
    opened = open_table(table)
    for name in columns:
        find_column(opened.title, opened.names, ATTRIBUTE, name, required=True)
    found: dict[str, list[float] | tuple[str, ...]] = {}
    for name, column in _cells_of_users(opened, user_ids, columns, user_column).items():
        numbers = values.numbers_of(column)
        found[name] = tuple(" ".join(cells) for cells in column) if numbers is None else numbers
        different = len(set(found[name]) - {""})
        if numbers is None and different > MAX_VALUES:
            raise InputError(
                f"{opened.title}: column {name!r} has {different:,} different values for "
                f"{len(user_ids):,} users; at most {MAX_VALUES:,} can be those of an attribute. "
                "Is it an id or a text?"
            )
    return found


def can_be_groups(column: list[float] | tuple[str, ...]) -> bool:
    """Whether a column of `read_user_columns` has few enough values to compare as groups."""
    return isinstance(column, list) or len(set(column) - {""}) <= MAX_GROUPS


def _cells_of_users(
    opened: Table, user_ids: Sequence[str], columns: Sequence[str], user_column: str | None
) -> dict[str, list[list[str]]]:
    """By column, the texts of every user's cell.

    Raises:
        InputError: the table has none of the users.
    """
    given = user_column if user_column in opened.names else None
    ids_in = find_column(opened.title, opened.names, USER, given, required=True) or ""
    cells = cells_by_id(opened, ids_in, columns)
    if not cells.keys() & set(user_ids):
        first = f", such as {next(iter(cells))!r}" if cells else ""
        raise InputError(
            f"{opened.title} has none of the {len(user_ids):,} users, such as {user_ids[0]!r}: its "
            f"column {ids_in!r} has {len(cells):,} ids{first}."
        )
    nothing: list[list[str]] = [[] for _ in columns]
    rows = [cells.get(user_id, nothing) for user_id in user_ids]
    return {name: [row[place] for row in rows] for place, name in enumerate(columns)}


def _groups(title: str, name: str, column: Sequence[str]) -> tuple[str, ...]:
    """The cells of a column as groups."""
    different = set(column) - {""}
    numbers = values.numbers_of([[text] if text else [] for text in column])
    if numbers is not None and len(different) > MANY_NUMBERS:
        known = np.array(numbers)[~np.isnan(numbers)]
        ends = np.unique(np.quantile(known, [0.25, 0.5, 0.75], method="lower"))
        names = [f"{ends[0]:g} or less"]
        names += [f"above {low:g} to {high:g}" for low, high in zip(ends, ends[1:])]
        names.append(f"above {ends[-1]:g}")
        places = np.searchsorted(ends, numbers)
        return tuple("" if np.isnan(n) else names[place] for n, place in zip(numbers, places))
    if len(different) > MAX_GROUPS:
        raise InputError(
            f"{title}: column {name!r} has {len(different):,} different values for the users; at "
            f"most {MAX_GROUPS} can be compared as groups."
        )
    return tuple(column)
