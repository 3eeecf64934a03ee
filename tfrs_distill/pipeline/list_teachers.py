"""The teachers of a second stage: what orders the candidates that a first stage finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfrs_distill import columns
from tfrs_distill.teachers.list_teacher import list_scores

FLAT = 1e-6  # a deviation that float32 cannot tell from none


class Committee:
    """Several re-ranking teachers: their scores, standardised within each list, added.

    `score_i = sum over the teachers of (s_i - mean(s)) / std(s)`, mean and standard deviation over
    the list's items; a teacher that says the same of all of them counts 0.

    Args:
        teachers: re-ranking teachers, as `list_scores` takes them.
    """

    def __init__(self, teachers: Sequence[Any]) -> None:
        self.teachers = list(teachers)

    def scores(self, histories: np.ndarray, candidate_lists: np.ndarray) -> np.ndarray:
        """Float32 [n, k]; what an index of 0 gets means nothing."""
        there = np.asarray(candidate_lists) > columns.PADDING
        lists, total = np.nonzero(there)[0], np.zeros(there.shape, np.float32)
        for teacher in self.teachers:
            scores = list_scores(teacher, histories, candidate_lists)
            total[there] += standardised(scores[there], lists)
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
