"""Clothing reviews with ratings and recommendations, for ranking by text."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tfrs_distill import columns
from tfrs_distill.data.assets import CLOTHING_REVIEWS
from tfrs_distill.data.ranking_examples import RankingExamples, RankingSplits
from tfrs_distill.data.readers.text_table import read_text_table
from tfrs_distill.errors import InputError

TEXT = "text"
NUMBERS = {"age": "Age", "rating": "Rating", "recommended": "Recommended IND"}
NAMES = {
    columns.ITEM_ID: "Clothing ID",
    "division": "Division Name",
    "department": "Department Name",
    "class_name": "Class Name",
}
TEXTS = ("Title", "Review Text")
PARTS = (0.8, 0.9)  # end of training, end of validation


@dataclass(frozen=True, eq=False)
class ClothingReviews:
    """The reviews, one per row, and the vocabularies of their index columns.

    Args:
        examples: the rows, in file order.
        vocabularies: by column, the values of the indices: index `i + 1` is entry `i`, 0 is
            unknown.
    """

    examples: RankingExamples
    vocabularies: Mapping[str, tuple[str, ...]]


def clothing_reviews(path: str | os.PathLike[str] | None = None) -> ClothingReviews:
    """Read Women's E-Commerce Clothing Reviews: 23,486 reviews of 1,206 items.

    Features: `item_id`, `division`, `department`, `class_name` (indices, 0 if the file has none)
    and `age` of the reviewer in years. Labels: `rating` (1 to 5) and `recommended` (0 or 1), NaN if
    the field is empty. The text `"text"` is the title, ". " and the review; if one is missing it is
    the other, and "" if both are.

    The data has no user ids and no timestamps. Each review is therefore one user and one candidate
    list, the split is random, and an interval over users is an interval over reviews.

    Args:
        path: a CSV (`.csv`) or Parquet (`.parquet`, `.parquet.brotli`) file with the columns
            Clothing ID, Age, Title, Review Text, Rating, Recommended IND, Division Name, Department
            Name and Class Name, in any order. None downloads the asset.

    Raises:
        InputError: the file is missing, damaged or of another format, lacks a column, or has a
            non-number in a numeric column; or the asset cannot be downloaded.
        MissingExtraError: it is a Parquet file and pyarrow is not installed.
    """
    if path is None:
        path = CLOTHING_REVIEWS.folder() / next(iter(CLOTHING_REVIEWS.members))
    table = read_text_table(path, (*NAMES.values(), *NUMBERS.values(), *TEXTS))
    items = table.columns["Clothing ID"]
    if "" in items:
        raise InputError(f"{table.place(items.index(''))}: the Clothing ID is empty.")
    vocabularies = {name: _vocabulary(table.columns[column]) for name, column in NAMES.items()}
    numbers = {name: table.numbers(column) for name, column in NUMBERS.items()}
    texts = (
        ". ".join(part.strip() for part in parts if part.strip())
        for parts in zip(*(table.columns[name] for name in TEXTS))
    )
    rows = np.arange(1, len(table) + 1)
    examples = RankingExamples(
        {
            name: _indices(table.columns[column], vocabularies[name])
            for name, column in NAMES.items()
        }
        | {"age": numbers.pop("age")},
        numbers,
        users=rows,
        queries=rows,
        texts={TEXT: tuple(texts)},
    )
    return ClothingReviews(examples, vocabularies)


def split_reviews(reviews: ClothingReviews, seed: int) -> RankingSplits:
    """Split the reviews at random, 80 / 10 / 10 %.

    Items, divisions, departments and classes that are not in the training rows become 0 (unknown)
    in the other parts, as in serving.

    Args:
        reviews: the data.
        seed: seed of the random split.

    Raises:
        InputError: there are fewer than 10 reviews.
    """
    num_rows = len(reviews.examples)
    if num_rows < 10:
        raise InputError(f"At least 10 reviews are needed to split them. Received: {num_rows}.")
    drawn = np.random.default_rng(seed).permutation(num_rows)
    cuts = [int(num_rows * share + 1e-9) for share in PARTS]
    return _splits("clothing-reviews", reviews, [np.sort(rows) for rows in np.split(drawn, cuts)])


def split_reviews_by_item(reviews: ClothingReviews, seed: int) -> RankingSplits:
    """Split by whole items at random, 80 / 10 / 10 %: all evaluated items are cold-start items.

    Items have between 1 and 1,024 reviews, so the parts are cut by number of reviews: items are put
    in random order, and each belongs to the part that contains the middle of its reviews. If
    validation or test would be empty, they get the last two items. `item_id` is 0 (unknown) in
    validation and test.

    Args:
        reviews: the data.
        seed: seed of the random order.
        seed: of the draw.

    Raises:
        InputError: there are fewer than 3 items.
    """
    items = reviews.examples.features[columns.ITEM_ID]
    counts = np.bincount(items)
    drawn = np.random.default_rng(seed).permutation(np.flatnonzero(counts))
    middles = (np.cumsum(counts[drawn]) - counts[drawn] / 2) / len(items)
    if len(drawn) < 3:
        raise InputError(
            f"At least 3 items are needed to split reviews by item. Received: {len(drawn)}. Give "
            "more items, or split by review."
        )
    part_of_drawn = np.searchsorted(PARTS, middles, side="right")
    part_of_drawn[-1] = 2
    if 1 not in part_of_drawn:
        part_of_drawn[-2] = 1
    part_of_item = np.zeros(len(counts), np.int64)
    part_of_item[drawn] = part_of_drawn
    parts = [np.flatnonzero(part_of_item[items] == part) for part in range(3)]
    return _splits("clothing-reviews-by-item", reviews, parts)


def _splits(name: str, reviews: ClothingReviews, parts: list[np.ndarray]) -> RankingSplits:
    train, validation, test = (reviews.examples.subset(rows) for rows in parts)

    def known(examples: RankingExamples) -> RankingExamples:
        return examples.with_features(
            {
                column: np.where(
                    np.isin(examples.features[column], train.features[column]),
                    examples.features[column],
                    0,
                )
                for column in NAMES
            }
        )

    return RankingSplits(name, train, known(validation), known(test))


def _vocabulary(names: list[str]) -> tuple[str, ...]:
    """Return the distinct names without the empty one; integers are sorted by value."""
    return tuple(sorted(set(names) - {""}, key=_number_or_name))


def _number_or_name(name: str) -> tuple[int, str]:
    return (int(name) if name.isdecimal() else -1, name)


def _indices(names: list[str], vocabulary: tuple[str, ...]) -> np.ndarray:
    index_of = {name: index for index, name in enumerate(vocabulary, start=1)}
    return np.array([index_of.get(name, 0) for name in names], np.int32)
