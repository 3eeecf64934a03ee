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
    item_columns: Sequence[str] = (columns.ITEM_ID,),
    seed: int = 0,
) -> RankingExamples:
    """The examples' rows with other items in them, which nobody has labelled: a transfer set.

    A teacher can say of any item what it thinks of it, and a student that hears about items beyond
    the labelled ones follows its teacher's order further. Each row's item is another row's, drawn
    in proportion to the square root of how often items have rows; those of an item for which the
    user has a row are left out. Every label is NaN, and what a teacher said is forgotten.

    Reference: [Hinton et al., 2015](https://arxiv.org/abs/1503.02531), section 1: the transfer set
    may be all unlabelled.

    Args:
        examples: the training rows.
        per_row: rows that are drawn for each of them.
        item_columns: the features that belong to the item; the others stay the row's.
        seed: of drawing.

    Returns:
        At most `per_row * len(examples)` rows, in the order of the rows that they are made of.

    Raises:
        InputError: `per_row` is not a whole number of at least 1; a column is missing; the rows
            have texts; or no row is left, as every user has all items.

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
    missing = [name for name in (columns.ITEM_ID, *item_columns) if name not in examples.features]
    if missing:
        raise InputError(
            f"The rows have no feature {', '.join(map(repr, dict.fromkeys(missing)))}. They have: "
            f"{', '.join(sorted(examples.features))}."
        )
    if examples.texts:
        raise InputError(
            "A row's text is of its own item, so it cannot stand beside another one. Received rows "
            f"with texts: {', '.join(sorted(examples.texts))}."
        )
    items = examples.features[columns.ITEM_ID]
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
            f"No row is left: the users of {len(examples)} rows have rows of every item drawn."
        )
    rows, drawn = rows[kept], drawn[kept]
    others = examples.subset(rows)
    return replace(
        others.with_features({name: examples.features[name][drawn] for name in item_columns}),
        labels={task: np.full(len(rows), np.nan, np.float32) for task in examples.labels},
        teacher_logits={},
    )
