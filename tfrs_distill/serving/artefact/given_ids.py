"""Conversion of ids to indices, with one rule for all readers of an artefact.

Text is an id and is looked up: `str`, `bytes` in UTF-8, and the strings of NumPy, TensorFlow and
pandas. A number is an index: an integer; 1 to the vocabulary's size are known. One is never
interpreted as the other. None, NaN and pandas' NA are missing values.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfrs_distill.errors import InputError

INT32 = np.iinfo(np.int32)


def plain_values(given: Any, name: str) -> np.ndarray:
    """Return an array of the given values in their shape, of numbers or of objects.

    In an object array texts are `str`, and missing values are None or NaN.

    Args:
        given: an array, a tensor, a Series or a sequence, of text, numbers or both.
        name: name of the values in messages.

    Raises:
        InputError: rows have different lengths, or bytes are not UTF-8.

    Example:
    >>> plain_values([b"2", "Heat", 3, None], "`ids`").tolist()
    ['2', 'Heat', 3, None]
    """
    try:
        with contextlib.suppress(UnicodeDecodeError):  # NumPy decodes mixed bytes as ASCII
            array = np.asarray(given)
            if array.dtype.kind in "iuf":
                return array
        objects = np.asarray(given, object)  # `array` has numbers mixed with text as text
        return np.asarray(np.frompyfunc(_plain, 1, 1)(objects), object)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} must be UTF-8 if given as bytes. Received: {error.object!r}. "
            "Decode them first."
        ) from error
    except ValueError as error:
        raise InputError(
            f"{name} must have the same number of values in every row: {error}."
        ) from error


def indices_of(values: np.ndarray, index_of: Mapping[str, int] | None, name: str) -> np.ndarray:
    """Return the indices of ids, int32 [num_values]; 0 for a missing or unknown id.

    Args:
        values: [num_values], as `plain_values` returns them.
        index_of: the indices of known ids; None without a vocabulary.
        name: name of the values in messages.

    Raises:
        InputError: there is text but no vocabulary, or a number is not an index.

    Example:
    >>> indices_of(plain_values([b"2", "no", 7, None], "ids"), {"2": 1}, "ids").tolist()
    [1, 0, 7, 0]
    """
    if values.dtype != object:
        return whole_numbers(values, name)
    are_text = np.array([isinstance(value, str) for value in values], bool)
    texts = values[are_text]
    if len(texts) and index_of is None:
        raise InputError(
            f"{name} takes indices, because the student was exported without a vocabulary for "
            f"it. Received: {texts[0]!r}."
        )
    indices = np.zeros(len(values), np.int32)
    indices[are_text] = [(index_of or {}).get(text, 0) for text in texts]
    indices[~are_text] = whole_numbers(values[~are_text], name)
    return indices


def whole_numbers(values: np.ndarray, name: str) -> np.ndarray:
    """Return indices, int32, of the same shape; 0 for missing values.

    Raises:
        InputError: a value is not a number, not an integer, or does not fit into int32.
    """
    if values.dtype == np.int32:
        return values
    try:
        numbers = values.astype(np.float64)  # exact for all int32 values
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{name} must be ids or indices: {error}.") from error
    numbers = np.where(np.isnan(numbers), 0.0, numbers)
    odd = (numbers < INT32.min) | (numbers > INT32.max) | (numbers != np.floor(numbers))
    if values.dtype == object:  # `astype` converts these to numbers
        odd |= np.frompyfunc(lambda value: isinstance(value, (str, bool, np.bool_)), 1, 1)(
            values
        ).astype(bool)
    if odd.any():
        raise InputError(
            f"{name} must be whole numbers or ids: text is an id, a number is an index and at "
            f"most {INT32.max}. Received: {values[odd].tolist()[0]!r}."
        )
    return numbers.astype(np.int32)


def _plain(value: Any) -> Any:
    """Return text as `str`, a missing value as None, anything else unchanged."""
    if hasattr(value, "numpy"):  # a TensorFlow tensor in a list
        value = value.numpy()
    if isinstance(value, bytes):
        return value.decode()
    # pandas' NA cannot be compared or converted to a number.
    return None if type(value).__name__ == "NAType" else value
