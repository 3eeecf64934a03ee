"""What is known of a user, as indices: what a student's query tower reads of age or gender."""

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
    """The attributes of users that have an index, and what each index means; 0 is not known.

    An attribute is a category, such as gender, whose values have an index each; or a number, such
    as age, whose index is the bucket it is in. What is missing, and a value of a category that is
    not among those here, is 0.

    Args:
        attributes: by name, what the indices from 1 on mean: the values of a category as texts, or
            the least number of each bucket as floats, ascending. What is below the first bucket
            counts as in it.

    Raises:
        InputError: there is no attribute, or one has no values, one twice or an empty one, or
            numbers that do not ascend.

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
                raise InputError(
                    f"Attribute {name!r} needs values that are there once. Received: {values}."
                )
            if not of_texts and not (
                all(isinstance(value, float) and math.isfinite(value) for value in values)
                and list(values) == sorted(values)
            ):
                raise InputError(
                    f"Attribute {name!r} must have texts of at least one letter, or the ascending "
                    f"numbers at which its buckets begin. Received: {values}."
                )
        object.__setattr__(self, "attributes", plain)

    @classmethod
    def from_columns(cls, columns: Mapping[str, Sequence[Any]]) -> AttributeVocabulary:
        """The vocabulary of what is known of some users.

        Of numbers eight buckets are made, of as many users each as equal numbers allow; of up to
        eight different ones a bucket each. Anything else, digits as text too, is a category.

        Args:
            columns: by attribute, a value a user; None, NaN or "" where it is not known.

        Raises:
            InputError: an attribute is known of nobody, or is neither numbers nor texts.

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
                    f"Attribute {name!r} is known of none of the {len(values)} users. Leave it out."
                )
            if all(isinstance(value, Real) and not _is_bool(value) for value in known):
                found[name] = _starts(np.array([_number(name, value) for value in known]))
            else:
                found[name] = tuple(sorted({_text(name, value) for value in known}))
        return cls(found)

    @classmethod
    def from_list(cls, described: Sequence[Mapping[str, Any]]) -> AttributeVocabulary:
        """The vocabulary that `as_list` described."""
        return cls({one["name"]: tuple(one.get("starts", one.get("values"))) for one in described})

    def as_list(self) -> list[dict[str, Any]]:
        """Each attribute's `name`, with its `values` or its buckets' `starts`, as JSON."""
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
        """How many values each attribute has."""
        return tuple(map(len, self.attributes.values()))

    def encode(self, columns: Mapping[str, Sequence[Any]]) -> np.ndarray:
        """Return indices, int32 [num_users, num_attributes]; 0 where nothing is known.

        Args:
            columns: by attribute, a value a user, as for `from_columns`; an attribute that is not
                there is not known.

        Raises:
            InputError: an attribute is not of this vocabulary, a column is none, a value is of
                another kind, or the columns differ in length.
        """
        for name in columns:
            if name not in self.attributes:
                raise InputError(
                    f"There is no attribute {name!r} of users. Expected: {', '.join(self.names)}."
                )
        listed = {name: _values(name, column) for name, column in columns.items()}
        lengths = {name: len(values) for name, values in listed.items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"Attributes must have one value a user. Received: {lengths}.")
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
    """Raise an InputError unless indices have a column an attribute; None is not known yet."""
    if num_columns not in (None, len(vocabulary.names)):  # one would count as every attribute
        raise InputError(
            "`user_attributes` must have a column for each attribute that the model reads "
            f"({', '.join(vocabulary.names)}). Received: {num_columns} columns."
        )


def _values(name: str, column: Any) -> list[Any]:
    """A column's values, None where nothing is known."""
    return [None if isinstance(x, (str, bytes)) and not x else x for x in plain_list(name, column)]


def _starts(numbers: np.ndarray) -> tuple[float, ...]:
    """Where the buckets begin: of eight numbers at most at each, else of as many users each.

    Where many are equal, some quantiles are too: then a bucket ends where it has its share of the
    users that are left, so that those many are in one and the others in seven.
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
            f"Attribute {name!r} must be a number, or None where it is not known. Received: "
            f"{value!r}."
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
        f"Attribute {name!r} must be a text, or None where it is not known. Received: {value!r}."
    )
