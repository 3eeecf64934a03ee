"""Item statistics of the training ratings: mean rating and number of ratings."""

from __future__ import annotations

import numpy as np

from tfrs_distill import columns
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError

SHRINKAGE = 5.0  # number of ratings at the global mean that are added to every item


def item_statistics(examples: RankingExamples, num_items: int, task: str = "rating") -> np.ndarray:
    """Return mean label and number of labels of every item, standardised over the items.

    With n_i labels of sum S_i and the global mean m, the first column is the shrunken mean
    `(S_i + 5 m) / (n_i + 5)`, the second `log(1 + n_i)`. Each column is then standardised to mean 0
    and standard deviation 1 over the items. An item without labels has the global mean.

    Use the training rows only: the result is a constant of the model, like an item's genres.

    Args:
        examples: the training rows, with `item_id`.
        num_items: number of items in the catalogue.
        task: the task of the labels; rows without a label are ignored.

    Returns:
        float32 [num_items, 2]; item index `i + 1` in row `i`.

    Raises:
        InputError: the rows have no `item_id`, or an item above `num_items`, or no label.

    Example:
    >>> rows = RankingExamples({"item_id": np.array([1, 1, 2], np.int32)},
    ...     {"rating": np.array([5, 5, 1], np.float32)}, users=np.ones(3, np.int32),
    ...     queries=np.ones(3, np.int32))
    >>> np.sign(item_statistics(rows, 2)).tolist()
    [[1.0, 1.0], [-1.0, -1.0]]
    """
    labels = examples.labels_of(task).astype(np.float64)
    if columns.ITEM_ID not in examples.features:
        raise InputError(
            f"The rows need a feature {columns.ITEM_ID!r}. They have: {sorted(examples.features)}."
        )
    items = examples.features[columns.ITEM_ID]
    if items.max() > num_items:
        raise InputError(f"Items must be within 1 to {num_items}. Received: {items.max()}.")
    known = ~np.isnan(labels) & (items > columns.PADDING)
    counts = np.bincount(items[known], minlength=num_items + 1)[1:]
    sums = np.bincount(items[known], labels[known], minlength=num_items + 1)[1:]
    means = (sums + SHRINKAGE * labels[known].mean()) / (counts + SHRINKAGE)
    found = np.stack([means, np.log1p(counts)], axis=1)
    spread = found.std(axis=0)
    return ((found - found.mean(axis=0)) / np.where(spread > 0, spread, 1)).astype(np.float32)
