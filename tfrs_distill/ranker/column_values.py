"""From what people give to what a student reads: ids to indices, texts to words, gaps to NaN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfrs_distill.artefact import RankingArtefact
from tfrs_distill.columns import HISTORY, HISTORY_RATINGS, PADDING
from tfrs_distill.errors import InputError
from tfrs_distill.word_vocabulary import WordVocabulary

INT32 = np.iinfo(np.int32)


class ColumnValues:
    """Reads the columns of an artefact's student.

    Args:
        artefact: says what the columns are, and holds their vocabularies.
    """

    def __init__(self, artefact: RankingArtefact) -> None:
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
        """The columns of one side, or all."""
        return [name for name, told in self.columns.items() if side in (None, told["side"])]

    def read(
        self, given: Mapping[str, Any], side: str | None = None, argument: str = "columns"
    ) -> dict[str, np.ndarray]:
        """The columns of one side, or all, as the student takes them.

        Args:
            given: the values of each column, one a row.
            side: "query", "item" or None.
            argument: what the caller calls `given`, for messages.

        Raises:
            InputError: columns are missing, unknown or of unequal lengths, or hold something that
                the student cannot read.
        """
        names = self.names(side)
        self._check_names(given, names, argument)
        for name in names:
            if isinstance(given[name], (str, bytes)) or not hasattr(given[name], "__len__"):
                raise InputError(
                    f"Column {name!r} must be a sequence with one value a row. Received: "
                    f"{given[name]!r}."
                )
        lengths = {name: len(given[name]) for name in names}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise InputError(f"All columns must have one value a row. Received rows: {told}.")
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
        try:
            return np.asarray(values, self.columns[name]["dtype"])
        except (TypeError, ValueError) as error:
            raise InputError(
                f"Column {name!r} must be of {self.columns[name]['dtype']}: {error}."
            ) from error

    def _ids(self, name: str, values: np.ndarray) -> np.ndarray:
        """Indices, int32; 0 for an id that the vocabulary does not have."""
        if not _has_text(values):
            return _whole_numbers(name, values)
        vocabulary = self.columns[name].get("vocabulary")
        if vocabulary is None:
            raise InputError(
                f"Column {name!r} takes indices, as the student was exported without a vocabulary "
                f"for it. Received: {next(v for v in values if isinstance(v, str))!r}."
            )
        of_id = self._indices[vocabulary]
        are_ids = np.array([isinstance(value, str) for value in values])
        indices = np.zeros(len(values), np.int32)
        indices[are_ids] = [of_id.get(value, 0) for value in values[are_ids]]
        indices[~are_ids] = _whole_numbers(name, values[~are_ids])
        return indices

    def _texts(self, name: str, values: Any) -> np.ndarray:
        """Indices of words, int32 [num_rows, longest text]."""
        if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
            return _whole_numbers(name, _array(name, values, 2))
        if not all(text is None or isinstance(text, str) for text in values):
            return _whole_numbers(name, _array(name, values, 2))
        if name not in self._words:
            raise InputError(
                f"Column {name!r} takes indices of words, as the student was exported without a "
                f"vocabulary for it. Received: {_first(values)!r}."
            )
        words = self._words[name].encode(["" if text is None else text for text in values])
        longest = int(words.any(axis=0).sum())  # what follows is padding in every row
        return words[:, : max(longest, 1)]

    def _histories(self, given: Any, given_ratings: Any = None) -> dict[str, np.ndarray]:
        """Items, oldest first, padding in front, and their ratings, as wide as the student reads.

        Padding elsewhere and items that the student does not know are left out by its own
        `HistoryFeature`; here only where there are too many items to hand over.
        """
        told = self.columns[HISTORY]
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
        short = told["shape"][1] - inside.shape[1]
        if told["shape"][1] < 0 or short == 0:
            return read
        if short > 0:
            return {name: np.pad(rows, [(0, 0), (short, 0)]) for name, rows in read.items()}
        known = (read[HISTORY] > PADDING) & (read[HISTORY] <= told["vocabulary_size"])
        last = np.argsort(known, axis=1, kind="stable")[:, -told["shape"][1] :]
        return {name: np.take_along_axis(rows, last, axis=1) for name, rows in read.items()}


def _array(name: str, values: Any, rank: int) -> np.ndarray:
    """An array of so many axes, of numbers or of objects."""
    try:
        array = np.asarray(values)
    except ValueError:  # rows of unequal lengths
        array = np.zeros([0] * (rank + 1))
    if array.dtype.kind in "US":
        array = np.asarray(values, object)
    if array.size == 0 and array.ndim <= rank:
        return array.reshape([len(array)] + [0] * (rank - 1))
    if array.ndim != rank:
        told = "one value a row" if rank == 1 else "as many values in every row"
        raise InputError(f"Column {name!r} must have {told}. Received: {_first(values)!r}.")
    return array


def _first(values: Any) -> Any:
    return next(iter(values), values)


def _has_text(values: np.ndarray) -> bool:
    return values.dtype.kind == "O" and any(isinstance(value, str) for value in values.flat)


def _numbers(name: str, values: np.ndarray) -> np.ndarray:
    """float32; NaN where a value is None."""
    if values.dtype == np.float32:
        return values
    try:
        with np.errstate(over="ignore"):  # too large is infinite, which counts as not known
            return values.astype(np.float64).astype(np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"Column {name!r} must be of numbers, NaN where one is not known: {error}."
        ) from error


def _whole_numbers(name: str, values: np.ndarray) -> np.ndarray:
    """int32; 0 for what is missing or too large to be an index."""
    if values.dtype == np.int32:
        return values
    try:
        numbers = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"Column {name!r} must be of ids or indices: {error}.") from error
    numbers = np.where((numbers >= INT32.min) & (numbers <= INT32.max), numbers, 0.0)
    odd = numbers != np.floor(numbers)
    if odd.any():
        raise InputError(
            f"Column {name!r} must be of whole numbers or ids. Received: {numbers[odd][0]:g}."
        )
    return numbers.astype(np.int32)


def _side_by_side(name: str, rows: Any) -> tuple[np.ndarray, np.ndarray]:
    """The values of all rows, and which places they fill: bool [num_rows, longest].

    Rows of one array are as they are; others are filled from behind.
    """
    if isinstance(rows, np.ndarray) and rows.ndim == 2:
        return _array(name, rows.reshape(-1), 1), np.ones(rows.shape, bool)
    for row in rows:
        if isinstance(row, (str, bytes)) or not hasattr(row, "__len__"):
            raise InputError(f"Column {name!r} must be of sequences, one a row. Received: {row!r}.")
    lengths = np.array([len(row) for row in rows], int)
    longest = int(lengths.max(initial=0))
    inside = np.arange(longest)[None, :] >= longest - lengths[:, None]
    return _array(name, [value for row in rows for value in row], 1), inside


def _filled(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The values in their places, 0 in the others."""
    rows = np.zeros(inside.shape, values.dtype)
    rows[inside] = values
    return rows
