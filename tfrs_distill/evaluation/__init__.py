"""Any model, any split, the same numbers: what is recommended, and what is predicted."""

from tfrs_distill.evaluation.ranking import compare, evaluate_ranking
from tfrs_distill.evaluation.retrieval import Scorer, ValidationNDCG, evaluate

__all__ = [
    "Scorer",
    "ValidationNDCG",
    "compare",
    "evaluate",
    "evaluate_ranking",
]
