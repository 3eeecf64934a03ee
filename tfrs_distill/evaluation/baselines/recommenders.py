"""Recommenders without gradient training: popularity, and closed-form teachers."""

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

# Values that the `best_` functions try, one setting after the other, from the middle value.
EASE_GRID = {"decay": (4.0, 8.0, 16.0, 32.0, None), "l2": (300.0, 1000.0, 3000.0)}
RIDGE_GRID = {"decay": (4.0, 8.0, 16.0, 32.0, None), "l2": (1000.0, 3000.0, 10000.0)}
ALS_GRID = {
    "decay": (3.0, 4.0, 6.0, 12.0, None),
    "l2": (10.0, 20.0, 40.0),
    "confidence": (2.0, 4.0, 8.0),
}
MAX_ITEMS_OF_EASE = 15_000  # in a report: a matrix of this size squared takes 1.8 GB


def popularity(train: Windows) -> Scorer:
    """Return a scorer that ranks items by their number of training users."""
    counts = np.sum([matrix.sum(axis=0) for matrix in user_item_blocks(train)], axis=0)
    return ConstantScorer(counts, train.catalogue.exclude_seen)


class ConstantScorer(BlockScorer):
    """A scorer with the same scores for all users, float32 [num_items + 1]."""

    def __init__(self, scores: np.ndarray, exclude_seen: bool) -> None:
        self.scores, self.exclude_seen = scores, exclude_seen
        self.num_items = len(scores) - 1

    def _score_items(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        return np.broadcast_to(self.scores, (len(histories), len(self.scores)))


class HistoryScorer(BlockScorer):
    """A scorer for a teacher that reads histories.

    Args:
        teacher: a closed-form teacher.
        max_history: number of a query's last items that it reads; None for all, even if the
            training windows are shorter.
        exclude_seen: whether items in the history are excluded, see `Catalogue.exclude_seen`.
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
        """Number of parameters of the teacher."""
        return self.teacher.num_parameters

    def _score_items(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        padded = pad_histories(list(histories), self.max_history)
        items = tf.range(self.num_items + 1)
        scores: np.ndarray = self.teacher.logits_after(tf.constant(padded), items).numpy()
        return scores


class EASE(HistoryScorer):
    """Closed-form item-item model (EASE), optionally with time decay.

    With X the 0/1 user-item matrix, `P = (X'X + l2 I)^-1` and `B_ij = -P_ij / P_jj` off the
    diagonal, 0 on it. The score of an item is the sum of its weights from the items of the history.
    With `decay`, recent items have more weight: `exp(-age / decay)`, where the age is the number of
    later items in the history (for repeated interactions, after the last one). The attribute
    `teacher` is the same model as a teacher, an `ItemItemTeacher`.

    Reference: [Steck, 2019](https://arxiv.org/abs/1905.03375).

    Args:
        train: training windows.
        l2: regularisation, above 0.
        decay: in number of items, above 0; None for equal weights.

    Raises:
        ValueError: `l2` or `decay` is not above 0.
    """

    def __init__(self, train: Windows, *, l2: float = 300.0, decay: float | None = None) -> None:
        teacher = ItemItemTeacher(train, l2=l2, decay=decay)
        super().__init__(teacher, exclude_seen=train.catalogue.exclude_seen)


def best_ease(splits: Splits, k: int, *, reads_order: bool = True) -> HistoryScorer:
    """Return EASE with the decay and `l2` of `EASE_GRID` with the best NDCG@k on validation.

    If `reads_order` is False there is no decay: all items of a history have equal weight.
    """

    @lru_cache(maxsize=1)
    def solved(l2: float) -> ItemItemTeacher:
        return ItemItemTeacher(splits.train, l2=l2)

    grid = _grid(EASE_GRID, reads_order)
    return _best(lambda decay, l2: _read_with(solved(l2), decay), grid, splits, k)


def best_next_item_ridge(splits: Splits, k: int, *, reads_order: bool = True) -> HistoryScorer:
    """Return the scorer of the best `NextItemRidgeTeacher` of `RIDGE_GRID` on validation.

    Selected by NDCG@k; without decay if `reads_order` is False. The same holds for `best_als`.
    """
    return _best(
        lambda decay, l2: NextItemRidgeTeacher(splits.train, l2=l2, decay=decay),
        _grid(RIDGE_GRID, reads_order),
        splits,
        k,
    )


def best_als(splits: Splits, k: int, *, reads_order: bool = True) -> HistoryScorer:
    """Return the scorer of the best `ALSTeacher` of `ALS_GRID` on validation.

    Histories are cut to the length of the training windows: the time grows with their square.

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
    """Return the values to try: no decay if the order of a history has no meaning."""
    return grid if reads_order else {**grid, "decay": (None,)}


def _best(
    make: Callable[..., HistoryTeacher],
    grid: Mapping[str, Sequence[Any]],
    splits: Splits,
    k: int,
    *,
    max_history: int | None = None,
) -> HistoryScorer:
    """Return the best on validation by coordinate search: one setting at a time.

    All settings start at the middle of their values. A full grid would solve several times as many
    systems for differences within the noise of validation.
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
    """Return a teacher with the same fitted parameters and another decay."""
    other = copy(teacher)
    other.settings = teacher.settings | {"decay": decay}
    return other
