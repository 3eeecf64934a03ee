"""Conversion of given columns to a student's inputs: ids to indices, texts to words, NaN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfrs_distill.columns import HISTORY, HISTORY_RATINGS
from tfrs_distill.errors import InputError
from tfrs_distill.serving.artefact import Artefact
from tfrs_distill.serving.artefact.given_ids import indices_of, plain_values, whole_numbers
from tfrs_distill.serving.word_vocabulary import WordVocabulary


class ColumnValues:
    """Reads the columns of an artefact's student.

    Args:
        artefact: describes the columns, and holds their vocabularies.
    """

    def __init__(self, artefact: Artefact) -> None:
        self.columns = artefact.columns
        self._indices = {
            name: {value: index for index, value in enumerate(ids, start=1)}
            for name, ids in artefact.vocabularies.items()
        }
        self._words = {
            name: WordVocabulary(words, self.columns[name]["max_words"])
            for name, words in artefact.words.items()
        }

    def names(self, side: str | None = None) -> list[str]:
        """Return the names of the columns of one side, or of all."""
        return [name for name, column in self.columns.items() if side in (None, column["side"])]

    def read(
        self, given: Mapping[str, Any], side: str | None = None, argument: str = "columns"
    ) -> dict[str, np.ndarray]:
        """Return the columns of one side, or all, as the student reads them.

        Args:
            given: the values of each column, one per row.
            side: "query", "item" or None.
            argument: name of `given` in messages.

        Raises:
            InputError: columns are missing, unknown or of different lengths, or have values that
                the student cannot read.
        """
        names = self.names(side)
        self._check_names(given, names, argument)
        for name in names:
            if isinstance(given[name], (str, bytes)) or not hasattr(given[name], "__len__"):
                raise InputError(
                    f"Column {name!r} must be a sequence with one value per row. Received: "
                    f"{given[name]!r}."
                )
        lengths = {name: len(given[name]) for name in names}
        if len(set(lengths.values())) > 1:
            received = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise InputError(f"All columns must have one value per row. Received rows: {received}.")
        together = [name for name in names if self.columns[name]["kind"].startswith(HISTORY)]
        read = {name: self._values(name, given[name]) for name in names if name not in together}
        if together:
            read |= self._histories(*(given[name] for name in sorted(together)))
        return {name: read[name] for name in names}

    def _check_names(self, given: Mapping[str, Any], names: Sequence[str], argument: str) -> None:
        expected = ", ".join(f"{name} ({self.columns[name]['kind']})" for name in names)
        for problem, found in (
            ("lacks", [name for name in names if name not in given]),
            ("has unknown", [name for name in given if name not in names]),
        ):
            if found:
                raise InputError(
                    f"`{argument}` {problem} columns: {', '.join(map(str, found))}. "
                    f"This student reads: {expected}."
                )

    def _values(self, name: str, values: Any) -> np.ndarray:
        kind = self.columns[name]["kind"]
        if kind == "id":
            return self._ids(name, _array(name, values, 1))
        if kind == "number":
            return _numbers(name, _array(name, values, 1))
        if kind == "words":
            return self._texts(name, values)
        return _of_type(name, values, self.columns[name]["dtype"])

    def _ids(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return indices, int32; 0 for ids that are not in the vocabulary."""
        index_of = self._indices.get(self.columns[name].get("vocabulary", ""))
        return indices_of(values, index_of, f"Column {name!r}")

    def _texts(self, name: str, values: Any) -> np.ndarray:
        """Return indices of words, int32 [num_rows, longest text]."""
        given = _array(name, values, 1, 2)
        if given.ndim == 2 or given.dtype != object:
            return whole_numbers(_array(name, values, 2), f"Column {name!r}")
        # NaN is missing.
        texts = ["" if value is None or value != value else value for value in given]
        odd = [text for text in texts if not isinstance(text, str)]
        if odd:
            raise InputError(f"Column {name!r} must be texts. Received: {odd[0]!r}.")
        if name not in self._words:
            raise InputError(
                f"Column {name!r} takes indices of words, because the student was exported "
                f"without a vocabulary for it. Received: {_first(values)!r}."
            )
        words = self._words[name].encode(texts)
        longest = int(words.any(axis=0).sum())  # what follows is padding in every row
        return words[:, : max(longest, 1)]

    def _histories(self, given: Any, given_ratings: Any = None) -> dict[str, np.ndarray]:
        """Return items, oldest first, padded in front to the longest, and their ratings.

        The student itself ignores other padding and unknown items.
        """
        values, inside = _side_by_side(HISTORY, given)
        read = {HISTORY: _filled(self._ids(HISTORY, values), inside)}
        if given_ratings is not None:
            values, rated = _side_by_side(HISTORY_RATINGS, given_ratings)
            if rated.shape != inside.shape or (rated != inside).any():
                raise InputError(
                    f"`{HISTORY_RATINGS}` must have one rating for every item of `{HISTORY}`, 0 "
                    "for none. Received: rows of other lengths."
                )
            ratings = _numbers(HISTORY_RATINGS, values)
            ratings = np.where(np.isfinite(ratings), ratings, np.float32(0.0))
            read[HISTORY_RATINGS] = _filled(ratings, inside)
        return read


