"""Clothing reviews: reading and splitting. Numbers of the real file: counted with pyarrow alone."""

import csv

import numpy as np
import pytest

from tfrs_distill.data.assets import CLOTHING_REVIEWS
from tfrs_distill.data.clothing_reviews import (
    clothing_reviews,
    split_reviews,
    split_reviews_by_item,
)
from tfrs_distill.errors import InputError

HEADER = [
    *("", "Clothing ID", "Age", "Title", "Review Text", "Rating", "Recommended IND"),
    *("Positive Feedback Count", "Division Name", "Department Name", "Class Name"),
]
ROWS = [
    ["0", "10", "33", "Nice", "Soft and warm.", "5", "1", "0", "General", "Tops", "Knits"],
    ["1", "9", "60", "", " Too small ", "2", "0", "4", "General", "Dresses", "Dresses"],
    ["2", "10", "41", "Fine", "", "4", "1", "0", "Petite", "Tops", "Knits"],
    ["3", "A7", "", "", "", "3", "", "0", "", "", ""],
]
INDICES = ("item_id", "division", "department", "class_name")


def write_csv(path, rows, header=HEADER):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def many(counts):
    """One row per review: item i + 1 has `counts[i]`; ages number the rows from 1."""
    items = [item for item, count in enumerate(counts, start=1) for _ in range(count)]
    return [
        ["", str(item), str(age), "", f"text {age}", "5", "1", "0", f"D{item}", "Tops", "Knits"]
        for age, item in enumerate(items, start=1)
    ]


def test_rows_are_read_with_their_indices_labels_and_texts(tmp_path):
    reviews = clothing_reviews(write_csv(tmp_path / "a.csv", ROWS))
    rows = reviews.examples
    assert reviews.vocabularies == {
        "item_id": ("A7", "9", "10"),  # names first, then numbers by value
        "division": ("General", "Petite"),
        "department": ("Dresses", "Tops"),
        "class_name": ("Dresses", "Knits"),
    }
    assert rows.features["item_id"].tolist() == [3, 2, 3, 1]
    assert rows.features["division"].tolist() == [1, 1, 2, 0]
    assert rows.features["department"].tolist() == [2, 1, 2, 0]
    assert rows.features["class_name"].tolist() == [2, 1, 2, 0]
    np.testing.assert_array_equal(rows.features["age"], [33, 60, 41, np.nan])
    np.testing.assert_array_equal(rows.labels["rating"], [5, 2, 4, 3])
    np.testing.assert_array_equal(rows.labels["recommended"], [1, 0, 1, np.nan])
    assert rows.texts == {"text": ("Nice. Soft and warm.", "Too small", "Fine", "")}
    assert set(rows.features) == {*INDICES, "age"}
    assert set(rows.labels) == {"rating", "recommended"}


def test_each_review_is_its_own_user_and_list(tmp_path):
    rows = clothing_reviews(write_csv(tmp_path / "a.csv", ROWS)).examples
    assert rows.users.tolist() == rows.queries.tolist() == [1, 2, 3, 4]


def test_columns_may_come_in_any_order(tmp_path):
    order = [3, 10, 8, 1, 2, 9, 6, 5, 4]
    header, rows = ([line[place] for place in order] for line in (HEADER, ROWS[0]))
    shuffled = clothing_reviews(write_csv(tmp_path / "a.csv", [rows], header)).examples
    plain = clothing_reviews(write_csv(tmp_path / "b.csv", ROWS[:1])).examples
    assert shuffled.fingerprint() == plain.fingerprint()


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (1, "", r"line 3: the Clothing ID is empty"),
        (2, "old", r"line 3: Age 'old' is not a number"),
        (5, "five", r"line 3: Rating 'five' is not a number"),
        (6, "yes", r"line 3: Recommended IND 'yes' is not a number"),
    ],
)
def test_invalid_values_are_named_with_their_line(tmp_path, place, value, words):
    wrong = [list(row) for row in ROWS]
    wrong[1][place] = value
    with pytest.raises(InputError, match=words):
        clothing_reviews(write_csv(tmp_path / "a.csv", wrong))


@pytest.mark.parametrize("missing", [1, 2, 3, 4, 5, 6, 8, 9, 10])
def test_every_column_that_is_read_is_required(tmp_path, missing):
    header = [name for place, name in enumerate(HEADER) if place != missing]
    with pytest.raises(InputError, match=f"a column '{HEADER[missing]}' was expected"):
        clothing_reviews(write_csv(tmp_path / "a.csv", [], header))


def rows_in(splits):
    """The ages of each part, which number the rows."""
    return [
        part.features["age"].astype(int).tolist()
        for part in (splits.train, splits.validation, splits.test)
    ]


def test_a_random_split_has_each_review_once_in_file_order(tmp_path):
    reviews = clothing_reviews(write_csv(tmp_path / "a.csv", many([40, 15])))
    splits = split_reviews(reviews, 0)
    parts = rows_in(splits)
    assert splits.name == "clothing-reviews"
    assert [len(part) for part in parts] == [44, 5, 6]  # floor(55 * .8), floor(55 * .9)
    assert sorted(sum(parts, [])) == list(range(1, 56))
    assert all(part == sorted(part) for part in parts)
    assert parts[0] != list(range(1, 45))
    assert splits.test.texts["text"] == tuple(f"text {age}" for age in parts[2])
    assert rows_in(split_reviews(reviews, 0)) == parts
    assert rows_in(split_reviews(reviews, 1)) != parts


