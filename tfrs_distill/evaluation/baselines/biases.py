"""Two rating models: item means, and biases of users and items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfrs_distill import columns
from tfrs_distill.data.ranking_examples import RankingExamples, RankingSplits
from tfrs_distill.errors import InputError

BIAS_L2 = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)  # tried by `best_item_mean`, `best_bias_only`
TOLERANCE = 1e-9  # of the residual's norm, against the right side's
MAX_PASSES = 1000


@dataclass(frozen=True)
class Biases:
    """Predict `mean + user_bias + item_bias`; unknown users and items have bias 0.

    Predictions are clipped to the range of the training labels. For 0/1 labels they are kept away
    from 0 and 1 by half a row of the training rows, so that no probability is certain.

    Args:
        task: name of the task.
        mean: mean of all labels.
        bounds: the smallest and the largest prediction.
        items: known item indices, ascending.
        item_biases: float64 [num_items + 1]; the last is 0, for unknown items.
        users: known users, ascending.
        user_biases: float64 [num_users + 1]; the last is 0, for unknown users.
    """

    task: str
    mean: float
    bounds: tuple[float, float]
    items: np.ndarray
    item_biases: np.ndarray
    users: np.ndarray
    user_biases: np.ndarray

    def __call__(self, examples: RankingExamples) -> dict[str, np.ndarray]:
        """Return predictions for rows, float64 [num_rows], in label units or as probabilities."""
        item = self.item_biases[_places(self.items, _item_ids(examples))]
        user = self.user_biases[_places(self.users, examples.users)]
        return {self.task: np.clip(self.mean + user + item, *self.bounds)}


def item_mean(examples: RankingExamples, task: str, *, l2: float = 2.0) -> Biases:
    """Fit each item's mean label, shrunk towards the global mean.

    `prediction_i = (sum of the item's labels + l2 * mean) / (number of its labels + l2)`; for a
    binary task it is a probability. The prediction for an item without training labels is the
    global mean. The default `l2` is the best of `BIAS_L2` on MovieLens-100K's validation rows, for
    ratings and likes.

    Args:
        examples: training rows; `columns.ITEM_ID` among the features, 0 for an unknown item.
        task: name of the task.
        l2: number of prior rows at the global mean for every item, above 0.

    Raises:
        InputError: no row has a label for the task, or there are no item ids.
        ValueError: `l2` is not above 0.

    Example:
    >>> train = RankingExamples({"item_id": np.array([1, 1, 2])},
    ...     {"rating": np.array([5.0, 4.0, 3.0])}, users=np.arange(3), queries=np.arange(3))
    >>> item_mean(train, "rating", l2=1.0)(train)["rating"].round(4).tolist()
    [4.3333, 4.3333, 3.5]
    """
    return _fitted(examples, task, l2, with_users=False)


def bias_only(examples: RankingExamples, task: str, *, l2: float = 2.0) -> Biases:
    """Fit global mean, user biases and item biases.

    The biases minimise `sum_r (label_r - mean - user_bias - item_bias)**2 + l2 * (sum of the
    squares of all biases)`, solved exactly; for a binary task the prediction is a linear
    probability. The default `l2` is the best of `BIAS_L2` on MovieLens-100K's validation rows, for
    ratings and likes.

    Reference: the baseline estimates of [Koren, 2008](https://doi.org/10.1145/1401890.1401944),
    section 2.1.

    Args:
        examples: training rows; `columns.ITEM_ID` among the features, 0 for an unknown item.
        task: the task's name.
        l2: regularisation, above 0.

    Raises:
        InputError: no row has a label for the task, or there are no item ids.
        ValueError: `l2` is not above 0.

    Example:
    >>> train = RankingExamples({"item_id": np.array([1, 1, 2])},
    ...     {"rating": np.array([5.0, 3.0, 4.0])}, users=np.array([7, 8, 7]), queries=np.arange(3))
    >>> bias_only(train, "rating", l2=1.0)(train)["rating"].round(4).tolist()
    [4.4286, 3.5238, 4.1905]
    """
    return _fitted(examples, task, l2, with_users=True)


def best_item_mean(splits: RankingSplits, task: str) -> Biases:
    """Return `item_mean` with the `l2` of `BIAS_L2` with the least squared validation error."""
    return _best([item_mean(splits.train, task, l2=l2) for l2 in BIAS_L2], splits)


def best_bias_only(splits: RankingSplits, task: str) -> Biases:
    """Return `bias_only` with the `l2` of `BIAS_L2` with the least squared validation error."""
    return _best([bias_only(splits.train, task, l2=l2) for l2 in BIAS_L2], splits)


def _best(models: list[Biases], splits: RankingSplits) -> Biases:
    task = models[0].task
    labels = splits.validation.labels_of(task)
    errors = [np.nanmean((model(splits.validation)[task] - labels) ** 2) for model in models]
    return models[int(np.argmin(errors))]


def _fitted(examples: RankingExamples, task: str, l2: float, *, with_users: bool) -> Biases:
    if not 0 < l2 < np.inf:
        raise ValueError(f"`l2` must be a finite number greater than 0. Received: l2={l2!r}.")
    labels = examples.labels_of(task).astype(np.float64)
    rows = np.flatnonzero(~np.isnan(labels))
    labels, item_ids = labels[rows], _item_ids(examples)[rows]
    weights = np.ones(len(rows)) if examples.weights is None else examples.weights[rows]
    items = np.setdiff1d(item_ids, [columns.PADDING])
    users = np.unique(examples.users[rows]) if with_users else np.zeros(0, np.int32)
    place = np.stack(
        [_places(items, item_ids), len(items) + 1 + _places(users, examples.users[rows])]
    )
    known = np.stack([place[0] < len(items), place[1] < len(items) + 1 + len(users)])
    mean = float(np.average(labels, weights=weights))
    num_places = len(items) + len(users) + 2
    biases = _ridge(place, known.astype(float), labels - mean, weights, l2, num_places)
    lowest, highest = float(labels.min()), float(labels.max())
    if np.isin(labels, (0, 1)).all():
        lowest, highest = 0.5 / len(rows), 1.0 - 0.5 / len(rows)
    return Biases(
        task,
        mean,
        (lowest, highest),
        items,
        biases[: len(items) + 1],
        users,
        biases[len(items) + 1 :],
    )


def _ridge(
    place: np.ndarray,
    known: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    l2: float,
    num_places: int,
) -> np.ndarray:
    """Ridge regression of targets on two indicators per row, by conjugate gradients.

    The normal equations are never formed: with the diagonal as preconditioner a few dozen passes
    over the rows solve them, for any number of users and items.

    `place` is int [2, num_rows], the two biases of a row; `known` is 0 if the row has none, else 1.
    """

    def sums(values: np.ndarray) -> np.ndarray:
        return np.bincount(place.ravel(), (known * (weights * values)).ravel(), num_places)

    def left_side(biases: np.ndarray) -> np.ndarray:
        return sums((known * biases[place]).sum(axis=0)) + l2 * biases

    diagonal = sums(np.ones(len(targets))) + l2
    biases, residual = np.zeros(num_places), sums(targets)
    enough = TOLERANCE * np.linalg.norm(residual)
    direction, size = np.zeros(num_places), 1.0
    for _ in range(MAX_PASSES):
        if np.linalg.norm(residual) <= enough:
            break
        scaled = residual / diagonal
        previous, size = size, float(residual @ scaled)
        direction = scaled + size / previous * direction
        image = left_side(direction)
        step = size / float(direction @ image)
        biases += step * direction
        residual -= step * image
    return biases


def _places(known: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return the position of each id among the known, ascending ones; their number if unknown."""
    place = np.searchsorted(known, ids)
    found = np.append(known, -1)[place] == ids
    return np.where(found & (place < len(known)), place, len(known))


def _item_ids(examples: RankingExamples) -> np.ndarray:
    if columns.ITEM_ID not in examples.features:
        raise InputError(
            f"These baselines need the feature {columns.ITEM_ID!r}. The examples have: "
            f"{', '.join(sorted(examples.features)) or 'none'}."
        )
    return examples.features[columns.ITEM_ID]
