"""Ids and texts as people give them: one rule for every reader of an artefact.

Text is an id that people know, and is looked up: `str`, `bytes` in UTF-8, and the strings of NumPy,
TensorFlow and pandas. A number is an index: a whole number, of which 1 to the vocabulary's size are
known. Neither is ever read as the other. None, NaN and pandas' NA are a value that is missing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfrs_distill.errors import InputError

INT32 = np.iinfo(np.int32)


def plain_values(given: Any, name: str) -> np.ndarray:
    """Return an array of what is given, of its shape: of numbers, or of objects.

    Among objects text is `str`, and what is missing is None or NaN.

    Args:
        given: an array, a tensor, a Series or a sequence, of text, numbers or both.
        name: what the caller calls it, for messages.

    Raises:
        InputError: it has rows of unequal lengths, or bytes that are no UTF-8.

    Example:
    >>> plain_values([b"2", "Heat", 3, None], "`ids`").tolist()
    ['2', 'Heat', 3, None]
    """
    try:
        with contextlib.suppress(UnicodeDecodeError):  # NumPy reads bytes beside text as ASCII
            array = np.asarray(given)
            if array.dtype.kind in "iuf":
                return array
        objects = np.asarray(given, object)  # not of `array`, where numbers beside text are text
        return np.asarray(np.frompyfunc(_plain, 1, 1)(objects), object)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} must be of text in UTF-8 where it is of bytes. Received: {error.object!r}. "
            "Decode them first."
        ) from error
    except ValueError as error:
        raise InputError(f"{name} must have as many values in every row: {error}.") from error


def indices_of(values: np.ndarray, index_of: Mapping[str, int] | None, name: str) -> np.ndarray:
    """Return the indices of ids, int32 [num_values]; 0 for an id that is missing or not known.

    Args:
        values: [num_values], as `plain_values` gives them.
        index_of: the indices of the ids that people know; None where there is no vocabulary.
        name: what the caller calls the values, for messages.

    Raises:
        InputError: there is text but no vocabulary, or a number is no index.

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
            f"{name} takes indices, as the student was exported without a vocabulary for it. "
            f"Received: {texts[0]!r}."
        )
    indices = np.zeros(len(values), np.int32)
    indices[are_text] = [(index_of or {}).get(text, 0) for text in texts]
    indices[~are_text] = whole_numbers(values[~are_text], name)
    return indices


def whole_numbers(values: np.ndarray, name: str) -> np.ndarray:
    """Return indices, int32, of the same shape; 0 where a value is missing.

    Raises:
        InputError: one is no number, is not whole, or does not fit into int32.
    """
    if values.dtype == np.int32:
        return values
    try:
        numbers = values.astype(np.float64)  # exact for all that int32 holds
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{name} must be of ids or indices: {error}.") from error
    numbers = np.where(np.isnan(numbers), 0.0, numbers)
    odd = (numbers < INT32.min) | (numbers > INT32.max) | (numbers != np.floor(numbers))
    if values.dtype == object:  # which `astype` reads as numbers
        odd |= np.frompyfunc(lambda value: isinstance(value, (str, bool, np.bool_)), 1, 1)(
            values
        ).astype(bool)
    if odd.any():
        raise InputError(
            f"{name} must be of whole numbers or ids: text is an id, a number is an index and at "
            f"most {INT32.max}. Received: {values[odd].tolist()[0]!r}."
        )
    return numbers.astype(np.int32)


def _plain(value: Any) -> Any:
    """Return text as `str`, what is missing as None, anything else as it is."""
    if hasattr(value, "numpy"):  # a tensor of TensorFlow in a list
        value = value.numpy()
    if isinstance(value, bytes):
        return value.decode()
    # pandas' NA refuses to be compared or to become a number.
    return None if type(value).__name__ == "NAType" else value
