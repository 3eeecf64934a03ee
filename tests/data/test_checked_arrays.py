"""Valid values of a column of ranking rows, and the errors for invalid ones."""

import numpy as np
import pytest

from tfrs_distill.data.checked_arrays import (
    check_histories,
    check_items,
    feature_array,
    float32_array,
    logits_array,
    text_tuple,
    weights_array,
    whole_numbers,
)
from tfrs_distill.errors import InputError


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([1, 2], np.int64), np.int32),
        (np.array([1, 2], np.uint8), np.int32),
        (np.array([True, False]), np.int32),
        (np.array([1.5, np.nan]), np.float32),
        (np.array([1, 2], np.float16), np.float32),
        (np.ones([2, 3]), np.float32),
    ],
)
def test_numbers_become_int32_or_float32_with_equal_values(values, dtype):
    kept = feature_array("age", values, 2)
    assert kept.dtype == dtype
    np.testing.assert_array_equal(kept, values)


def test_ratings_of_a_history_are_float32_even_if_integers():
    assert feature_array("history_ratings", np.array([[5, 0]]), 1).dtype == np.float32


@pytest.mark.parametrize(
    "name", ["user_id", "query_id", "example_id", "sample_weight", "label/x", "teacher_logits/x"]
)
def test_a_feature_cannot_have_the_name_of_a_batch_column(name):
    with pytest.raises(InputError, match=f"cannot be called '{name}'.* Give it another name"):
        feature_array(name, np.zeros(2), 2)


@pytest.mark.parametrize("name", ["item_id", "history"])
def test_item_indices_must_be_whole_numbers(name):
    with pytest.raises(
        InputError, match=rf"`features\['{name}'\]` must hold whole numbers .*dtype float64"
    ):
        feature_array(name, np.array([1.0, np.nan]), 2)


@pytest.mark.parametrize("values", [np.zeros(3), np.zeros([3, 2]), np.float64(1)])
def test_a_feature_has_one_entry_per_row(values):
    with pytest.raises(InputError, match=r"`features\['age'\]` must have 2 rows"):
        feature_array("age", values, 2)


def test_strings_are_not_a_feature():
    with pytest.raises(
        InputError,
        match=r"features\['city'\]` must hold numbers\. .*as `texts`, and ids as indices",
    ):
        feature_array("city", np.array(["Ulm", "Rom"]), 2)


@pytest.mark.parametrize("infinite", [np.inf, -np.inf, 1e39])
def test_values_beyond_float32_are_named_with_their_row(infinite):
    words = r"must be finite, or NaN .* 2 values are infinite as float32, first in row 1\."
    with pytest.raises(InputError, match=r"`features\['age'\]` " + words):
        feature_array("age", np.array([[1.0, 2.0], [3.0, infinite], [infinite, 1.0]]), 3)
    with pytest.raises(InputError, match=r"`labels\['like'\]` " + words):
        float32_array("labels['like']", np.array([0.0, infinite, infinite]), 3)


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1])
def test_values_beyond_int32_are_refused(number):
    with pytest.raises(InputError, match=rf"`users` must fit into int32\. .*{number}"):
        whole_numbers("users", np.array([0, number]), 2)
    limits = np.array([2**31 - 1, -(2**31)])
    np.testing.assert_array_equal(whole_numbers("users", limits, 2), limits)


@pytest.mark.parametrize("shape", [[3], [2, 1], []])
def test_labels_and_users_are_one_number_per_row(shape):
    with pytest.raises(InputError, match=r"`users` must have the shape \[2\], one entry per row"):
        whole_numbers("users", np.zeros(shape, np.int32), 2)
    with pytest.raises(InputError, match=r"`labels\['x'\]` must have the shape \[2\]"):
        float32_array("labels['x']", np.zeros(shape), 2)


def test_logits_of_one_number_per_row_get_an_axis():
    np.testing.assert_array_equal(logits_array("like", [0.5, np.nan], 2), [[0.5], [np.nan]])
    wide = np.array([[1.0, 2.0], [np.nan, np.nan]])
    np.testing.assert_array_equal(logits_array("rating", wide, 2), wide)


@pytest.mark.parametrize("shape", [[3], [3, 2], [2, 0], [2, 1, 1]])
def test_logits_have_a_row_for_each_row(shape):
    with pytest.raises(
        InputError, match=r"`teacher_logits\['like'\]` must have the shape \[2, width\] or \[2\]"
    ):
        logits_array("like", np.zeros(shape), 2)


def test_logits_are_nan_in_complete_rows_only():
    logits = np.array([[1.0, 2.0], [np.nan] * 2, [1.0, np.nan], [np.nan, 1.0]])
    with pytest.raises(InputError, match=r"2 rows hold both NaN and numbers, first: row 2\."):
        logits_array("rating", logits, 4)


@pytest.mark.parametrize("wrong", [-0.5, np.nan])
def test_weights_are_not_negative_and_not_nan(wrong):
    with pytest.raises(InputError, match=rf"`weights` must be at least 0\. .*{wrong:g} in row 1"):
        weights_array(np.array([1.0, wrong]), 2)
    np.testing.assert_array_equal(weights_array([0, 2], 2), [0.0, 2.0])


def test_texts_are_strings_one_per_row():
    assert text_tuple("text", ["", "b"], 2) == ("", "b")
    with pytest.raises(
        InputError, match=r"`texts\['text'\]` must have one text per row, 2\. .*: 1"
    ):
        text_tuple("text", ["a"], 2)
    with pytest.raises(InputError, match=r"must hold strings.* '' where there is no text\. .*nan"):
        text_tuple("text", ["a", float("nan")], 2)


def test_history_and_its_ratings_have_one_shape():
    history, ratings = np.zeros([2, 3], np.int32), np.zeros([2, 3], np.float32)
    check_histories({"history": history, "history_ratings": ratings})
    check_histories({"history": history})
    check_histories({})
    with pytest.raises(InputError, match=r"\[num_rows, max_history\]\. Received: \[2\]"):
        check_histories({"history": history[:, 0]})
    with pytest.raises(InputError, match=r"Received: \[2, 2\] and \[2, 3\]"):
        check_histories({"history": history, "history_ratings": ratings[:, 1:]})
    with pytest.raises(InputError, match=r"Received: \[2, 3\] and no history"):
        check_histories({"history_ratings": ratings})
    with pytest.raises(InputError, match="must be 0, not NaN"):
        check_histories({"history": history, "history_ratings": ratings * np.nan})


@pytest.mark.parametrize("name", ["item_id", "history"])
@pytest.mark.parametrize("wrong", [-1, 4])
def test_item_indices_are_of_the_catalogue(name, wrong):
    items = np.array([[0, 3], [1, wrong]]) if name == "history" else np.array([0, 3, wrong])
    with pytest.raises(
        InputError, match=rf"features\['{name}'\]` must .*1 to 3, or 0 .* Received: {wrong}\."
    ):
        check_items({name: items}, 3)
    check_items({name: np.clip(items, 0, 3)}, 3)
