"""User attributes in a data set's folder: age, gender, occupation and country."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfrs_distill.columns import plain_array, plain_texts
from tfrs_distill.data.readers import book_crossing
from tfrs_distill.data.readers.delimited import position_of, split_rows, with_num_fields
from tfrs_distill.data.readers.recbole import typed_rows
from tfrs_distill.errors import InputError

AGE_GROUPS = (
    18,
    25,
    35,
    45,
    50,
    56,
)  # first year of each group but the youngest (MovieLens-1M)


@dataclass(frozen=True)
class UserAttributes:
    """Attributes of each user, in file order.

    Args:
        user_ids: unique ids as in the data set.
        ages: float64 [num_users], NaN = missing. In MovieLens-1M, the first year of an age group,
            and 1 for all users under 18.
        genders: as in the data set, "" = missing.
        occupations: as in the data set, "" = missing.
        countries: as in the data set, "" = missing; empty if the data set has no countries.

    Raises:
        InputError: lengths differ, ages are not numeric, or a text is missing.
    """

    user_ids: tuple[str, ...]
    ages: np.ndarray
    genders: tuple[str, ...]
    occupations: tuple[str, ...]
    countries: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.countries):
            object.__setattr__(self, "countries", ("",) * len(self.user_ids))
        for name in ("user_ids", "genders", "occupations", "countries"):
            object.__setattr__(self, name, plain_texts(name, getattr(self, name)))
        ages = plain_array("ages", self.ages)
        if ages.dtype.kind not in "iuf":
            raise InputError(f"`ages` must hold numbers. Received the dtype {ages.dtype}.")
        object.__setattr__(self, "ages", ages.astype(np.float64, copy=False))
        texts = (self.genders, self.occupations, self.countries)
        lengths = [len(self.user_ids), self.ages.size, *map(len, texts)]
        if len(set(lengths)) != 1:
            raise InputError(
                "`user_ids`, `ages`, `genders`, `occupations` and `countries` must have one entry "
                f"per user. Received lengths {lengths}."
            )

    def columns(self, user_ids: Sequence[str]) -> dict[str, Sequence[Any]]:
        """Return the attributes of the given users, as `AttributeVocabulary` reads them.

        Args:
            user_ids: ids as in the data set, in the order of the user indices.

        Example:
        >>> known = UserAttributes(("7", "9"), [24, 17], ("M", ""), ("", ""))
        >>> known.columns(("9", "8"))["age"], known.columns(("9", "7"))["gender"]
        ([17.0, nan], ('', 'M'))
        """
        row_of = {user_id: row for row, user_id in enumerate(self.user_ids)}
        rows = [row_of.get(user_id) for user_id in user_ids]
        texts = {
            "gender": self.genders,
            "occupation": self.occupations,
            "country": self.countries,
        }
        return {
            "age": [math.nan if row is None else float(self.ages[row]) for row in rows],
            **{
                name: tuple("" if row is None else values[row] for row in rows)
                for name, values in texts.items()
            },
        }

    def groups(self, user_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return the group of every user by attribute, "" if missing.

        Ages are in the groups of MovieLens-1M. Attributes that are missing for all users are
        omitted.

        Args:
            user_ids: ids as in the data set, in the order of the user indices.

        Example:
        >>> known = UserAttributes(("7", "9"), [24, 17], ("M", ""), ("", ""))
        >>> known.groups(("9", "8", "7"))
        {'gender': ('', '', 'M'), 'age': ('0 to 17', '', '18 to 24')}
        """
        known = self.columns(user_ids)
        known["age"] = tuple(map(_age_group, known["age"]))
        groups = {name: tuple(known[name]) for name in ("gender", "age", "occupation", "country")}
        return {name: values for name, values in groups.items() if any(values)}


class _User(NamedTuple):
    line: int
    user_id: str
    age: str
    gender: str
    occupation: str
    country: str = ""


def read_user_attributes(path: str | os.PathLike[str]) -> UserAttributes | None:
    """Read the users' file of a folder in one of these layouts.

    - GroupLens 100K: `u.user`
    - GroupLens 1M: `users.dat`
    - RecBole atomic files: `NAME.user`, with the columns `user_id`, `age`, `gender`, `occupation`
    - Book-Crossing: `BX-Users.csv`, with ages up to 100 and countries

    Args:
        path: the folder.

    Returns:
        The attributes, or None if there is no such file, as in later MovieLens sets.

    Raises:
        InputError: the folder has several such files; a column is missing; an id is empty or occurs
            twice; an age is not a number. The message has file and line.
    """
    folder = Path(path)
    readers = {"u.user": _u_users, "users.dat": _dat_users, book_crossing.USERS: _book_readers}
    found = [name for name in readers if (folder / name).is_file()]
    found += [file.name for file in sorted(folder.glob("*.user")) if file.name not in readers]
    if not found:
        return None
    if len(found) > 1:
        raise InputError(
            f"One file about the users was expected in {folder}. Found: {', '.join(found)}."
        )
    file = folder / found[0]
    return _attributes(file, readers.get(file.name, _atomic_users)(file))


def _u_users(path: Path) -> Iterator[_User]:
    rows = with_num_fields(path, split_rows(path, "|"), 5)
    for line, (user_id, age, gender, occupation, _) in rows:
        yield _User(line, user_id, age, gender, occupation)


def _dat_users(path: Path) -> Iterator[_User]:
    rows = with_num_fields(path, split_rows(path, "::"), 5)
    for line, (user_id, gender, age, occupation, _) in rows:
        yield _User(line, user_id, age, gender, occupation)


def _atomic_users(path: Path) -> Iterator[_User]:
    names, rows = typed_rows(path)
    wanted = ("user_id", "age", "gender", "occupation")
    places = [position_of(path, names, name) for name in wanted]
    for line, fields in rows:
        yield _User(line, *(fields[place] for place in places))


def _book_readers(path: Path) -> Iterator[_User]:
    for line, user_id, age, country in book_crossing.reader_rows(path):
        yield _User(line, user_id, age, "", "", country)


def _attributes(path: Path, users: Iterator[_User]) -> UserAttributes:
    found: dict[str, _User] = {}
    ages: list[float] = []
    for user in users:
        if not user.user_id:
            raise InputError(f"{path}, line {user.line}: the user id is empty.")
        if user.user_id in found:
            raise InputError(
                f"{path}, line {user.line}: user id {user.user_id!r} is already on line "
                f"{found[user.user_id].line}. Every user must have one line."
            )
        found[user.user_id] = user
        ages.append(_age(path, user))
    if not found:
        raise InputError(f"{path} holds no users.")
    return UserAttributes(
        tuple(found),
        np.array(ages, np.float64),
        tuple(user.gender for user in found.values()),
        tuple(user.occupation for user in found.values()),
        tuple(user.country for user in found.values()),
    )


def _age_group(age: float) -> str:
    if math.isnan(age):
        return ""
    number = sum(age >= start for start in AGE_GROUPS)
    start, *later = (0, *AGE_GROUPS)[number:]
    return f"{start} to {later[0] - 1}" if later else f"{start} or more"


def _age(path: Path, user: _User) -> float:
    """Return the age in years, NaN if the field is empty."""
    if not user.age:
        return math.nan
    try:
        age = float(user.age)
    except ValueError:
        age = math.nan
    if not math.isfinite(age):
        raise InputError(f"{path}, line {user.line}: age {user.age!r} is not a number.")
    return age