def test_values_without_training_rows_are_unknown_in_the_other_parts(tmp_path):
    rows = many([1] * 15)  # every item, and its division, in one review
    reviews = clothing_reviews(write_csv(tmp_path / "a.csv", rows))
    splits = split_reviews(reviews, 0)
    assert (splits.train.features["item_id"] > 0).all()
    for part in (splits.validation, splits.test):
        assert not part.features["item_id"].any()
        assert not part.features["division"].any()
        assert (part.features["department"] == 1).all()
        assert (part.features["class_name"] == 1).all()


def test_a_split_by_item_keeps_all_rows_of_an_item_together(tmp_path):
    counts = [1, 7, 2, 5, 3, 1, 1, 8, 4, 2, 6, 3, 2, 5, 1, 2, 3, 1, 2, 1]
    rows = many(counts)
    reviews = clothing_reviews(write_csv(tmp_path / "a.csv", rows))
    for seed in range(4):
        splits = split_reviews_by_item(reviews, seed)
        assert splits.name == "clothing-reviews-by-item"
        parts = rows_in(splits)
        assert sorted(sum(parts, [])) == list(range(1, 61))
        items = [{rows[age - 1][1] for age in part} for part in parts]
        assert sum(map(len, items)) == len(counts)  # disjoint, and all of them
        # A cut is off by half an item's reviews at most: 4 of 60.
        assert abs(len(parts[0]) - 48) <= 4
        assert abs(len(parts[0]) + len(parts[1]) - 54) <= 4
        assert (splits.train.features["item_id"] > 0).all()
        assert not splits.validation.features["item_id"].any()
        assert not splits.test.features["item_id"].any()
    assert rows_in(split_reviews_by_item(reviews, 0)) != parts
    assert rows_in(split_reviews_by_item(reviews, 3)) == parts


@pytest.mark.parametrize("counts", [[4, 4, 4], [4] * 7, [1, 1, 30], [30, 1, 1, 1]])
def test_few_items_leave_no_part_empty(tmp_path, counts):
    reviews = clothing_reviews(write_csv(tmp_path / "a.csv", many(counts)))
    rows = many(counts)
    for seed in range(10):
        parts = rows_in(split_reviews_by_item(reviews, seed))
        items = [{rows[age - 1][1] for age in part} for part in parts]
        assert all(items) and sum(map(len, items)) == len(counts)


def test_too_few_rows_or_items_are_refused(tmp_path):
    nine = clothing_reviews(write_csv(tmp_path / "a.csv", many([9])))
    with pytest.raises(InputError, match=r"At least 10 reviews are needed to split them\. .*: 9"):
        split_reviews(nine, 0)
    two = clothing_reviews(write_csv(tmp_path / "c.csv", many([5, 5])))
    with pytest.raises(InputError, match=r"At least 3 items are needed .* by item\. Received: 2"):
        split_reviews_by_item(two, 0)
    ten = clothing_reviews(write_csv(tmp_path / "b.csv", many([10])))
    assert [len(part) for part in rows_in(split_reviews(ten, 0))] == [8, 1, 1]


@pytest.mark.realdata
def test_the_asset(fetch_or_skip):
    fetch_or_skip(CLOTHING_REVIEWS.folder)
    reviews = clothing_reviews()
    rows = reviews.examples
    # Values and nulls of each column by `pyarrow.parquet.read_table`; 844 reviews have neither
    # title nor text. The first has no title, and its item is 767.
    assert len(rows) == 23_486
    sizes = {name: len(names) for name, names in reviews.vocabularies.items()}
    assert sizes == {"item_id": 1206, "division": 3, "department": 6, "class_name": 20}
    assert np.bincount(rows.labels["rating"].astype(int)).tolist() == [
        *(0, 842, 1565, 2871, 5077, 13131)
    ]
    assert rows.labels["recommended"].sum() == 19_314
    assert rows.features["age"].min() == 18 and rows.features["age"].max() == 99
    assert rows.texts["text"][0] == "Absolutely wonderful - silky and sexy and comfortable"
    assert rows.texts["text"][2].startswith("Some major design flaws. I had such high hopes for")
    assert sum(not text for text in rows.texts["text"]) == 844
    assert reviews.vocabularies["item_id"][rows.features["item_id"][0] - 1] == "767"
    assert [(rows.features[name] == 0).sum() for name in INDICES] == [0, 14, 14, 14]

    splits = split_reviews(reviews, 0)
    # floor(23486 * .8), floor(23486 * .9) = 21137
    parts = (splits.train, splits.validation, splits.test)
    assert [len(part) for part in parts] == [18788, 2349, 2349]
    assert sorted(np.concatenate([part.users for part in parts])) == list(range(1, 23_487))
    cold = split_reviews_by_item(reviews, 0)
    parts = (cold.train, cold.validation, cold.test)
    items = [set(rows.features["item_id"][part.users - 1].tolist()) for part in parts]
    assert sum(map(len, items)) == 1206
    # The item with most reviews has 1,024, so each cut is off by 512 reviews at most.
    assert abs(len(cold.train) - 18789) <= 512
    assert not cold.test.features["item_id"].any()
