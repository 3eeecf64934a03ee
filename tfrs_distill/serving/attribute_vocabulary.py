"""User attributes as indices, as a student's query tower reads them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from tfrs_distill.columns import plain_list
from tfrs_distill.errors import InputError

NUM_BUCKETS = 8  # of a number, at most


@dataclass(frozen=True)
class AttributeVocabulary:
    """The vocabulary of user attributes: the meaning of each index; 0 is missing.

    An attribute is a category, such as gender, with one index per value; or a number, such as age,
    with one index per bucket. Missing values, and values of a category that are not in the
    vocabulary, have the index 0.

    Args:
        attributes: by name, the meaning of the indices from 1 on: the values of a category as
            texts, or the lower bounds of the buckets as floats, ascending. Numbers below the first
            bucket belong to it.

    Raises:
        InputError: there is no attribute, or one has no values, duplicate or empty values, or
            numbers that are not ascending.

    Example:
    >>> known = AttributeVocabulary({"age": (1.0, 25.0, 40.0), "gender": ("F", "M")})
    >>> known.encode({"age": [24, 40, None], "gender": ["M", "", "other"]}).tolist()
    [[1, 2], [3, 0], [0, 0]]
    """

    attributes: Mapping[str, tuple[str, ...] | tuple[float, ...]]

    def __post_init__(self) -> None:
        if not self.attributes:
            raise InputError("A vocabulary needs at least one attribute. Received: none.")
        plain: dict[str, tuple[Any, ...]] = {}
        values: tuple[Any, ...]
        for name, given in self.attributes.items():
            plain[name] = values = tuple(given)
            of_texts = all(isinstance(value, str) and value for value in values)
            if not values or len(set(values)) < len(values):
                raise InputError(f"Attribute {name!r} needs unique values. Received: {values}.")
            if not of_texts and not (
                all(isinstance(value, float) and math.isfinite(value) for value in values)
                and list(values) == sorted(values)
            ):
                raise InputError(
                    f"Attribute {name!r} must have non-empty texts, or the ascending lower bounds "
                    f"of its buckets. Received: {values}."
                )
        object.__setattr__(self, "attributes", plain)

    @classmethod
    def from_columns(cls, columns: Mapping[str, Sequence[Any]]) -> AttributeVocabulary:
        """Build a vocabulary from the attributes of some users.

        A numeric attribute gets up to eight buckets with about the same number of users; with up to
        eight distinct numbers, one bucket per number. Any other attribute, including digits as
        text, is a category.

        Args:
            columns: by attribute, one value per user; None, NaN or "" if missing.

        Raises:
            InputError: an attribute is missing for all users, or is neither numeric nor text.

        Example:
        >>> columns = {"age": [24.0, 17.0, float("nan")], "gender": ["M", "", "F"]}
        >>> AttributeVocabulary.from_columns(columns).attributes
        {'age': (17.0, 24.0), 'gender': ('F', 'M')}
        """
        found: dict[str, tuple[Any, ...]] = {}
        for name, column in columns.items():
            values = _values(name, column)
            known = [value for value in values if value is not None]
            if not known:
                raise InputError(
                    f"Attribute {name!r} is missing for all {len(values)} users. Remove it."
                )
            if all(isinstance(value, Real) and not _is_bool(value) for value in known):
                found[name] = _starts(np.array([_number(name, value) for value in known]))
            else:
                found[name] = tuple(sorted({_text(name, value) for value in known}))
        return cls(found)

    @classmethod
    def from_list(cls, described: Sequence[Mapping[str, Any]]) -> AttributeVocabulary:
        """Build a vocabulary from the output of `as_list`."""
        return cls({one["name"]: tuple(one.get("starts", one.get("values"))) for one in described})

    def as_list(self) -> list[dict[str, Any]]:
        """Return each attribute's `name`, with its `values` or its buckets' `starts`, as JSON."""
        return [
            {"name": name, "starts" if self._is_number(name) else "values": list(values)}
            for name, values in self.attributes.items()
        ]

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes, in the order in which a student reads them."""
        return tuple(self.attributes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of values of each attribute."""
        return tuple(map(len, self.attributes.values()))

    def encode(self, columns: Mapping[str, Sequence[Any]]) -> np.ndarray:
        """Return indices, int32 [num_users, num_attributes]; 0 for missing values.

        Args:
            columns: by attribute, one value per user, as for `from_columns`; omitted attributes are
                missing.

        Raises:
            InputError: an attribute is not in the vocabulary, a column is not a sequence, a value
                has another type, or the columns differ in length.
        """
        for name in columns:
            if name not in self.attributes:
                raise InputError(
                    f"There is no user attribute {name!r}. Expected: {', '.join(self.names)}."
                )
        listed = {name: _values(name, column) for name, column in columns.items()}
        lengths = {name: len(values) for name, values in listed.items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"Attributes must have one value per user. Received: {lengths}.")
        indices = np.zeros([max(lengths.values(), default=1), len(self.names)], np.int32)
        for place, name in enumerate(self.names):
            if name in listed:
                indices[:, place] = self._indices(name, listed[name])
        return indices

    def _is_number(self, name: str) -> bool:
        return isinstance(self.attributes[name][0], float)

    def _indices(self, name: str, known: Sequence[Any]) -> list[int]:
        values = self.attributes[name]
        if self._is_number(name):
            numbers = [value if value is None else _number(name, value) for value in known]
            return [0 if x is None else max(1, bisect_right(values, x)) for x in numbers]
        index_of = {value: index for index, value in enumerate(values, start=1)}
        texts = ["" if value is None else _text(name, value) for value in known]
        return [index_of.get(text, 0) for text in texts]


def check_width(vocabulary: AttributeVocabulary, num_columns: int | None) -> None:
    """Raise an InputError unless there is one column per attribute; None is unknown."""
    if num_columns not in (None, len(vocabulary.names)):  # one column would be broadcast
        raise InputError(
            "`user_attributes` must have a column for each attribute that the model reads "
            f"({', '.join(vocabulary.names)}). Received: {num_columns} columns."
        )


def _values(name: str, column: Any) -> list[Any]:
    """Return a column's values, None if missing."""
    return [None if isinstance(x, (str, bytes)) and not x else x for x in plain_list(name, column)]


def _starts(numbers: np.ndarray) -> tuple[float, ...]:
    """Return the lower bounds of the buckets: one per distinct number, or equal numbers of users.

    With many equal numbers, several quantiles are equal. A bucket then ends when it has its share
    of the remaining users, so that the equal numbers are in one bucket and the others in seven.
    """
    different, counts = np.unique(numbers, return_counts=True)
    if len(different) <= NUM_BUCKETS:
        return tuple(different.tolist())
    shares = np.arange(NUM_BUCKETS) / NUM_BUCKETS
    starts = np.unique(np.quantile(numbers, shares, method="higher")).tolist()
    if len(starts) == NUM_BUCKETS:
        return tuple(starts)
    starts, left, room = [], len(numbers), 0.0
    for place, (number, count) in enumerate(zip(different.tolist(), counts.tolist())):
        as_many = NUM_BUCKETS - len(starts) == len(different) - place  # buckets as numbers
        if room < 1e-9 or as_many:
            room = left / (NUM_BUCKETS - len(starts))
            starts.append(number)
        left, room = left - count, room - count
    return tuple(starts)


def _is_bool(value: Any) -> bool:
    return isinstance(value, (bool, np.bool_))


def _number(name: str, value: Any) -> float:
    try:
        number = math.nan if _is_bool(value) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(
            f"Attribute {name!r} must be a number, or None if it is missing. Received: {value!r}."
        )
    return number


def _text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, Integral) and not _is_bool(value):
        return str(int(value))
    raise InputError(
        f"Attribute {name!r} must be a text, or None if it is missing. Received: {value!r}."
    )
