"""Rows without labels, for a teacher to label: other items for the queries that there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tfrs_distill import columns
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError


def unlabelled_rows(
    examples: RankingExamples,
    per_row: int = 1,
    *,
    item_columns: Sequence[str] = (),
    seed: int = 0,
) -> RankingExamples:
    """Draw other items, which nobody has labelled, for the rows: a transfer set.

    A teacher has logits for any item, and a student that learns from soft targets of items beyond
    the labelled ones follows its teacher's order further. Each row's item is another row's, drawn
    in proportion to the square root of how often items have rows; those of an item for which the
    user has a row here are left out. (What users met later must stay in: leaving it out
    would leak it to the student.) Every label is NaN, and there are no teacher logits.

    They are not for a student with a `NextItem` task, which takes a row's item for its label; nor
    for a teacher that reads what is true of a query and its item together, such as how much of the
    film was watched, for that stays the row's.

    Reference: [Hinton et al., 2015](https://arxiv.org/abs/1503.02531), section 1: the transfer set
    may be all unlabelled.

    Args:
        examples: the training rows.
        per_row: rows that are drawn for each of them.
        item_columns: the features beside `item_id` that are the item's and come with it; the others
            stay the row's.
        seed: of drawing.

    Returns:
        At most `per_row * len(examples)` rows, in the order of the rows that they are made of.

    Raises:
        InputError: `per_row` is not a whole number of at least 1; a column is missing, or `item_id`
            is not an index a row; the rows have texts; or no row is left, as every user has all
            items.

    Example:
    >>> examples = RankingExamples(
    ...     {"item_id": np.array([1, 2, 2]), "age": np.array([20.0, 20.0, 30.0])},
    ...     {"like": np.array([1.0, 0.0, 1.0])},
    ...     users=np.array([1, 1, 2]), queries=np.array([1, 1, 2]))
    >>> drawn = unlabelled_rows(examples)
    >>> drawn.features["item_id"].tolist(), drawn.features["age"].tolist(), drawn.labels["like"]
    ([1], [30.0], array([nan], dtype=float32))
    """
    if isinstance(per_row, bool) or not isinstance(per_row, (int, np.integer)) or per_row < 1:
        raise InputError(f"`per_row` must be a whole number >= 1. Received: per_row={per_row!r}.")
    of_item = (columns.ITEM_ID, *item_columns)
    missing = [name for name in of_item if name not in examples.features]
    if missing:
        raise InputError(
            f"The rows have no feature {', '.join(map(repr, missing))}. They have: "
            f"{', '.join(sorted(examples.features))}."
        )
    if examples.texts:
        raise InputError(
            "A row's text is about the row's item, so it cannot stand beside another one. Received "
            f"rows with texts: {', '.join(sorted(examples.texts))}."
        )
    items = examples.features[columns.ITEM_ID]
    if items.ndim != 1 or items.min() < 0:
        raise InputError(
            "`item_id` must be one index of at least 0 a row. Received: shape "
            f"{list(items.shape)}, lowest {items.min()}."
        )
    rows = np.repeat(np.arange(len(examples)), per_row)
    often = np.bincount(items)[items]
    share = np.where(items > columns.PADDING, 1.0 / np.sqrt(often), 0.0)  # of a row, not an item
    if not share.any():
        raise InputError("No row has an item of the catalogue: every `item_id` is 0.")
    drawn = np.random.default_rng(seed).choice(len(items), len(rows), p=share / share.sum())
    pairs = examples.users.astype(np.int64) * (int(items.max()) + 1)
    kept = ~np.isin(pairs[rows] + items[drawn], pairs + items)
    if not kept.any():
        raise InputError(
            f"No row is left: every item drawn has a row of its user among the {len(examples)}. "
            "Learn from the labelled rows alone."
        )
    rows, drawn = rows[kept], drawn[kept]
    others = examples.subset(rows)
    return replace(
        others.with_features({name: examples.features[name][drawn] for name in of_item}),
        labels={task: np.full(len(rows), np.nan, np.float32) for task in examples.labels},
        teacher_logits={},
    )
