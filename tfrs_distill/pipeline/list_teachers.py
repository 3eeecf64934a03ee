"""The teachers of a second stage: they rank the candidates of a first stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfrs_distill import columns
from tfrs_distill.teachers.list_teacher import list_scores

FLAT = 1e-6  # a deviation that float32 cannot distinguish from 0


class Committee:
    """Several re-ranking teachers: the sum of their scores, standardised within each list.

    `score_i = sum over the teachers of (s_i - mean(s)) / std(s)`, mean and standard deviation over
    the list's items; a teacher with equal scores for all of them contributes 0.

    Args:
        teachers: re-ranking teachers, as `list_scores` takes them.
    """

    def __init__(self, teachers: Sequence[Any]) -> None:
        self.teachers = list(teachers)

    def scores(self, histories: np.ndarray, candidate_lists: np.ndarray) -> np.ndarray:
        """Return float32 [n, k]; the scores of index 0 have no meaning."""
        there = np.asarray(candidate_lists) > columns.PADDING
        lists, total = np.nonzero(there)[0], np.zeros(there.shape, np.float32)
        for teacher in self.teachers:
            scores = list_scores(teacher, histories, candidate_lists)
            total[there] += standardised(scores[there], lists)
        return total


def standardised(scores: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Standardise scores to mean 0 and variance 1 within each query; 0 if all are equal.

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
