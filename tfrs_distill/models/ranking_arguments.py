"""What a ranking model is made of, checked before any weight is."""

from __future__ import annotations

from collections.abc import Sequence

from tfrs_distill.models.features import HistoryFeature, ItemFeature, RankingFeature
from tfrs_distill.models.tasks import NextItem


def check_network(
    features: Sequence[RankingFeature],
    num_cross_layers: int,
    projection_dim: int | None,
    hidden_units: Sequence[int],
) -> None:
    """Raises a ValueError where a network cannot be built of this, see `RankingModel`."""
    parts = {id(feature): feature for feature in features}
    parts |= {
        id(feature.item_feature): feature.item_feature
        for feature in features
        if isinstance(feature, HistoryFeature)
    }
    names = [feature.name for feature in parts.values()]
    if (
        not features
        or len(set(names)) < len(names)
        or len(features) > len({id(f) for f in features})
    ):
        raise ValueError(
            "`features` must have different names, at least one, also from the item feature that a "
            f"history is read with. Received: {names}."
        )
    sizes = {"num_cross_layers": (num_cross_layers, 0)}
    if projection_dim is not None:
        sizes["projection_dim"] = (projection_dim, 1)
    for name, (size, least) in sizes.items():
        if not size >= least:
            raise ValueError(f"`{name}` must be at least {least}. Received: {name}={size!r}.")
    if not all(units >= 1 for units in hidden_units):
        raise ValueError(
            f"`hidden_units` must be at least 1 each. Received: hidden_units={hidden_units!r}."
        )


def read_by(
    task: NextItem, features: Sequence[RankingFeature]
) -> tuple[ItemFeature, HistoryFeature]:
    """The features that a next-item task compares.

    Raises:
        ValueError: one is missing or there twice, or they do not fit.
    """
    items = [feature for feature in features if isinstance(feature, ItemFeature)]
    histories = [feature for feature in features if isinstance(feature, HistoryFeature)]
    if len(items) != 1 or len(histories) != 1:
        raise ValueError(
            f"Task {task.name!r} needs one `ItemFeature` and one `HistoryFeature` among the "
            f"features. Received: {len(items)} and {len(histories)}."
        )
    if histories[0].item_feature is not items[0]:
        raise ValueError(
            f"Task {task.name!r} compares history and items, so the `HistoryFeature` must read "
            "with the model's own `ItemFeature`. Received: two different item features."
        )
    if items[0].num_items != task.num_items:
        raise ValueError(
            f"Task {task.name!r} is over {task.num_items} items, but the `ItemFeature` has "
            f"{items[0].num_items}."
        )
    return items[0], histories[0]
