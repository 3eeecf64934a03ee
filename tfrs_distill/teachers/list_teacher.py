"""Scores of candidate lists by any teacher, and logits of ranking rows made from lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.query_batch import query_batch
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.data.row_blocks import row_blocks
from tfrs_distill.data.splits import pad_histories
from tfrs_distill.errors import InputError
from tfrs_distill.teachers.candidate_lists import RELEVANCE
from tfrs_distill.teachers.whole_number import check_whole_number


def list_scores(
    teacher: Any,
    histories: np.ndarray,
    candidate_lists: np.ndarray,
    users: np.ndarray | None = None,
) -> np.ndarray:
    """Return a teacher's scores of each history's own candidates, float32 [num_lists, k].

    A teacher that has `scores(histories, candidate_lists)`, such as a `BertCrossEncoder`, scores
    only these pairs. Any other computes its `logits` for all items of a block of lists.

    Args:
        teacher: has one of the two methods.
        histories: int [num_lists, any length], item indices, oldest first; 0 is no item.
        candidate_lists: int [num_lists, k], item indices; scores at index 0 are undefined.
        users: int [num_lists], for a teacher that identifies queries by `user_id`.
    """
    histories, lists = np.asarray(histories), np.asarray(candidate_lists)
    if hasattr(teacher, "scores"):
        return np.asarray(teacher.scores(histories, lists), np.float32)
    present = [history[history > columns.PADDING] for history in histories]
    windows = pad_histories(present, getattr(teacher, "max_history", histories.shape[1]))
    scores = np.zeros(lists.shape, np.float32)
    for rows in row_blocks(len(lists), len(np.unique(lists))):
        candidates = np.union1d(lists[rows][lists[rows] > columns.PADDING], [1])
        batch = query_batch(windows[rows], None if users is None else users[rows])
        logits = teacher.logits(batch, tf.constant(candidates, tf.int32))
        column = np.minimum(np.searchsorted(candidates, lists[rows]), len(candidates) - 1)
        scores[rows] = np.take_along_axis(np.asarray(logits), column, axis=1)
    return scores


class ListTeacher:
    """A re-ranking teacher for ranking examples made from candidate lists.

    Args:
        teacher: has `scores(histories, candidate_lists)`, such as a `BertCrossEncoder`, or
            `logits(batch, candidate_ids)`, as all teachers have.
        task: name of the task.
        batch_size: lists scored at a time.

    Raises:
        ValueError: the teacher has neither method.
    """

    def __init__(self, teacher: Any, *, task: str = RELEVANCE, batch_size: int = 64) -> None:
        if not (hasattr(teacher, "scores") or hasattr(teacher, "logits")):
            raise ValueError(
                "`teacher` must have `scores(histories, candidate_lists)` or `logits(batch, "
                f"candidate_ids)`. Received: {type(teacher).__name__}."
            )
        check_whole_number("batch_size", batch_size)
        self.teacher, self.task, self.batch_size = teacher, task, batch_size

    def row_logits(
        self, examples: RankingExamples, *, advance: Callable[[int], Any] | None = None
    ) -> dict[str, np.ndarray]:
        """Return the score of every row's item after the row's history, float32 [num_rows, 1].

        A row whose item is unknown (0) has NaN: no soft target.

        Args:
            examples: rows with `history` and `item_id`; a query's rows share their history.
            advance: called with the number of lists done since the last call.

        Raises:
            InputError: a feature is missing, or a query's rows have different histories.
        """
        histories, items = _history_and_item(examples)
        by_list = np.argsort(examples.queries, kind="stable")
        _, starts = np.unique(examples.queries[by_list], return_index=True)
        logits = np.zeros((len(examples), 1), np.float32)
        for first in range(0, len(starts), self.batch_size):
            these = starts[first : first + self.batch_size]
            end = [*starts, len(examples)][first + len(these)]
            rows = np.split(by_list[these[0] : end], these[1:] - these[0])
            present = np.arange(max(map(len, rows))) < np.array([[len(row)] for row in rows])
            lists = np.zeros(present.shape, np.int32)
            lists[present] = items[np.concatenate(rows)]
            firsts = [row[0] for row in rows]
            scores = list_scores(self.teacher, histories[firsts], lists, examples.users[firsts])
            logits[np.concatenate(rows), 0] = scores[present]
            if advance is not None:
                advance(len(rows))
        logits[items == columns.PADDING] = np.nan
        return {self.task: logits}


def _history_and_item(examples: RankingExamples) -> tuple[np.ndarray, np.ndarray]:
    missing = [n for n in (columns.HISTORY, columns.ITEM_ID) if n not in examples.features]
    if missing:
        raise InputError(
            f"Candidate lists need the features {columns.HISTORY!r} and {columns.ITEM_ID!r}. "
            f"Missing: {', '.join(missing)}."
        )
    histories, items = examples.features[columns.HISTORY], examples.features[columns.ITEM_ID]
    _, first, query = np.unique(examples.queries, return_index=True, return_inverse=True)
    other = (histories != histories[first][query]).any(axis=1)
    if other.any():
        row = int(np.argmax(other))
        raise InputError(
            f"The rows of query {examples.queries[row]} have different histories (row {row}). A "
            "candidate list belongs to one history."
        )
    return histories, items
