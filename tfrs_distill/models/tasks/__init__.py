"""Tasks of a ranking model: the labels of a row, its logits and its loss."""

from tfrs_distill.models.tasks.binary import Binary
from tfrs_distill.models.tasks.next_item import NextItem
from tfrs_distill.models.tasks.ordinal import Ordinal
from tfrs_distill.models.tasks.rating_distribution import RatingDistribution
from tfrs_distill.models.tasks.regression import Regression
from tfrs_distill.models.tasks.task import RankingTask

__all__ = [
    "Binary",
    "NextItem",
    "Ordinal",
    "RankingTask",
    "RatingDistribution",
    "Regression",
]
