"""User attributes, from a data set or a table, and with windows and queries."""

import numpy as np
import pytest
from tiny_data import tiny_catalogue, windows_from

from tfrs_distill import columns
from tfrs_distill.data import (
    AttributeVocabulary,
    Interactions,
    Queries,
    Windows,
    read_user_columns,
    split_by_time,
)
from tfrs_distill.data.readers.user_attributes import UserAttributes
from tfrs_distill.errors import InputError

USERS = ("ann", "bob", "eve")


def test_columns_of_a_table_are_numbers_or_texts_in_the_order_of_the_users():
    frame = {"user": ["bob", "ann", "bob"], "age": [30, 41, 99], "plan": [None, "gold", "free"]}
    found = read_user_columns(frame, USERS, ["plan", "age"])
    assert list(found) == ["plan", "age"] and found["plan"] == ("gold", "", "")
    np.testing.assert_array_equal(found["age"], [41.0, 30.0, np.nan])
    assert AttributeVocabulary.from_columns(found).attributes == {
        "plan": ("gold",),
        "age": (30.0, 41.0),
    }


def test_codes_with_underscores_or_foreign_digits_are_texts():
    frame = {"user": ["ann", "bob"], "code": ["1_2", "1_20"], "other": ["\u0661", "\u0662"]}
    found = read_user_columns(frame, USERS[:2], ["code", "other"])
    assert found == {"code": ("1_2", "1_20"), "other": ("\u0661", "\u0662")}


def test_an_invalid_table_is_named():
    frame = {"user": ["bob"], "age": [30]}
    with pytest.raises(InputError, match="no column 'plan'"):
        read_user_columns(frame, USERS, ["plan"])
    with pytest.raises(InputError, match="none of the 1 users, such as 'zoe'"):
        read_user_columns(frame, ("zoe",), ["age"])
    many = [f"user {number}" for number in range(1001)]
    with pytest.raises(InputError, match="'user' has 1,001 different values .* at most 1,000"):
        read_user_columns({"user": many}, many, ["user"])


def test_columns_of_a_data_set_mark_missing_values():
    known = UserAttributes(("7", "9"), [24, np.nan], ("M", "F"), ("", "lawyer"), ("de", ""))
    found = known.columns(("9", "8", "7"))
    np.testing.assert_array_equal(found.pop("age"), [np.nan, np.nan, 24.0])
    assert found == {
        "gender": ("F", "", "M"),
        "occupation": ("lawyer", "", ""),
        "country": ("", "", "de"),
    }


def splits():
    names = USERS
    users, items = np.divmod(np.arange(30), 10)
    data = Interactions("tiny", tiny_catalogue(10), names, users, items + 1, np.ones(30), items)
    return split_by_time(data, max_history=4)


def test_every_part_has_the_attributes_of_its_users():
    indices = np.array([[1, 0], [2, 2], [0, 1]])
    known = splits().with_user_attributes(indices)
    for part in (known.train, known.validation, known.test):
        np.testing.assert_array_equal(part.user_attributes, indices[part.users])
        assert part.user_attributes.dtype == np.int32
    some = known.train.subset([2, 0])
    np.testing.assert_array_equal(some.user_attributes, indices[some.users])
    np.testing.assert_array_equal(known.test.subset([2]).user_attributes, [[0, 1]])
    np.testing.assert_array_equal(known.test.answerable().user_attributes, indices)
    batch = next(iter(known.train.batches(3, seed=1)))
    expected = indices[batch[columns.USER_ID].numpy()]
    np.testing.assert_array_equal(batch[columns.USER_ATTRIBUTES], expected)
    assert columns.USER_ATTRIBUTES not in next(iter(splits().train.batches(3)))
    keys = [each.train.example_keys().tolist() for each in (known, splits())]
    assert not set(keys[0]) & set(keys[1])  # attributes are part of an example


def test_invalid_attributes_are_named():
    with pytest.raises(InputError, match="a row for each user, at least 3. Received: 2"):
        splits().with_user_attributes(np.zeros([2, 1], int))
    windows, words = windows_from([[1, 2, 3]], num_items=3, max_history=2), "`user_attributes` must"
    for wrong in ([1], [[1], [2]], [[-1]]):
        with pytest.raises(InputError, match=words):
            Windows(windows.catalogue, [0], [[0, 1]], [[0, 2]], user_attributes=wrong)
        with pytest.raises(InputError, match=words):
            Queries(windows.catalogue, [0], ([1],), ([2],), user_attributes=wrong)
