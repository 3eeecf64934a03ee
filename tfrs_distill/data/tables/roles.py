"""The roles of a table's columns: user, item, time, rating, title, text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from tfrs_distill.errors import InputError

USER, ITEM, TIME, RATING = "user", "item", "time", "rating"  # of interactions
ID, TITLE, TEXT = "id", "title", "text"  # of items
ATTRIBUTE, GROUP = "attribute", "group"  # see `read_item_attributes` and `read_user_groups`
ROLES = (USER, ITEM, TIME, RATING, ID, TITLE, TEXT)
Columns = Mapping[str, str | Sequence[str]]  # by role; several of `TEXT`
_ITEMS = "item product sku article asin isbn movie film track song book artist game video news"
_WITH_ID = {
    USER: "user customer client member visitor account buyer person reader listener session",
    ITEM: _ITEMS,
    ID: _ITEMS,
}
# By role, the usual names in the order in which they are looked for.
NAMES: dict[str, tuple[str, ...]] = {
    role: tuple(name + end for end in ("id", "") for name in names.split())
    for role, names in _WITH_ID.items()
} | {
    TIME: tuple("timestamp time ts datetime date createdat eventtime unixtime orderdate".split()),
    RATING: tuple("rating ratings stars score overall".split()),
    TITLE: tuple(
        "title name itemname productname itemtitle producttitle movietitle booktitle".split()
    ),
    TEXT: tuple(
        "text description desc summary body abstract brand category categories genre genres tags "
        "author authors".split()
    ),
    GROUP: tuple(
        "gender sex agegroup country region city language occupation segment plan tier".split()
    ),
}
NAMES[USER] += ("uid",)
NAMES[ITEM] += ("iid",)
NAMES[ID] += ("id", "iid")


def plain_name(name: str) -> str:
    """Normalise a column name for comparison: letters and digits, without a RecBole type.

    Example:
    >>> plain_name("User_ID:token")
    'userid'
    """
    return re.sub(r"[\W_]", "", name.partition(":")[0]).casefold()


def check_roles(columns: Columns) -> None:
    """Check that all roles exist.

    Raises:
        InputError: a role does not exist.
    """
    for role in columns:
        if role not in ROLES:
            raise InputError(
                f"A column can be the {', '.join(ROLES[:-1])} or {ROLES[-1]}. Received: {role!r}."
                + nearest(role, ROLES)
            )


def one_column(given: Columns, role: str) -> str | None:
    """Return the column given for a role that takes one column; None if none is given.

    Raises:
        InputError: several are given.
    """
    column = given.get(role)
    if column is not None and not isinstance(column, str):
        raise InputError(f"Only one column can be the {role}. Received: {column!r}.")
    return column


def find_column(
    table: str, names: Sequence[str], role: str, given: str | None, *, required: bool
) -> str | None:
    """Return the column of a role: the given one, or the first with a usual name.

    Args:
        table: name of the table in messages.
        names: its column names.
        role: one of `ROLES`.
        given: the column name given by the caller.
        required: whether the table cannot be used without it.

    Raises:
        InputError: the given column does not exist, or no column is found and it is required.

    Example:
    >>> find_column("shop.csv", ["ts", "Customer", "SKU"], "item", None, required=True)
    'SKU'
    """
    if given is not None:
        if given not in names:
            raise InputError(
                f"{table} has no column {given!r}. Its columns are: {', '.join(names)}."
                + nearest(given, names)
            )
        return given
    by_plain_name = {plain_name(name): name for name in reversed(names)}  # the first one counts
    for usual in NAMES[role]:
        if usual in by_plain_name:
            return by_plain_name[usual]
    if required:
        raise InputError(
            f"Which column of {table} is the {role}? Its columns are: {', '.join(names)}. Name it, "
            f'as with columns={{"{role}": "{names[0]}"}}, or add a first line with the column '
            "names to the file if it has none."
        )
    return None


def nearest(name: str, names: Iterable[str]) -> str:
    """Return a question that suggests the most similar name; empty if none is similar."""
    found = get_close_matches(name.casefold(), [known.casefold() for known in names], n=1)
    return next((f" Did you mean {n!r}?" for n in names if found and n.casefold() == found[0]), "")
