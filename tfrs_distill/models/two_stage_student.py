"""Two students as one: the first retrieves, the second ranks what it found."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfrs_distill.errors import InputError
from tfrs_distill.models.ranking_model import RankingModel


class TwoStageStudent:
    """A retrieval student that finds items, and a ranking student that orders them.

    `num_candidates` items are retrieved and ordered by

    `score = prediction of the task + retrieval_weight * retrieval score`

    Each is trained by itself. Together they are compressed by `td.compress`, and exported as one
    artefact by `td.export`, as any other student.

    Reference: [Covington et al., 2016](https://doi.org/10.1145/2959100.2959190).

    Args:
        retrieval_student: finds the candidates.
        ranking_student: orders them; it reads a history and an item.
        num_candidates: how many items are retrieved and ranked; a query gets at most so many.
        task: which of the ranking student's predictions counts; not needed where there is one.
        retrieval_weight: how much a unit of the retrieval score, a logit, counts in the task's
            unit. 0 leaves the order to the ranking student.

    Raises:
        InputError: the ranking student is not made of features or has no such task, or a number is
            not usable.

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
        """Items of the catalogue."""
        return int(self.retrieval_student.num_items)

    @property
    def num_parameters(self) -> int:
        """Those of both students."""
        return int(self.retrieval_student.num_parameters + self.ranking_student.num_parameters)

    def with_students(self, retrieval_student: Any, ranking_student: RankingModel) -> Any:
        """Other students that work together as these do."""
        return type(self)(
            retrieval_student,
            ranking_student,
            num_candidates=self.num_candidates,
            task=self.task,
            retrieval_weight=self.retrieval_weight,
        )

    def fingerprint(self) -> str:
        """Return the sha256 of all that decides what is recommended."""
        of_both = [s.fingerprint() for s in (self.retrieval_student, self.ranking_student)]
        facts = [*of_both, self.num_candidates, self.task, self.retrieval_weight]
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    def get_weights(self) -> list[np.ndarray]:
        """Return what training changes: the weights of both, and that of the retrieval score."""
        return [
            *self.retrieval_student.get_weights(),
            *self.ranking_student.get_weights(),
            np.array(self.retrieval_weight),
        ]

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Take what `get_weights` returned."""
        *of_both, retrieval_weight = weights
        number = len(self.retrieval_student.weights)
        self.retrieval_student.set_weights(of_both[:number])
        self.ranking_student.set_weights(of_both[number:])
        self.retrieval_weight = float(retrieval_weight)
