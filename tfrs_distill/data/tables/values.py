"""The values of a table's columns: ids as texts, timestamps and ratings as numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfrs_distill.data.times import A_DATE, DATE, date_nanoseconds
from tfrs_distill.errors import InputError

WHOLE, FRACTIONS, DATES = "q", "d", "dates"  # kinds of timestamps: array type of numbers, or dates
Place = Callable[[int], str]


def ids(column: str, values: Any, place: Place) -> Any:
    """Return ids as pyarrow strings; missing ones stay missing.

    Integers become digits, also if stored as floats, as pandas does for a column with missing
    values.

    Raises:
        InputError: the column has another type, or a fraction.
    """
    import pyarrow as arrow
    from pyarrow import compute, types

    kind = values.type
    if types.is_dictionary(kind):
        return ids(column, values.cast(kind.value_type), place)
    if types.is_floating(kind):
        missing = compute.is_nan(values).fill_null(True)
        known = compute.if_else(missing, 0.0, values)
        fractions = np.flatnonzero(np.mod(known.to_numpy(zero_copy_only=False), 1.0))
        if len(fractions):
            row = int(fractions[0])
            raise InputError(
                f"{place(row)}: column {column!r} holds {values[row].as_py()}, which is not an id: "
                "ids are texts or whole numbers."
            )
        whole = known.cast(arrow.int64()).cast(arrow.string())
        return compute.if_else(missing, None, whole)
    if types.is_null(kind):
        return values.cast(arrow.string())
    if types.is_integer(kind) or _is_text(kind):
        texts = values.cast(arrow.string())
        return compute.if_else(compute.equal(compute.utf8_length(texts), 0), None, texts)
    raise InputError(f"{place(0)}: column {column!r} holds {kind}, but ids are texts or numbers.")


def texts(column: str, values: Any, place: Place) -> list[list[str]]:
    """Return the texts of an item's text column: zero, one or several per item.

    Raises:
        InputError: the column holds other values than texts, numbers or lists of them.
    """
    from pyarrow import types

    kind = values.type
    nested = types.is_list(kind) or types.is_large_list(kind)
    inner = kind.value_type if nested else kind
    if types.is_struct(inner) or types.is_map(inner) or types.is_list(inner):
        raise InputError(f"{place(0)}: column {column!r} holds {kind}, but texts were expected.")
    rows = [value or [] if nested else [value] for value in values.to_pylist()]
    return [[str(text).strip() for text in row if text not in (None, "")] for row in rows]


def numbers_of(cells: Sequence[list[str]]) -> list[float] | None:
    """Convert the result of `texts` to numbers, NaN for an empty cell; None if not all are numeric.

    Example:
    >>> numbers_of([["2"], [], ["1e3"]]), numbers_of([["2"], ["two"]]), numbers_of([[]])
    ([2.0, nan, 1000.0], None, None)
    """
    if max(map(len, cells)) > 1:
        return None
    try:
        found = [_as_number(texts[0]) if texts else np.nan for texts in cells]
    except ValueError:
        return None
    return None if np.isinf(found).any() or np.isnan(found).all() else found


def _as_number(text: str) -> float:
    """Return `float(text)`; a ValueError also for 1_2 and foreign digits, which `float` takes."""
    if "_" in text or not text.isascii():
        raise ValueError(text)
    return float(text)


def ratings(column: str, values: Any, place: Place) -> np.ndarray:
    """Return ratings as float64, NaN if missing.

    Raises:
        InputError: a rating is not a finite number.
    """
    return _numbers(column, values, "a number", place)


def times(column: str, values: Any, place: Place) -> tuple[str, np.ndarray, np.ndarray]:
    """Return kind (`WHOLE`, `FRACTIONS`, `DATES`), values and validity mask of timestamps.

    Dates become nanoseconds since 1970, int64; integers int64; other numbers float64.

    Raises:
        InputError: a value is neither a number nor a date, or of another kind than the first.
    """
    import pyarrow as arrow
    from pyarrow import types

    if types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    kind, known = values.type, values.is_valid().to_numpy(zero_copy_only=False)
    if types.is_timestamp(kind) or types.is_date(kind):
        moments = values.cast(arrow.timestamp("ns", getattr(kind, "tz", None)))
        return DATES, _whole(moments.cast(arrow.int64())), known
    if types.is_null(kind):
        return WHOLE, np.zeros(len(values), np.int64), known
    if types.is_integer(kind):
        return WHOLE, _whole(values.cast(arrow.int64())), known
    if _is_text(kind):
        values = _trimmed(values)
        first = values.drop_null()
        if len(first) and DATE.fullmatch(first[0].as_py()):
            return DATES, _dates(column, values, place), known
        try:
            return WHOLE, _whole(values.cast(arrow.int64())), known
        except arrow.ArrowInvalid:
            pass
    numbers = _numbers(column, values, f"a number or a date such as {A_DATE}", place)
    known &= ~np.isnan(numbers)
    return FRACTIONS, np.where(known, numbers, 0.0), known


def _dates(column: str, values: Any, place: Place) -> np.ndarray:
    import pyarrow as arrow

    for zone in (None, "UTC"):
        try:
            return _whole(values.cast(arrow.timestamp("ns", zone)).cast(arrow.int64()))
        except arrow.ArrowInvalid:
            pass  # another format, or mixed formats
    found = np.zeros(len(values), np.int64)
    for row, text in enumerate(values.to_pylist()):
        try:
            found[row] = 0 if text is None else date_nanoseconds(text)
        except ValueError as error:
            raise InputError(
                f"{place(row)}: column {column!r} holds {text!r}, not a date as in earlier rows."
            ) from error
    return found


def _numbers(column: str, values: Any, expected: str, place: Place) -> np.ndarray:
    """Return float64, NaN if missing."""
    import pyarrow as arrow
    from pyarrow import types

    kind = values.type
    if types.is_dictionary(kind):
        return _numbers(column, values.cast(kind.value_type), expected, place)
    if not (types.is_null(kind) or types.is_integer(kind) or types.is_floating(kind)):
        if not (_is_text(kind) or types.is_decimal(kind)):
            raise InputError(f"{place(0)}: column {column!r} holds {kind}, not {expected}.")
        values = _trimmed(values) if _is_text(kind) else values
    try:
        numbers: np.ndarray = values.cast(arrow.float64()).to_numpy(zero_copy_only=False)
    except arrow.ArrowInvalid:
        for row, text in enumerate(values.to_pylist()):
            try:
                if text is not None:
                    _as_number(text)
            except ValueError as error:
                raise InputError(
                    f"{place(row)}: column {column!r} holds {text!r}, not {expected}."
                ) from error
        raise
    infinite = np.flatnonzero(np.isinf(numbers))
    if len(infinite):
        row = int(infinite[0])
        raise InputError(
            f"{place(row)}: column {column!r} holds {numbers[row]}: it must be finite."
        )
    return numbers


def _whole(values: Any) -> np.ndarray:
    numbers: np.ndarray = values.fill_null(0).to_numpy(zero_copy_only=False)
    return numbers


def _trimmed(values: Any) -> Any:
    """Return texts without outer blanks, as in a file that has one after every comma."""
    import pyarrow as arrow
    from pyarrow import compute

    return compute.utf8_trim_whitespace(values.cast(arrow.string()))


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
    )
