"""Train a compressed student further, unless that makes it worse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfrs_distill.data.splits import Queries
from tfrs_distill.evaluation.retrieval import ModelScorer, evaluate
from tfrs_distill.models.two_tower import TwoTower

FineTune = Callable[[TwoTower], Any]


def fine_tune_unless_worse(
    student: TwoTower, fine_tune: FineTune, queries: Queries, *, k: int
) -> tuple[float, float, Any]:
    """Train a student in place; where its NDCG@k on `queries` falls, it gets its old weights back.

    Returns:
        The NDCG@k before, that of the weights it is left with, and what `fine_tune` returned.
    """
    before, weights = _ndcg(student, queries, k), student.get_weights()
    returned = fine_tune(student)
    after = _ndcg(student, queries, k)
    if not after >= before:  # NaN too
        student.set_weights(weights)
        after = before
    return before, after, returned


def _ndcg(student: TwoTower, queries: Queries, k: int) -> float:
    scorer = ModelScorer(student, exclude_seen=queries.catalogue.exclude_seen)
    return float(evaluate(scorer, queries, k=k).ndcg.mean())
