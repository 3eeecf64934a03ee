"""Evaluation of any model on any split: metrics of ranked lists and of predicted rows."""

from tfrs_distill.evaluation.ranking import compare, evaluate_ranking
from tfrs_distill.evaluation.retrieval import Scorer, ValidationNDCG, evaluate

__all__ = [
    "Scorer",
    "ValidationNDCG",
    "compare",
    "evaluate",
    "evaluate_ranking",
]
