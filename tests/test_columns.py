"""Columns in every type that a caller may pass, compared with their source."""

import datetime

import numpy as np
import pandas as pd
import pytest

from tfrs_distill.columns import plain_array, plain_texts, row_numbers
from tfrs_distill.errors import InputError

NUMBERS = [3, 1, 2]
LABELS = [2, 0, 1]  # an index by which a Series would be read, if read by label


@pytest.mark.parametrize(
    "values",
    [
        NUMBERS,
        tuple(NUMBERS),
        dict.fromkeys(NUMBERS).keys(),
        (number for number in NUMBERS),
        np.array(NUMBERS, np.uint8),
        pd.Series(NUMBERS, index=LABELS),
        pd.Series(NUMBERS, index=["x", "y", "z"], dtype="Int64"),
        pd.Series(NUMBERS, index=LABELS, dtype="category"),
        pd.Series(NUMBERS, index=LABELS, dtype="int64[pyarrow]"),
        pd.Series(NUMBERS, index=LABELS, dtype=object),
        pd.Index(NUMBERS),
    ],
    ids=lambda values: type(values).__name__,
)
def test_numbers_keep_their_order_in_any_type(values):
    array = plain_array("users", values)
    assert array.dtype.kind in "iu"
    assert array.tolist() == NUMBERS


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "float64", "boolean", object])
def test_a_missing_number_is_nan(dtype):
    array = plain_array("ages", pd.Series([1, None, 0], index=LABELS, dtype=dtype))
    np.testing.assert_array_equal(array, [1.0, np.nan, 0.0])
    np.testing.assert_array_equal(plain_array("ages", [1, None, 0]), [1.0, np.nan, 0.0])


def test_rows_of_lists_and_frames_have_two_axes():
    rows = [[1, 2], [3, 4]]
    for values in (
        rows,
        pd.Series(rows, index=[1, 0]),
        pd.DataFrame(rows, index=[1, 0], dtype="Int64"),
    ):
        assert plain_array("history", values).tolist() == rows


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("abc", r"`x` must be a column: .* Received: str\."),
        (b"abc", r"`x` must be a column: .* Received: bytes\."),
        ({0: 1}, r"`x` must be a column: .* Received: dict\."),
        ({1, 2}, r"`x` must be a column: .* Received: set\."),
        (None, r"`x` must be a column: .* Received: NoneType\."),
        (3, r"`x` must be a column: .* Received: int\."),
    ],
)
def test_an_invalid_column_is_refused(values, words):
    for plain in (plain_array, plain_texts):
        with pytest.raises(InputError, match=words):
            plain("x", values)


def test_rows_of_unequal_length_and_masked_entries_are_refused():
    for values in ([[1, 2], [3]], pd.Series([[1, 2], [3]])):
        with pytest.raises(InputError, match=r"`x` must have rows of one length"):
            plain_array("x", values)
    masked = np.ma.array([1, 2], mask=[False, True])
    with pytest.raises(InputError, match=r"`x` has 1 masked entries, which have no value"):
        plain_array("x", masked)


@pytest.mark.parametrize(
    "values",
    [
        ["50", "7", "tt"],
        [b"50", 7, np.str_("tt")],
        np.array(["50", "7", "tt"]),
        np.array([b"50", b"7", b"tt"]),
        np.array([b"50", np.int64(7), "tt"], object),
        pd.Series(["50", "7", "tt"], index=LABELS),
        pd.Series(["50", "7", "tt"], index=LABELS, dtype="string"),
        pd.Series(["50", "7", "tt"], index=LABELS, dtype="string[pyarrow]"),
        pd.Series(["50", "7", "tt"], index=LABELS, dtype="category"),
        (text for text in ["50", "7", "tt"]),
    ],
    ids=lambda values: f"{type(values).__name__}-{getattr(values, 'dtype', '')}",
)
def test_texts_become_strings_from_any_type(values):
    texts = plain_texts("item_ids", values)
    assert texts == ("50", "7", "tt")
    assert {type(text) for text in texts} == {str}


def test_texts_of_whole_numbers_and_of_tensors():
    import tensorflow as tf

    assert plain_texts("ids", pd.Series([2**40, -1], index=[1, 0])) == ("1099511627776", "-1")
    assert plain_texts("ids", tf.constant(["é", "b"])) == ("é", "b")
    assert plain_texts("ids", tf.constant([5, 6], tf.int64)) == ("5", "6")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1.0, "a"], r"`ids` must hold strings, bytes or whole numbers.* Received: 1\.0 in row 0"),
        (["a", None], r"`ids` must hold .* Received: None in row 1"),
        (["a", True], r"`ids` must hold .* Received: True in row 1"),
        (pd.Series(["a", None], dtype="string"), r"`ids` must hold .* Received: <NA> in row 1"),
        (pd.Series(["a", None]), r"`ids` must hold .* Received: (nan|None) in row 1"),
        ([datetime.date(2020, 1, 1)], r"`ids` must hold .* Received: datetime\.date"),
        ([b"a", b"\xe9"], r"Received bytes that are not UTF-8 in row 1: b'\\xe9'"),
        (pd.DataFrame({"a": ["x"]}), r"`ids` must have one entry per row\. .*\[1, 1\]"),
        (np.array("x"), r"`ids` must have one entry per row\. Received the shape \[\]"),
    ],
)
def test_an_invalid_text_is_named_with_its_row(values, words):
    with pytest.raises(InputError, match=words):
        plain_texts("ids", values)


def test_rows_are_numbers_or_a_mask_by_position():
    mask = pd.Series([True, False, True], index=LABELS)
    for rows in (mask, mask.tolist(), mask.astype("boolean"), np.array([0, 2], np.uint8)):
        assert row_numbers(rows, 3).tolist() == [0, 2]
    assert row_numbers([], 3).tolist() == []
    with pytest.raises(InputError, match=r"A mask of 3 rows was expected\. .*\[2\]"):
        row_numbers([True, False], 3)
    with pytest.raises(InputError, match=r"whole numbers or by a mask\. .*float64"):
        row_numbers([0.0, 1.0], 3)
