"""Towers: what teachers and students are built from.

A history encoder turns a history's item embeddings into one query embedding at every position. All
share one contract: `encoder(item_embeddings, mask, training) -> query_embeddings` with
`item_embeddings` float [batch_size, max_history, embedding_dim], `mask` bool
[batch_size, max_history] (true where there is an item, padding in front), and an output of the
first argument's shape whose position i has read positions 0 to i and no later one; and
`encoder.last(item_embeddings, mask)`, the last of these positions alone, as serving needs it.
"""

from tfrs_distill.towers.candidates import Candidates, CandidateSet
from tfrs_distill.towers.decayed_average import DecayedAverage
from tfrs_distill.towers.feed_forward import FeedForward
from tfrs_distill.towers.gated_item_tower import GatedItemTower
from tfrs_distill.towers.history_tower import HistoryTower
from tfrs_distill.towers.item_tower import ItemTower
from tfrs_distill.towers.modality import Modality
from tfrs_distill.towers.multi_task_model import MultiTaskModel
from tfrs_distill.towers.ranking_features import (
    HistoryFeature,
    IdFeature,
    ItemFeature,
    NeighbourFeature,
    NumberFeature,
    RankingFeature,
    TextFeature,
)
from tfrs_distill.towers.ranking_model import RankingModel
from tfrs_distill.towers.ranking_outputs import RankingOutputs
from tfrs_distill.towers.ranking_tasks import (
    Binary,
    NextItem,
    Ordinal,
    RankingTask,
    RatingDistribution,
    Regression,
)
from tfrs_distill.towers.recency_attention import RecencyAttention
from tfrs_distill.towers.student_outputs import StudentOutputs
from tfrs_distill.towers.task_balance import (
    FixedWeights,
    GradientNormWeights,
    TaskBalance,
    UncertaintyWeights,
)
from tfrs_distill.towers.two_tower import TwoTower

__all__ = [
    "Binary",
    "CandidateSet",
    "Candidates",
    "DecayedAverage",
    "FeedForward",
    "FixedWeights",
    "GatedItemTower",
    "GradientNormWeights",
    "HistoryFeature",
    "HistoryTower",
    "IdFeature",
    "ItemFeature",
    "ItemTower",
    "Modality",
    "MultiTaskModel",
    "NextItem",
    "NeighbourFeature",
    "NumberFeature",
    "Ordinal",
    "RankingFeature",
    "RankingModel",
    "RankingOutputs",
    "RankingTask",
    "RatingDistribution",
    "RecencyAttention",
    "Regression",
    "StudentOutputs",
    "TaskBalance",
    "TextFeature",
    "TwoTower",
    "UncertaintyWeights",
]
