"""Two students as one: the first retrieves candidates, the second ranks them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfrs_distill import columns
from tfrs_distill.errors import InputError
from tfrs_distill.models.features import ITEM, QUERY
from tfrs_distill.models.ranking_model import RankingModel

HISTORY_AND_ITEM = {(columns.HISTORY, QUERY), (columns.ITEM_ID, ITEM)}  # columns and their sides


class TwoStageStudent:
    """A retrieval student that retrieves candidates, and a ranking student that ranks them.

    `num_candidates` items are retrieved and ranked by

    `score = prediction of the task + retrieval_weight * retrieval score`

    The two students are trained separately. `td.compress` compresses them together, and `td.export`
    exports them as one artefact, like any other student.

    Reference: [Covington et al., 2016](https://doi.org/10.1145/2959100.2959190).

    Args:
        retrieval_student: retrieves the candidates.
        ranking_student: ranks them; it reads a history and an item.
        num_candidates: number of items that are retrieved and ranked; the most that a query gets.
        task: the ranking student's task that is used; not needed if it has only one.
        retrieval_weight: weight of the retrieval score (a logit) relative to the prediction in the
            task's unit. With 0 the ranking student alone decides the order.

    Raises:
        InputError: the ranking student is not made of features, reads other columns or has no such
            task, or a number is out of its range.

    Example:
    >>> from tfrs_distill.models import Binary, HistoryFeature, ItemFeature, RankingStudent
    >>> from tfrs_distill.models import RetrievalStudent
    >>> retrieval = RetrievalStudent.from_history(num_items=50, max_history=5, embedding_dim=8)
    >>> item = ItemFeature(50, 8)
    >>> features = [item, HistoryFeature(item, 5, reads_ratings=False)]
    >>> ranking = RankingStudent(features, [Binary("like")], hidden_units=(8,))
    >>> TwoStageStudent(retrieval, ranking, num_candidates=20).task
    'like'
    """

    def __init__(
        self,
        retrieval_student: Any,
        ranking_student: RankingModel,
        *,
        num_candidates: int = 100,
        task: str | None = None,
        retrieval_weight: float = 0.0,
    ) -> None:
        if not isinstance(ranking_student, RankingModel):
            raise InputError(
                "The second stage must be a ranking student made of features. "
                f"Received: {type(ranking_student).__name__}."
            )
        read = {pair for part in ranking_student.features for pair in part.column_sides.items()}
        if not HISTORY_AND_ITEM <= read <= HISTORY_AND_ITEM | {(columns.HISTORY_RATINGS, QUERY)}:
            received = ", ".join(f"{name} of the {side}" for name, side in sorted(read))
            raise InputError(
                "After a retrieval student a ranking student can read only the columns "
                f"{columns.HISTORY} and {columns.HISTORY_RATINGS} of the query and "
                f"{columns.ITEM_ID} of the item, and must read {columns.HISTORY} and "
                f"{columns.ITEM_ID}. Received: one that reads {received}. Train one on these "
                "columns alone, or rank with `Ranker`, which takes any."
            )
        tasks = list(ranking_student.tasks)
        if task not in tasks and (task is not None or len(tasks) > 1):
            raise InputError(
                f"`task` must be one of the ranking student's: {', '.join(tasks)}. Received: "
                f"task={task!r}."
            )
        if num_candidates < 1:
            raise InputError(f"`num_candidates` must be at least 1. Received: {num_candidates!r}.")
        if not math.isfinite(retrieval_weight):
            raise InputError(f"`retrieval_weight` must be finite. Received: {retrieval_weight!r}.")
        self.retrieval_student, self.ranking_student = retrieval_student, ranking_student
        self.num_candidates = num_candidates
        self.task: str = tasks[0] if task is None else task
        self.retrieval_weight = float(retrieval_weight)

    @property
    def num_items(self) -> int:
        """Number of items in the catalogue."""
        return int(self.retrieval_student.num_items)

    @property
    def num_parameters(self) -> int:
        """Number of parameters of both students."""
        return int(self.retrieval_student.num_parameters + self.ranking_student.num_parameters)

    def with_students(self, retrieval_student: Any, ranking_student: RankingModel) -> Any:
        """Return a copy with other students and the same settings."""
        return type(self)(
            retrieval_student,
            ranking_student,
            num_candidates=self.num_candidates,
            task=self.task,
            retrieval_weight=self.retrieval_weight,
        )

    def fingerprint(self) -> str:
        """Return the sha256 of everything that decides the recommendations."""
        of_both = [s.fingerprint() for s in (self.retrieval_student, self.ranking_student)]
        facts = [*of_both, self.num_candidates, self.task, self.retrieval_weight]
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    def get_weights(self) -> list[np.ndarray]:
        """Return what training changes: both students' weights, and `retrieval_weight`."""
        return [
            *self.retrieval_student.get_weights(),
            *self.ranking_student.get_weights(),
            np.array(self.retrieval_weight),
        ]

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Set the weights that `get_weights` returned."""
        *of_both, retrieval_weight = weights
        number = len(self.retrieval_student.weights)
        self.retrieval_student.set_weights(of_both[:number])
        self.ranking_student.set_weights(of_both[number:])
        self.retrieval_weight = float(retrieval_weight)
