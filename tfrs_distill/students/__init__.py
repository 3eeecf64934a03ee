"""Students: the small models that learn, alone as a twin or from a teacher."""

from tfrs_distill.students.classifier import Classifier
from tfrs_distill.students.ranking_student import RankingStudent
from tfrs_distill.students.retrieval_student import RetrievalStudent
from tfrs_distill.students.tfrs_ranking_student import TFRSRankingStudent
from tfrs_distill.students.tfrs_student import TFRSStudent
from tfrs_distill.towers.candidates import Candidates

__all__ = [
    "Candidates",
    "Classifier",
    "RankingStudent",
    "RetrievalStudent",
    "TFRSRankingStudent",
    "TFRSStudent",
]
