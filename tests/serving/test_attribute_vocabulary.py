"""User attributes as indices, by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from tfrs_distill.errors import InputError
from tfrs_distill.serving.attribute_vocabulary import AttributeVocabulary

KNOWN = AttributeVocabulary({"age": (18.0, 25.0, 40.0), "gender": ("F", "M")})


@pytest.mark.parametrize(
    ("age", "index"),
    [
        (18, 1),
        (24.9, 1),
        (25, 2),
        (39, 2),
        (40, 3),
        (99, 3),
        (7, 1),  # below the first bucket is in it
        ("25", 2),  # as from the command line
        (np.float32(26), 2),
        (None, 0),
        ("", 0),
        (float("nan"), 0),
    ],
)
def test_a_number_has_the_index_of_its_bucket(age, index):
    assert KNOWN.encode({"age": [age]}).tolist() == [[index, 0]]


@pytest.mark.parametrize(
    ("gender", "index"), [("F", 1), ("M", 2), ("f", 0), ("", 0), (None, 0), ("X", 0), (np.nan, 0)]
)
def test_a_category_has_the_index_of_its_value_and_any_other_is_missing(gender, index):
    found = KNOWN.encode({"gender": [gender]})
    assert found.tolist() == [[0, index]] and found.dtype == np.int32


def test_a_whole_number_is_a_category_of_its_digits():
    assert AttributeVocabulary({"job": ("4", "12")}).encode({"job": [12, 4]}).tolist() == [[2], [1]]


def test_omitted_attributes_are_missing():
    assert KNOWN.encode({}).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sex": ["F"]}, r"no user attribute 'sex'\. Expected: age, gender\."),
        ({"age": ["old"]}, r"'age' must be a number, or None .* Received: 'old'\."),
        ({"age": [True]}, r"'age' must be a number, .* Received: True\."),
        ({"age": [np.inf]}, r"'age' must be a number, .* Received: inf\."),
        ({"gender": [1.5]}, r"'gender' must be a text, or None .* Received: 1\.5\."),
        ({"gender": [["F"]]}, r"'gender' must be a text, .* Received: \['F'\]\."),
        ({"age": [10**400]}, r"'age' must be a number, .* Received: 10+\."),
        ({"age": np.ones([2, 2])}, r"'age' must be a number, .* Received: \[1\.0, 1\.0\]\."),
        ({"gender": "male"}, r"`gender` must be a column.* Received: str\."),
        ({"age": 25}, r"`age` must be a column.* Received: int\."),
        ({"gender": {"M", "F"}}, r"`gender` must be a column.* Received: set\."),
        ({"age": [1, 2], "gender": ["F"]}, r"one value per user\. Received: \{'age': 2, 'gender'"),
    ],
)
def test_invalid_values_are_named(given, words):
    with pytest.raises(InputError, match=words):
        KNOWN.encode(given)


def test_a_frames_columns_are_read_by_row_with_missing_values():
    columns = {
        "age": pd.Series([30, None], index=[5, 3], dtype="Int64"),
        "gender": pd.Series(["M", None], index=[1, 0]),
    }
    assert AttributeVocabulary.from_columns(columns).attributes == {
        "age": (30.0,),
        "gender": ("M",),
    }
    assert KNOWN.encode(columns).tolist() == [[2, 2], [0, 0]]
    gender = pd.Series(["M", None], dtype="string")
    assert KNOWN.encode({"gender": gender}).tolist() == [[0, 2], [0, 0]]
    assert KNOWN.encode({"gender": np.array([b"F"])}).tolist() == [[0, 1]]


def test_many_equal_numbers_leave_seven_buckets_for_the_others():
    # 90 of 104 users have no order: quantiles would put all users into one bucket. The others'
    # 14 numbers make 7 buckets of two.
    orders = [0] * 90 + [*range(1, 15)]
    found = AttributeVocabulary.from_columns({"orders": orders})
    assert found.attributes == {"orders": (0.0, 1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0)}


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({}, r"at least one attribute\. Received: none"),
        ({"plan": ()}, r"'plan' needs unique values"),
        ({"plan": ("a", "a")}, r"'plan' needs unique values"),
        ({"plan": ("a", "")}, r"'plan' must have non-empty texts"),
        ({"age": (2.0, 1.0)}, r"'age' must have .* the ascending lower bounds"),
        ({"age": (1, 2)}, r"'age' must have .* the ascending lower bounds"),
        ({"age": (1.0, float("inf"))}, r"'age' must have .* the ascending lower bounds"),
    ],
)
def test_an_invalid_vocabulary_is_named(attributes, words):
    with pytest.raises(InputError, match=words):
        AttributeVocabulary(attributes)


def test_numbers_get_eight_buckets_of_equal_size_and_texts_their_values():
    # 1 to 16 once each: buckets of two begin at 1, 3, 5, ...
    ages = [*range(16, 0, -1), None]
    plans = ["b", "", "a", *["b"] * 14]
    found = AttributeVocabulary.from_columns({"age": ages, "plan": plans})
    assert found.attributes == {
        "age": (1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0),
        "plan": ("a", "b"),
    }
    assert (found.names, found.sizes) == (("age", "plan"), (8, 2))
    few = AttributeVocabulary.from_columns({"age": [30.0, 1.0, 18.0, 30.0, np.nan]})
    assert few.attributes == {"age": (1.0, 18.0, 30.0)}
    with pytest.raises(InputError, match="'age' is missing for all 2 users. Remove it"):
        AttributeVocabulary.from_columns({"age": [np.nan, np.nan]})
    with pytest.raises(InputError, match="'plan' is missing for all 2 users"):
        AttributeVocabulary.from_columns({"plan": ["", ""]})


def test_as_list_is_json_in_order():
    described = json.loads(json.dumps(KNOWN.as_list()))
    assert described == [
        {"name": "age", "starts": [18.0, 25.0, 40.0]},
        {"name": "gender", "values": ["F", "M"]},
    ]
    assert AttributeVocabulary.from_list(described) == KNOWN
