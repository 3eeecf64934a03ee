"""The teachers of a second stage: what orders the candidates that a first stage finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.row_blocks import row_blocks
from tfrs_distill.models import RetrievalStudent, TwoTower

FLAT = 1e-6  # a deviation that float32 cannot tell from none


class FirstStage:
    """The retrieval student as the teacher whose best items a cross-encoder learns to order.

    Args:
        student: the retrieval student.
        made_from: the fingerprint of the stage that trained it.
    """

    def __init__(self, student: RetrievalStudent, made_from: str) -> None:
        self.student, self.made_from = student, made_from

    def logits(self, batch: dict[str, tf.Tensor], candidate_ids: tf.Tensor) -> tf.Tensor:
        """Its logits, float32 [num_rows, num_candidates]."""
        return self.student.logits(batch, candidate_ids)

    def fingerprint(self) -> str:
        """What it was made from."""
        return self.made_from


class FirstAndCross:
    """The cross-encoder's scores with the first stage's beside them, as in a `Reranker`.

    `score = cross + first_stage_weight * first`.

    Args:
        first: the first stage.
        cross_encoder: answers `scores(histories, candidate_lists)`.
        first_stage_weight: how much the first stage still says about the order.
    """

    def __init__(self, first: TwoTower, cross_encoder: Any, first_stage_weight: float) -> None:
        self.first, self.cross_encoder = first, cross_encoder
        self.first_stage_weight = first_stage_weight
        self.items = np.asarray(first.catalogue_embeddings(), np.float32)

    def scores(self, histories: np.ndarray, candidate_lists: np.ndarray) -> np.ndarray:
        """Float32 [n, k]; what an index of 0 gets means nothing."""
        crossed = np.asarray(self.cross_encoder.scores(histories, candidate_lists))
        latest = np.asarray(histories)[:, -self.first.max_history :]
        first = np.zeros(crossed.shape, np.float32)
        for rows in row_blocks(len(first), first.shape[1] * self.items.shape[1]):
            queries = np.asarray(self.first.encode_histories(tf.constant(latest[rows], tf.int32)))
            items = self.items[candidate_lists[rows]]
            first[rows] = np.einsum("nd,nkd->nk", queries, items)
        return crossed + self.first_stage_weight * first


class Committee:
    """Several re-ranking teachers: their scores, standardised within each list, added.

    `score_i = sum over the teachers of (s_i - mean(s)) / std(s)`, mean and standard deviation over
    the list's items; a teacher that says the same of all of them counts 0.

    Args:
        teachers: each answers `scores(histories, candidate_lists)`.
    """

    def __init__(self, teachers: Sequence[Any]) -> None:
        self.teachers = list(teachers)

    def scores(self, histories: np.ndarray, candidate_lists: np.ndarray) -> np.ndarray:
        """Float32 [n, k]; what an index of 0 gets means nothing."""
        there = np.asarray(candidate_lists) > columns.PADDING
        lists, total = np.nonzero(there)[0], np.zeros(there.shape, np.float32)
        for teacher in self.teachers:
            said = np.asarray(teacher.scores(histories, candidate_lists))
            total[there] += standardised(said[there], lists)
        return total


def standardised(scores: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Scores with mean 0 and variance 1 within each query's rows; 0 where all are the same.

    Example:
    >>> standardised(np.array([1.0, 3.0, 9.0, 9.0]), np.array([4, 4, 5, 5])).tolist()
    [-1.0, 1.0, 0.0, 0.0]
    """
    _, lists = np.unique(queries, return_inverse=True)
    scores, number = np.asarray(scores, np.float64), np.bincount(lists)
    mean = np.bincount(lists, scores) / number
    centred = scores - mean[lists]
    deviation = np.sqrt(np.bincount(lists, centred**2) / number)
    deviation[deviation <= FLAT * (1.0 + np.abs(mean))] = np.inf
    return (centred / deviation[lists]).astype(np.float32)
