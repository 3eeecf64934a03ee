"""Features, encoders, towers and tasks, and the models of them: students, two-tower models.

A history encoder turns a history's item embeddings into one query embedding at every position. All
share one contract: `encoder(item_embeddings, mask, training) -> query_embeddings` with
`item_embeddings` float [batch_size, max_history, embedding_dim], `mask` bool
[batch_size, max_history] (true where there is an item, padding in front), and an output of the
first argument's shape whose position i has read positions 0 to i and no later one; and
`encoder.last(item_embeddings, mask)`, the last of these positions alone, as serving needs it.
"""

from tfrs_distill.models.candidates import Candidates
from tfrs_distill.models.encoders.decayed_average import DecayedAverage
from tfrs_distill.models.encoders.recency_attention import RecencyAttention
from tfrs_distill.models.features import (
    HistoryFeature,
    IdFeature,
    ItemFeature,
    NeighbourFeature,
    NumberFeature,
    TextFeature,
)
from tfrs_distill.models.history_tower import HistoryTower
from tfrs_distill.models.item_tower import ItemTower
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.ranking_student import RankingStudent
from tfrs_distill.models.retrieval_student import RetrievalStudent
from tfrs_distill.models.task_balance import FixedWeights, GradientNormWeights, UncertaintyWeights
from tfrs_distill.models.tasks import Binary, NextItem, Ordinal, RatingDistribution, Regression
from tfrs_distill.models.two_stage_student import TwoStageStudent
from tfrs_distill.models.two_tower import TwoTower
from tfrs_distill.models.warm_start import warm_start

__all__ = [
    "Binary",
    "Candidates",
    "DecayedAverage",
    "FixedWeights",
    "GradientNormWeights",
    "HistoryFeature",
    "HistoryTower",
    "IdFeature",
    "ItemFeature",
    "ItemTower",
    "NextItem",
    "NeighbourFeature",
    "NumberFeature",
    "Ordinal",
    "RankingModel",
    "RankingStudent",
    "RatingDistribution",
    "RecencyAttention",
    "Regression",
    "RetrievalStudent",
    "TextFeature",
    "TwoStageStudent",
    "TwoTower",
    "UncertaintyWeights",
    "warm_start",
]
