"""The catalogue of the second of two stages."""

from __future__ import annotations

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.errors import InputError
from tfrs_distill.models.features import ItemFeature, NeighbourFeature
from tfrs_distill.models.ranking_model import RankingModel


def check_second_stage(student: RankingModel, catalogue: Catalogue) -> None:
    """Raise if a ranking student has another number of items than the catalogue.

    Raises:
        InputError: it has.
    """
    parts = [*student.table_features, *student.features]
    of_items = [part for part in parts if isinstance(part, (ItemFeature, NeighbourFeature))]
    for feature in of_items:
        if feature.num_items != catalogue.num_items:
            raise InputError(
                f"The ranking student has {feature.num_items} items, but the catalogue has "
                f"{catalogue.num_items}. Give the catalogue that both students were trained on."
            )
