"""Features, encoders, towers and tasks, and the models of them: students, two-tower models.

A history encoder turns a history's item embeddings into one query embedding at every position. All
share one contract: `encoder(item_embeddings, mask, training) -> query_embeddings` with
`item_embeddings` float [batch_size, max_history, embedding_dim], `mask` bool
[batch_size, max_history] (true where there is an item, padding in front), and an output of the
first argument's shape whose position i has read positions 0 to i and no later one; and
`encoder.last(item_embeddings, mask)`, the last of these positions alone, as serving needs it.
"""

from tfrs_distill.models.candidates import Candidates, CandidateSet
from tfrs_distill.models.classifier import Classifier
from tfrs_distill.models.encoders.decayed_average import DecayedAverage
from tfrs_distill.models.encoders.feed_forward import FeedForward
from tfrs_distill.models.encoders.recency_attention import RecencyAttention
from tfrs_distill.models.features import (
    HistoryFeature,
    IdFeature,
    ItemFeature,
    NeighbourFeature,
    NumberFeature,
    RankingFeature,
    TextFeature,
)
from tfrs_distill.models.gated_item_tower import GatedItemTower
from tfrs_distill.models.history_tower import HistoryTower
from tfrs_distill.models.item_tower import ItemTower
from tfrs_distill.models.modality import Modality
from tfrs_distill.models.multi_task_model import MultiTaskModel
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.ranking_student import RankingStudent
from tfrs_distill.models.retrieval_student import RetrievalStudent
from tfrs_distill.models.student_outputs import StudentOutputs
from tfrs_distill.models.task_balance import (
    FixedWeights,
    GradientNormWeights,
    TaskBalance,
    UncertaintyWeights,
)
from tfrs_distill.models.tasks import (
    Binary,
    NextItem,
    Ordinal,
    RankingTask,
    RatingDistribution,
    Regression,
)
from tfrs_distill.models.tfrs_ranking_student import TFRSRankingStudent
from tfrs_distill.models.tfrs_student import TFRSStudent
from tfrs_distill.models.two_tower import TwoTower

__all__ = [
    "Binary",
    "CandidateSet",
    "Candidates",
    "Classifier",
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
    "RankingStudent",
    "RankingTask",
    "RatingDistribution",
    "RecencyAttention",
    "Regression",
    "RetrievalStudent",
    "StudentOutputs",
    "TFRSRankingStudent",
    "TFRSStudent",
    "TaskBalance",
    "TextFeature",
    "TwoTower",
    "UncertaintyWeights",
]
