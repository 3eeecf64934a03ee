"""Features of the rows of a ranking model, one layer per feature.

A feature reads one or more columns of the batch and returns `float [num_rows, dim]`. It belongs to
the query (the user, the time, the history) or to the item; for several items of one query, the
query's features are computed once. `NeighbourFeature` reads both sides, for each item.
"""

from tfrs_distill.models.features.feature import ITEM, QUERY, RankingFeature
from tfrs_distill.models.features.history_feature import HistoryFeature
from tfrs_distill.models.features.id_feature import IdFeature
from tfrs_distill.models.features.item_feature import ItemFeature
from tfrs_distill.models.features.neighbour_feature import NeighbourFeature
from tfrs_distill.models.features.number_feature import NumberFeature
from tfrs_distill.models.features.text_feature import TextFeature

__all__ = [
    "ITEM",
    "QUERY",
    "HistoryFeature",
    "IdFeature",
    "ItemFeature",
    "NeighbourFeature",
    "NumberFeature",
    "RankingFeature",
    "TextFeature",
]
