"""Recommenders without training by gradient: popularity, and the teachers in closed form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from tfrs_distill.data.splits import Splits, pad_histories
from tfrs_distill.data.windows import Windows
from tfrs_distill.evaluation.retrieval import Scorer, evaluate
from tfrs_distill.evaluation.top_k import BlockScorer
from tfrs_distill.teachers.als_teacher import ALSTeacher
from tfrs_distill.teachers.history_teacher import HistoryTeacher
from tfrs_distill.teachers.item_item_teacher import (
    ItemItemTeacher,
    NextItemRidgeTeacher,
    user_item_blocks,
)

Fitted = TypeVar("Fitted", bound=HistoryTeacher)

# What the `best_` functions try: of each setting in turn, the middle one first.
EASE_GRID = {"decay": (4.0, 8.0, 16.0, 32.0, None), "l2": (300.0, 1000.0, 3000.0)}
RIDGE_GRID = {"decay": (4.0, 8.0, 16.0, 32.0, None), "l2": (1000.0, 3000.0, 10000.0)}
ALS_GRID = {
    "decay": (3.0, 4.0, 6.0, 12.0, None),
    "l2": (10.0, 20.0, 40.0),
    "confidence": (2.0, 4.0, 8.0),
}
MAX_ITEMS_OF_EASE = 15_000  # of a report: a matrix of their square takes 1.8 GB


def popularity(train: Windows) -> Scorer:
    """Return the scorer that recommends what most users met in training."""
    counts = np.sum([matrix.sum(axis=0) for matrix in user_item_blocks(train)], axis=0)
    return ConstantScorer(counts, train.catalogue.exclude_seen)


class ConstantScorer(BlockScorer):
    """A scorer with the same scores for everyone, float32 [num_items + 1]."""

    def __init__(self, scores: np.ndarray, exclude_seen: bool) -> None:
        self.scores, self.exclude_seen = scores, exclude_seen
        self.num_items = len(scores) - 1

    def _score_items(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        return np.broadcast_to(self.scores, (len(histories), len(self.scores)))


class HistoryScorer(BlockScorer):
    """A scorer of a teacher that knows a query by its history.

    Args:
        teacher: a teacher in closed form.
        max_history: how many of a query's last items it reads; None for all, also where the windows
            that it was made from are shorter.
        exclude_seen: whether the history's items are left out, see `Catalogue.exclude_seen`.
    """

    def __init__(
        self,
        teacher: HistoryTeacher,
        *,
        max_history: int | None = None,
        exclude_seen: bool = True,
    ) -> None:
        self.teacher, self.max_history, self.exclude_seen = teacher, max_history, exclude_seen
        self.num_items = teacher.num_items

    @property
    def num_parameters(self) -> int:
        """The teacher's."""
        return self.teacher.num_parameters

    def _score_items(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        padded = pad_histories(list(histories), self.max_history)
        items = tf.range(self.num_items + 1)
        scores: np.ndarray = self.teacher.logits_after(tf.constant(padded), items).numpy()
        return scores


class EASE(HistoryScorer):
    """Item-item weights in closed form.

    With X the 0/1 user-item matrix, `P = (X'X + l2 I)^-1` and `B_ij = -P_ij / P_jj` off the
    diagonal, 0 on it; an item's score is the sum of its weights from the history's items. With
    `decay` the latest items count most: an item counts `exp(-age / decay)`, where its age is how
    many items came after it (met again: after the last time). `teacher` is the same as a teacher,
    an `ItemItemTeacher`.

    Reference: [Steck, 2019](https://arxiv.org/abs/1905.03375).

    Args:
        train: training windows.
        l2: regularisation, above 0.
        decay: in items, above 0; None counts all items of a history alike.

    Raises:
        ValueError: `l2` or `decay` is not above 0.
    """

    def __init__(self, train: Windows, *, l2: float = 300.0, decay: float | None = None) -> None:
        teacher = ItemItemTeacher(train, l2=l2, decay=decay)
        super().__init__(teacher, exclude_seen=train.catalogue.exclude_seen)


def best_ease(splits: Splits, k: int, *, reads_order: bool = True) -> HistoryScorer:
    """Return EASE with the decay and `l2` of `EASE_GRID` whose NDCG@k on validation is best.

    Without `reads_order` there is no decay: all items of a history count alike.
    """

    @lru_cache(maxsize=1)
    def solved(l2: float) -> ItemItemTeacher:
        return ItemItemTeacher(splits.train, l2=l2)

    grid = _grid(EASE_GRID, reads_order)
    return _best(lambda decay, l2: _read_with(solved(l2), decay), grid, splits, k)


def best_next_item_ridge(splits: Splits, k: int, *, reads_order: bool = True) -> HistoryScorer:
    """Return the scorer of the `NextItemRidgeTeacher` of `RIDGE_GRID` that is best on validation.

    By NDCG@k, and without `reads_order` without decay; so is `best_als`.
    """
    return _best(
        lambda decay, l2: NextItemRidgeTeacher(splits.train, l2=l2, decay=decay),
        _grid(RIDGE_GRID, reads_order),
        splits,
        k,
    )


def best_als(splits: Splits, k: int, *, reads_order: bool = True) -> HistoryScorer:
    """Return the scorer of the `ALSTeacher` of `ALS_GRID` that is best on validation.

    Chosen for histories as long as the training windows: the time grows with their square.

    Raises:
        MissingExtraError: `implicit` is not installed.
    """

    @lru_cache(maxsize=1)
    def factorised(l2: float, confidence: float) -> ALSTeacher:
        return ALSTeacher(splits.train, l2=l2, confidence=confidence)

    return _best(
        lambda decay, l2, confidence: _read_with(factorised(l2, confidence), decay),
        _grid(ALS_GRID, reads_order),
        splits,
        k,
        max_history=splits.train.max_history,
    )


def _grid(
    grid: Mapping[str, Sequence[float | None]], reads_order: bool
) -> Mapping[str, Sequence[float | None]]:
    """What is tried: no decay where the order of a history says nothing."""
    return grid if reads_order else {**grid, "decay": (None,)}


def _best(
    make: Callable[..., HistoryTeacher],
    grid: Mapping[str, Sequence[Any]],
    splits: Splits,
    k: int,
    *,
    max_history: int | None = None,
) -> HistoryScorer:
    """The best on validation, one setting chosen after another, the others as they are so far.

    All begin in the middle of their values. A whole grid would solve several times as many systems
    for what is within the noise of validation.
    """
    exclude_seen = splits.catalogue.exclude_seen
    chosen = {name: values[len(values) // 2] for name, values in grid.items()}

    def tried(**settings: Any) -> tuple[float, HistoryTeacher]:
        teacher = make(**chosen | settings)
        scorer = HistoryScorer(teacher, max_history=max_history, exclude_seen=exclude_seen)
        return float(evaluate(scorer, splits.validation, k=k).ndcg.mean()), teacher

    ndcg, best = tried()
    for name, values in grid.items():
        for value in [value for value in values if value != chosen[name]]:
            found, teacher = tried(**{name: value})
            if found > ndcg:
                ndcg, best = found, teacher
        chosen[name] = best.settings[name]
    return HistoryScorer(best, exclude_seen=exclude_seen)


def _read_with(teacher: Fitted, decay: float | None) -> Fitted:
    """The same fitted numbers, for histories with another decay."""
    other = copy(teacher)
    other.settings = teacher.settings | {"decay": decay}
    return other
