"""Any model, any split, the same numbers: what is recommended, and what is predicted."""

from tfrs_distill.evaluation.ranking import Difference, compare, evaluate_ranking
from tfrs_distill.evaluation.ranking_evaluation import RankingEvaluation, TaskEvaluation
from tfrs_distill.evaluation.retrieval import (
    Evaluation,
    ModelScorer,
    Scorer,
    TeacherScorer,
    ValidationNDCG,
    evaluate,
)
from tfrs_distill.evaluation.top_k import top_k_unseen

__all__ = [
    "Difference",
    "Evaluation",
    "ModelScorer",
    "RankingEvaluation",
    "Scorer",
    "TaskEvaluation",
    "TeacherScorer",
    "ValidationNDCG",
    "compare",
    "evaluate",
    "evaluate_ranking",
    "top_k_unseen",
]
