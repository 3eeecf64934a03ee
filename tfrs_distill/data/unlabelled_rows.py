"""Rows without labels for a teacher to label: other items for existing queries."""

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
    """Draw unlabelled items for the rows' queries, as a transfer set for distillation.

    A teacher can score any item, and soft targets for unlabelled items bring the student's ranking
    closer to the teacher's. The item of each new row is drawn from the items of the other rows,
    with probability proportional to the square root of their number of rows. Items for which the
    user has a row in `examples` are excluded. (Items the user interacts with later must not be
    excluded: that would leak them to the student.) All labels are NaN, and there are no teacher
    logits.

    Do not use these rows for a student with a `NextItem` task, which uses a row's item as label,
    nor for a teacher that reads features of a query and its item together, such as the share of the
    film that was watched: such features are copied from the original row.

    Reference: [Hinton et al., 2015](https://arxiv.org/abs/1503.02531), section 1: the transfer set
    may be all unlabelled.

    Args:
        examples: the training rows.
        per_row: number of rows to draw for each of them.
        item_columns: features besides `item_id` that belong to the item and are taken from its row;
            all other features are those of the original row.
        seed: seed of the draw.

    Returns:
        At most `per_row * len(examples)` rows, in the order of the original rows.

    Raises:
        InputError: `per_row` is not an integer of at least 1; a column is missing, or `item_id` is
            not one index per row; the rows have texts; or no row remains, because every user has
            rows for all items.

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
            "A row's text is about its item, so it cannot be combined with another item. Received "
            f"rows with texts: {', '.join(sorted(examples.texts))}."
        )
    items = examples.features[columns.ITEM_ID]
    if items.ndim != 1 or items.min() < 0:
        raise InputError(
            "`item_id` must be one index of at least 0 per row. Received: shape "
            f"{list(items.shape)}, lowest {items.min()}."
        )
    rows = np.repeat(np.arange(len(examples)), per_row)
    often = np.bincount(items)[items]
    share = np.where(items > columns.PADDING, 1.0 / np.sqrt(often), 0.0)  # per row, not per item
    if not share.any():
        raise InputError("No row has an item of the catalogue: every `item_id` is 0.")
    drawn = np.random.default_rng(seed).choice(len(items), len(rows), p=share / share.sum())
    pairs = examples.users.astype(np.int64) * (int(items.max()) + 1)
    kept = ~np.isin(pairs[rows] + items[drawn], pairs + items)
    if not kept.any():
        raise InputError(
            f"No row remains: the user has a row for every drawn item among the {len(examples)}. "
            "Train on the labelled rows alone."
        )
    rows, drawn = rows[kept], drawn[kept]
    others = examples.subset(rows)
    return replace(
        others.with_features({name: examples.features[name][drawn] for name in of_item}),
        labels={task: np.full(len(rows), np.nan, np.float32) for task in examples.labels},
        teacher_logits={},
    )
