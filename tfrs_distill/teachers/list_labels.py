"""What a re-ranking teacher says about the candidate lists of a first stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError
from tfrs_distill.teachers.candidate_lists import RELEVANCE, CandidateLists, list_examples
from tfrs_distill.teachers.whole_number import check_whole_number


class ListTeacher:
    """A re-ranking teacher that answers for ranking examples made of candidate lists.

    Args:
        teacher: has `scores(histories, candidate_lists)`, as a `BertCrossEncoder`, or answers
            `logits(batch, candidate_ids)`, as any teacher.
        task: name of the task.
        batch_size: lists asked about at a time.

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

    def answers(
        self, examples: RankingExamples, *, advance: Callable[[int], Any] | None = None
    ) -> dict[str, np.ndarray]:
        """The teacher's score of every row's item after the row's history: [num_rows, 1].

        A row whose item is unknown, 0, is one of which it says nothing: NaN.

        Args:
            examples: rows with `history` and `item_id`; a query's rows share their history.
            advance: called with the number of lists done since the last call.

        Raises:
            InputError: a feature is missing, or a query's rows have different histories.
        """
        histories, items = _history_and_item(examples)
        by_list = np.argsort(examples.queries, kind="stable")
        _, starts = np.unique(examples.queries[by_list], return_index=True)
        said = np.zeros((len(examples), 1), np.float32)
        for first in range(0, len(starts), self.batch_size):
            these = starts[first : first + self.batch_size]
            end = [*starts, len(examples)][first + len(these)]
            rows = np.split(by_list[these[0] : end], these[1:] - these[0])
            place = np.arange(max(map(len, rows)))
            there = place < np.array([[len(own)] for own in rows])
            lists = np.zeros(there.shape, np.int32)
            lists[there] = items[np.concatenate(rows)]
            firsts = [own[0] for own in rows]
            scores = self._scores(examples.users[firsts], histories[firsts], lists)
            said[np.concatenate(rows), 0] = scores[there]
            if advance is not None:
                advance(len(rows))
        said[items == columns.PADDING] = np.nan
        return {self.task: said}

    def _scores(self, users: np.ndarray, histories: np.ndarray, lists: np.ndarray) -> np.ndarray:
        """Float [num_lists, k]; what stands where a list has no item means nothing."""
        if hasattr(self.teacher, "scores"):
            return np.asarray(self.teacher.scores(histories, lists))
        asked = np.union1d(lists[lists > columns.PADDING], [1])
        pressed = np.argsort(histories > columns.PADDING, axis=1, kind="stable")  # 0 in front
        histories = np.take_along_axis(histories, pressed, axis=1)
        labels = np.zeros_like(histories)
        labels[:, -1] = 1  # marks the row; the same everywhere, so that it gives nothing away
        batch = {
            columns.USER_ID: tf.constant(users),
            columns.HISTORY: tf.constant(histories),
            columns.LABELS: tf.constant(labels),
        }
        table = np.asarray(self.teacher.logits(batch, tf.constant(asked, tf.int32)))
        column = np.minimum(np.searchsorted(asked, lists), len(asked) - 1)
        return np.take_along_axis(table, column, axis=1)


def cross_encoder_lists(
    cross_encoder: Any,
    lists: CandidateLists,
    catalogue: Catalogue,
    *,
    task: str = RELEVANCE,
    batch_size: int = 64,
    advance: Callable[[int], Any] | None = None,
) -> RankingExamples:
    """Candidate lists as ranking examples, labelled by a re-ranking teacher.

    Args:
        cross_encoder: the teacher, as in `ListTeacher`.
        lists: from `first_stage_lists`, or made by hand.
        catalogue: the items.
        task: name of the task.
        batch_size: lists asked about at a time.
        advance: called with the number of lists done since the last call.

    Raises:
        InputError: as `list_examples`.
    """
    examples = list_examples(lists, catalogue, task=task)
    teacher = ListTeacher(cross_encoder, task=task, batch_size=batch_size)
    return examples.with_teacher(teacher.answers(examples, advance=advance))


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