def _array(name: str, values: Any, *ranks: int) -> np.ndarray:
    """Return the values as an array with one of the given numbers of axes."""
    array = plain_values(values, f"Column {name!r}")
    if array.size == 0 and array.ndim <= ranks[0]:
        return array.reshape([len(array)] + [0] * (ranks[0] - 1))
    if array.ndim not in ranks:
        expected = (
            "one value per row" if ranks == (1,) else "the same number of values in every row"
        )
        raise InputError(f"Column {name!r} must have {expected}. Received: {_first(values)!r}.")
    return array


def _first(values: Any) -> Any:
    return next(iter(values), values)


def _numbers(name: str, values: np.ndarray) -> np.ndarray:
    """Return float32 values, NaN if missing."""
    if values.dtype == np.float32:
        return values
    try:
        with np.errstate(over="ignore"):  # too large becomes infinite, which counts as missing
            return values.astype(np.float64).astype(np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"Column {name!r} must be numeric, NaN for missing values: {error}."
        ) from error


def _side_by_side(name: str, rows: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of all rows, and the positions they fill: bool [num_rows, longest].

    Rows of one array are unchanged; others are aligned at the end.
    """
    if hasattr(rows, "__array__"):  # of NumPy, TensorFlow or pandas
        rows = np.asarray(rows)
        if rows.ndim == 2 and rows.shape[1]:
            return _array(name, rows.reshape(-1), 1), np.ones(rows.shape, bool)
    for row in rows:
        if isinstance(row, (str, bytes)) or not hasattr(row, "__len__"):
            raise InputError(f"Column {name!r} must be sequences, one per row. Received: {row!r}.")
    lengths = np.array([len(row) for row in rows], int)
    longest = int(lengths.max(initial=1))  # LiteRT has no histories of length 0
    inside = np.arange(longest)[None, :] >= longest - lengths[:, None]
    return _array(name, [value for row in rows for value in row], 1), inside


def _of_type(name: str, values: Any, dtype: str) -> np.ndarray:
    """Return the values of a column that a custom feature class reads."""
    given = plain_values(values, f"Column {name!r}")
    try:
        array = given.astype(dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"Column {name!r} must be of {dtype}: {error}.") from error
    if array.dtype.kind in "iu" and not (given.dtype != object and np.array_equal(array, given)):
        raise InputError(
            f"Column {name!r} must be whole numbers that {dtype} can hold. Received: "
            f"{_first(values)!r}, ..."
        )
    return array


def _filled(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the values in their positions, 0 elsewhere."""
    rows = np.zeros(inside.shape, values.dtype)
    rows[inside] = values
    return rows
