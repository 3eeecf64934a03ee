"""The names of a batch's columns, and the conversion of a caller's columns to arrays and strings.

A batch is a dict of tensors whose keys are these constants. Item ids inside a batch are *item
indices*: int32, 1 to `num_items`, 0 for padding; `Catalogue` maps them to the data's ids and
titles.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

from tfrs_distill.errors import InputError

EXAMPLE_ID = "example_id"  # int64 [batch_size]: row of the training windows
USER_ID = "user_id"  # int32 [batch_size]
USER_ATTRIBUTES = "user_attributes"  # int32 [batch_size, num_attributes]: 0 = missing
HISTORY = "history"  # int32 [batch_size, max_history]: item indices, oldest first, 0 = padding
LABELS = "labels"  # int32 [batch_size, max_history]: the item that follows each position, 0 = none;
# or float32 [batch_size, max_history, num_items]: a distribution over items, all 0 = none
HISTORY_RATINGS = "history_ratings"  # float32 [batch_size, max_history]: 0 where padding or none
SAMPLE_WEIGHT = "sample_weight"  # float32 [batch_size] or [batch_size, max_history]
INPUTS = "inputs"  # the input of a plain Keras classifier

NEGATIVES = "negatives"  # [batch_size, num_negatives]: candidates in addition to the labels
CANDIDATE_SAMPLING_PROBABILITY = (
    "candidate_sampling_probability"  # float32, shaped as LABELS: the label's sampling probability
)
NEGATIVES_SAMPLING_PROBABILITY = (
    "negatives_sampling_probability"  # float32 [batch_size, num_negatives]
)
SCORE_MASK = "score_mask"  # bool [batch_size, (max_history,) num_candidates], true = a candidate

TEACHER_FOLD = "teacher_fold"  # int32 [batch_size]: which fold's teacher labels the example
TEACHER_KEY = "teacher_key"  # int64 [batch_size]: which teachers the query embeddings are from
TEACHER_QUERY_EMBEDDINGS = (
    "teacher_query_embeddings"  # float [batch_size, max_history, teacher_dim]
)
TEACHER_QUERY_SCALES = (
    "teacher_query_scales"  # float32 [batch_size, max_history]: the scale of 8-bit embeddings
)
TEACHER_TOP_K_IDS = "teacher_top_k_ids"  # uint16 or int32 [batch_size, max_history, k]
TEACHER_TOP_K_LOGITS = "teacher_top_k_logits"  # float [batch_size, max_history, k]
TEACHER_TAIL = "teacher_tail"  # float [batch_size, max_history, num_temperatures]

ITEM_ID = "item_id"  # int32 [num_rows]: the item of a ranking row
QUERY_ID = "query_id"  # int32 [num_rows]: rows of one candidate list share it

PADDING = 0  # the item index for "no item"


def label(task: str) -> str:
    """Return the column of a ranking task's labels: float32 [num_rows], NaN = none.

    Example:
    >>> label("like")
    'label/like'
    """
    return f"label/{task}"


def teacher_logits(task: str) -> str:
    """Return the column of a teacher's logits for a task: float32 [num_rows, width], NaN = none.

    Example:
    >>> teacher_logits("like")
    'teacher_logits/like'
    """
    return f"teacher_logits/{task}"


def plain_array(what: str, values: Any) -> np.ndarray:
    """Return a column as a NumPy array, in the same order.

    The index of a pandas Series is ignored: its first entry is the array's first. Nullable types
    become plain types; `None` and `pandas.NA` become NaN.

    Args:
        what: the column's name, for messages.
        values: a list, tuple or other sequence; an array or tensor; a pandas Series or DataFrame.

    Raises:
        InputError: it is a single value, a text, a dict or a set; its rows are of unequal length;
            or entries of it are masked.

    Example:
    >>> plain_array("users", (3, 1, 2)).tolist()
    [3, 1, 2]
    """
    values = _listed(what, values)
    if np.ma.is_masked(values):
        raise InputError(
            f"`{what}` has {int(np.ma.getmaskarray(values).sum())} masked entries, which have no "
            "value. Fill them (`.filled(...)`), or remove their rows."
        )
    try:
        array = np.asarray(values)
        if array.dtype == object:
            entries = [np.nan if _is_none(entry) else entry for entry in array.ravel().tolist()]
            array = np.asarray(entries) if array.ndim < 2 else np.reshape(entries, array.shape)
        return array
    except ValueError as error:
        raise InputError(
            f"`{what}` must have rows of one length. Received rows of unequal lengths."
        ) from error


def plain_texts(what: str, values: Any) -> tuple[str, ...]:
    """Return a column of ids or texts as strings; bytes are UTF-8, numbers become digits.

    Args:
        what: the column's name, for messages.
        values: as for `plain_array`.

    Raises:
        InputError: as for `plain_array`; or an entry is missing, or neither a text nor an integer.

    Example:
    >>> plain_texts("item_ids", [b"50", 7, "tt1"])
    ('50', '7', 'tt1')
    """
    values = _listed(what, values)
    if hasattr(values, "__array__"):
        values = np.asarray(values, dtype=object)
        if values.ndim != 1:
            raise InputError(
                f"`{what}` must have one entry per row. Received the shape {list(values.shape)}."
            )
        values = values.tolist()
    if set(map(type, values)) == {str}:  # as nearly always, and there may be millions
        return tuple(values)
    return tuple(_text(what, row, value) for row, value in enumerate(values))


def plain_list(what: str, values: Any) -> list[Any]:
    """Return a column's entries in the same order, None for missing ones.

    Args:
        what: the column's name, for messages.
        values: as for `plain_array`; None, NaN and `pandas.NA` are missing.

    Raises:
        InputError: it is a single value, a text, a dict or a set.

    Example:
    >>> plain_list("age", [24, float("nan"), None, "old"])
    [24, None, None, 'old']
    """
    values = _listed(what, values)
    if hasattr(values, "__array__"):
        values = np.asarray(values, dtype=object)
        if not values.ndim:
            raise InputError(f"`{what}` must have one entry per row. Received: {values!r}.")
        values = values.tolist()
    return [None if _is_none(entry) or _is_nan(entry) else entry for entry in values]


def row_numbers(rows: Any, num_rows: int) -> np.ndarray:
    """Return the selected rows as integers, from integers or from a mask.

    Raises:
        InputError: a mask of another length, or values that are neither a mask nor integers.

    Example:
    >>> row_numbers([False, True, True], 3).tolist()
    [1, 2]
    """
    rows = plain_array("rows", rows)
    if rows.dtype == bool:
        if rows.shape != (num_rows,):
            raise InputError(
                f"A mask of {num_rows} rows was expected. Received the shape {list(rows.shape)}."
            )
        return np.flatnonzero(rows)
    if rows.size and rows.dtype.kind not in "iu":
        raise InputError(
            f"Rows must be selected by whole numbers or by a mask. Received the dtype {rows.dtype}."
        )
    numbers: np.ndarray = rows.astype(np.int64, copy=False)
    return numbers


def _listed(what: str, values: Any) -> Any:
    """The values as an array or a list, which have a length and an order."""
    if hasattr(values, "__array__"):
        return values
    if isinstance(values, (str, bytes, Mapping, set, frozenset)) or not hasattr(values, "__iter__"):
        raise InputError(
            f"`{what}` must be a column: a list, an array or a pandas Series. Received: "
            f"{type(values).__name__}."
        )
    return list(values)


def _is_none(entry: Any) -> bool:
    """Whether it is `None` or `pandas.NA`; a comparison with `pandas.NA` is never true."""
    return entry is None or type(entry).__name__ == "NAType"


def _is_nan(entry: Any) -> bool:
    return isinstance(entry, Real) and entry != entry


def _text(what: str, row: int, value: Any) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Integral) and not isinstance(value, (bool, np.bool_)):
        return str(int(value))
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise InputError(
                f"`{what}` must hold texts. Received bytes that are not UTF-8 in row {row}: "
                f"{value!r}."
            ) from error
    raise InputError(
        f"`{what}` must hold strings, bytes or whole numbers, '' where there is no text. Received: "
        f"{value!r} in row {row}."
    )
