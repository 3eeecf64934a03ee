"""The inputs that a `Recommender` can provide to the second of two stages."""

from __future__ import annotations

from tfrs_distill import columns
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.errors import InputError
from tfrs_distill.export.ranking_columns import sides_of
from tfrs_distill.models.features import ITEM, QUERY, ItemFeature, NeighbourFeature
from tfrs_distill.models.ranking_model import RankingModel

KNOWN_OF_A_QUERY = (columns.HISTORY, columns.HISTORY_RATINGS)
KNOWN_OF_AN_ITEM = (columns.ITEM_ID,)


def check_second_stage(student: RankingModel, catalogue: Catalogue) -> None:
    """Raise if a `Recommender` cannot provide the ranking student's inputs.

    Raises:
        InputError: the student reads a column that is neither in a history nor in the catalogue, or
            has another number of items.
    """
    sides = sides_of(student.features)
    for side, known in ((QUERY, KNOWN_OF_A_QUERY), (ITEM, KNOWN_OF_AN_ITEM)):
        read = [name for name, whose in sides.items() if whose == side]
        odd = [name for name in read if name not in known]
        if odd or known[0] not in read:
            raise InputError(
                f"After a retrieval student a{'n' * (side == ITEM)} {side} has only the columns "
                f"{' and '.join(known)}, and a ranking student must read {known[0]}. Received: one "
                f"that reads {', '.join(odd or read) or 'nothing'} of it. Train one on these "
                "columns alone, or rank with `Ranker`, which takes any."
            )
    parts = [*student.table_features, *student.features]
    of_items = [part for part in parts if isinstance(part, (ItemFeature, NeighbourFeature))]
    for feature in of_items:
        if feature.num_items != catalogue.num_items:
            raise InputError(
                f"The ranking student has {feature.num_items} items, but the catalogue has "
                f"{catalogue.num_items}. Give the catalogue that both students were trained on."
            )
