"""Recommend in two stages: the first finds candidates, the second orders them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.splits import pad_histories
from tfrs_distill.evaluation.retrieval import ModelScorer, Scorer
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.two_stage_student import TwoStageStudent
from tfrs_distill.serving.rerank import rerank

ROWS_AT_A_TIME = 8192
Scores = Callable[
    [np.ndarray, np.ndarray], np.ndarray
]  # histories, candidates: [n, num_candidates]


class TwoStages:
    """A scorer: the first stage finds `num_candidates`, the second orders them.

    `score = second + retrieval_weight * first`, as a `TwoStageStudent` has it.

    Args:
        first: the first stage.
        second: `second(histories, candidates) -> [n, num_candidates]`.
        num_candidates: how many are found.
        retrieval_weight: of the first stage's score.
    """

    def __init__(
        self, first: Scorer, second: Scores, num_candidates: int, retrieval_weight: float = 0.0
    ) -> None:
        self.first, self.second = first, second
        self.num_candidates, self.retrieval_weight = num_candidates, retrieval_weight

    @classmethod
    def of(cls, student: TwoStageStudent, *, exclude_seen: bool = True) -> TwoStages:
        """The scorer of both students; `exclude_seen` as in `ModelScorer`."""
        return cls(
            ModelScorer(student.retrieval_student, exclude_seen=exclude_seen),
            ranking_scores(student.ranking_student, student.task),
            student.num_candidates,
            student.retrieval_weight,
        )

    def __call__(self, histories: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Recommend `k` items after each history."""
        first, candidates = self.first(histories, max(self.num_candidates, k))
        second = self.second(pad_histories(list(histories)), candidates)
        return rerank(second, first, candidates, weight=self.retrieval_weight, k=k)


def ranking_scores(student: RankingModel, task: str) -> Scores:
    """A ranking student's prediction of every candidate of every history, which has no ratings."""
    predict = tf.function(lambda batch: student.predictions(batch)[task], reduce_retracing=True)

    def scores(histories: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        max_history = max(getattr(feature, "max_history", 1) for feature in student.features)
        latest = pad_histories(list(histories), max_history)
        num_queries, num_candidates = candidates.shape
        at_a_time = max(1, ROWS_AT_A_TIME // num_candidates)
        found = []
        for start in range(0, num_queries, at_a_time):
            lists = candidates[start : start + at_a_time]
            history = np.repeat(latest[start : start + at_a_time], num_candidates, axis=0)
            batch = {
                columns.HISTORY: history,
                columns.HISTORY_RATINGS: np.zeros(history.shape, np.float32),
                columns.ITEM_ID: lists.reshape(-1).astype(np.int32),
            }
            predictions = predict({n: tf.constant(batch[n]) for n in student.input_columns})
            found.append(predictions.numpy().reshape(lists.shape))
        return np.concatenate(found)

    return scores
