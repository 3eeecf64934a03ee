"""Validation of the arrays of ranking rows, converted to int32 or float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfrs_distill import columns
from tfrs_distill.columns import plain_array, plain_texts
from tfrs_distill.errors import InputError

INDEX_COLUMNS = (columns.ITEM_ID, columns.HISTORY)
TAKEN = (columns.USER_ID, columns.QUERY_ID, columns.EXAMPLE_ID, columns.SAMPLE_WEIGHT)
TAKEN_PREFIXES = (columns.label(""), columns.teacher_logits(""))


def feature_array(name: str, values: Any, num_rows: int) -> np.ndarray:
    """Return a feature `[num_rows, ...]`: int32 for integers, else float32; ratings float32.

    Raises:
        InputError: the name is reserved for a batch column; or the array has another shape, is not
            numeric, or is infinite; or item indices are not integers.
    """
    if name in TAKEN or name.startswith(TAKEN_PREFIXES):
        raise InputError(
            f"A feature cannot be called {name!r}: every batch has that column from `users`, "
            "`queries`, `weights`, `labels` or `teacher_logits`. Give it another name."
        )
    what = f"features[{name!r}]"
    values = plain_array(what, values)
    if values.shape[:1] != (num_rows,):
        raise InputError(
            f"`{what}` must have {num_rows} rows, as `users` has. Received the shape "
            f"{list(values.shape)}."
        )
    whole = values.dtype.kind in "biu" and name != columns.HISTORY_RATINGS
    if whole or name in INDEX_COLUMNS:
        return _as_int32(what, values)
    return _as_float32(what, values)


def logits_array(task: str, values: Any, num_rows: int) -> np.ndarray:
    """Return a teacher's logits, float32 `[num_rows, width]`.

    Raises:
        InputError: another shape, not numeric, infinite, or a row that is partly NaN.
    """
    what = f"teacher_logits[{task!r}]"
    values = plain_array(what, values)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or len(values) != num_rows or values.shape[1] < 1:
        raise InputError(
            f"`{what}` must have the shape [{num_rows}, width] or [{num_rows}]. Received: "
            f"{list(values.shape)}."
        )
    logits = _as_float32(what, values)
    missing = np.isnan(logits)
    partly = missing.any(axis=1) & ~missing.all(axis=1)
    if partly.any():
        raise InputError(
            f"`{what}` must have a row of NaN where the teacher has no output, and no other NaN. "
            f"{int(partly.sum())} rows hold both NaN and numbers, first: row "
            f"{int(np.argmax(partly))}."
        )
    return logits


def weights_array(values: Any, num_rows: int) -> np.ndarray:
    """Return the weight of each row, float32 `[num_rows]`.

    Raises:
        InputError: another shape, not numeric, infinite, NaN or below 0.
    """
    weights = float32_array("weights", values, num_rows)
    wrong = ~(weights >= 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(f"`weights` must be at least 0. Received: {weights[row]:g} in row {row}.")
    return weights


def text_tuple(name: str, values: Any, num_rows: int) -> tuple[str, ...]:
    """Return one text per row.

    Raises:
        InputError: another number of texts, or an entry that is missing or not a text.
    """
    texts = plain_texts(f"texts[{name!r}]", values)
    if len(texts) != num_rows:
        raise InputError(
            f"`texts[{name!r}]` must have one text per row, {num_rows}. Received: {len(texts)}."
        )
    return texts


def float32_array(what: str, values: Any, num_rows: int | None = None) -> np.ndarray:
    """Return numbers with NaN for missing values, float32 `[num_rows]`, or of any shape.

    Raises:
        InputError: another shape, not numeric, or infinite.
    """
    values = plain_array(what, values)
    _check_shape(what, values, num_rows)
    return _as_float32(what, values)


def whole_numbers(what: str, values: Any, num_rows: int | None = None) -> np.ndarray:
    """Return whole numbers, int32 `[num_rows]`, or of any shape.

    Raises:
        InputError: another shape, not whole numbers, or values that do not fit into int32.
    """
    # Int32 arrays are returned at once: there may be one per query.
    if not (isinstance(values, np.ndarray) and values.dtype == np.int32):
        values = _as_int32(what, plain_array(what, values))
    _check_shape(what, values, num_rows)
    return values


def item_indices(what: str, values: Any, num_items: int, *, least: int = 1) -> np.ndarray:
    """Return item indices of a catalogue, int32 of any shape.

    Raises:
        InputError: not whole numbers; or one below `least` or above `num_items`.
    """
    items = whole_numbers(what, values)
    if items.size and not least <= items.min() <= items.max() <= num_items:
        raise InputError(
            f"`{what}` must hold item indices, {least} to {num_items}. Received: {items.min()} to "
            f"{items.max()}."
        )
    return items


def check_histories(features: Mapping[str, np.ndarray]) -> None:
    """Check that histories are `[num_rows, max_history]` and their ratings have the same shape.

    Raises:
        InputError: another shape, ratings without a history, or a rating that is NaN.
    """
    history = features.get(columns.HISTORY)
    ratings = features.get(columns.HISTORY_RATINGS)
    if history is not None and history.ndim != 2:
        raise InputError(
            "`features['history']` must have the shape [num_rows, max_history]. Received: "
            f"{list(history.shape)}."
        )
    if ratings is None:
        return
    if history is None or ratings.shape != history.shape:
        raise InputError(
            "`features['history_ratings']` must have the shape of `features['history']`. Received: "
            f"{list(ratings.shape)} and {'no history' if history is None else list(history.shape)}."
        )
    if np.isnan(ratings).any():
        raise InputError("`features['history_ratings']` must be 0, not NaN, for padding.")


def check_items(features: Mapping[str, np.ndarray], num_items: int) -> None:
    """Check that item indices are those of a catalogue.

    Raises:
        InputError: one is below 0 or above `num_items`.
    """
    for name in INDEX_COLUMNS:
        items = features.get(name, np.zeros(0, np.int32))
        wrong = items[(items < 0) | (items > num_items)]
        if len(wrong):
            raise InputError(
                f"`features[{name!r}]` must hold item indices of the catalogue, 1 to {num_items}, "
                f"or 0 for none of them. Received: {wrong[0]}."
            )


def _check_shape(what: str, values: np.ndarray, num_rows: int | None) -> None:
    if num_rows is not None and values.shape != (num_rows,):
        raise InputError(
            f"`{what}` must have the shape [{num_rows}], one entry per row. Received: "
            f"{list(values.shape)}."
        )


def _as_int32(what: str, values: np.ndarray) -> np.ndarray:
    if not values.size:
        return values.astype(np.int32)
    if values.dtype.kind not in "biu":
        raise InputError(
            f"`{what}` must hold whole numbers (an integer dtype), 0 for missing values. "
            f"Received the dtype {values.dtype}. Give ids as indices of a vocabulary."
        )
    limits = np.iinfo(np.int32)
    if values.size and not limits.min <= values.min() <= values.max() <= limits.max:
        raise InputError(
            f"`{what}` must fit into int32. Received: {int(values.min())} to {int(values.max())}."
        )
    return values.astype(np.int32, copy=False)


def _as_float32(what: str, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "biuf":
        raise InputError(
            f"`{what}` must hold numbers. Received the dtype {values.dtype}. Give texts as "
            "`texts`, and ids as indices of a vocabulary."
        )
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32, copy=False)
    infinite = np.isinf(numbers)
    if infinite.any():
        raise InputError(
            f"`{what}` must be finite, or NaN for missing values. {int(infinite.sum())} values "
            f"are infinite as float32, first in row {int(np.nonzero(infinite)[0][0])}."
        )
    return numbers
