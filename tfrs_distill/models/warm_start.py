"""Initialise a two-tower model from an earlier one, whose catalogue may differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfrs_distill.data.checked_arrays import item_indices
from tfrs_distill.models.history_tower import HistoryTower
from tfrs_distill.models.ordered_weights import ordered_weights
from tfrs_distill.models.two_tower import TwoTower

OF_ITEMS = ("id_embeddings", "biases")  # learned weights with one row per item
GIVEN_OF_ITEMS = ("text_vectors", "pieces", "vectors")  # given, not learned: not copied
OF_ATTRIBUTES = ("attribute_embeddings", "prior_items")


class WarmStart(NamedTuple):
    """The result of `warm_start`.

    Args:
        copied: names of the weights that were copied from the earlier model.
        num_items: number of items whose embeddings were copied.
        num_new: number of items that the earlier model does not have.
    """

    copied: tuple[str, ...]
    num_items: int
    num_new: int


def warm_start(model: TwoTower, earlier: TwoTower, items: Sequence[int]) -> WarmStart:
    """Copy an earlier model's weights into a model of the same architecture.

    The catalogues may differ. Weights that are not per item are copied unchanged: history encoder,
    projections, text tower, and the weights of user attributes if both models read the same
    attributes. Id embeddings and biases are copied item by item. A new item keeps its initial
    embedding, and its bias is the mean of the copied biases; if the model has an `id_dropout`, both
    are 0, as for an id hidden in training, so the item is represented by its text alone. Texts and
    text vectors of the items are not copied: `model` keeps its own.

    Args:
        model: changed in place; of the same class and widths.
        earlier: the trained model.
        items: for every item of `model`, in catalogue order, its index in `earlier`; 0 for a new
            item.

    Raises:
        ValueError: the models' weights differ in name or shape, or `items` has another length.
        InputError: an index is not one of `earlier`.

    Example:
    >>> from tfrs_distill.models import RetrievalStudent
    >>> old, new = (RetrievalStudent.from_history(num_items=n, max_history=4, embedding_dim=2)
    ...             for n in (3, 4))
    >>> warm_start(new, old, [1, 2, 3, 0]).num_new
    1
    >>> bool((new.candidate_tower.id_embeddings[1:4] == old.candidate_tower.id_embeddings[1:]
    ...       ).numpy().all())
    True
    """
    places = item_indices("items", items, earlier.num_items, least=0)
    if len(places) != model.num_items:
        raise ValueError(
            f"`items` must have an entry for each of the model's {model.num_items} items. "
            f"Received: {len(places)}."
        )
    read = [_attributes_of(of.query_tower) for of in (model, earlier)]
    left = () if read[0] == read[1] else OF_ATTRIBUTES
    ours, theirs = (
        [w for w in ordered_weights(of.query_tower) if _last_name(w) not in left]
        for of in (model, earlier)
    )
    pairs = list(zip(ours, theirs, strict=False))
    for mine, other in pairs:
        kept = slice(1, None) if _last_name(mine) in (*OF_ITEMS, *GIVEN_OF_ITEMS) else slice(None)
        if _last_name(mine) != _last_name(other) or mine.shape[kept] != other.shape[kept]:
            raise ValueError(
                "A model starts from one of the same class and widths. Received: a weight "
                f"{mine.name} {mine.shape} where the earlier model has {other.name} {other.shape}."
            )
    if len(ours) != len(theirs):
        raise ValueError(
            "A model starts from one of the same class and widths. Received: "
            f"{len(ours)} weights where the earlier model has {len(theirs)}."
        )
    known = np.flatnonzero(places) + 1
    new = np.setdiff1d(np.arange(1, model.num_items + 1), known)
    hidden = model.candidate_tower.id_dropout > 0
    copied = []
    for mine, other in pairs:
        name = _last_name(mine)
        if name in GIVEN_OF_ITEMS:
            continue
        values = other.numpy()
        if name in OF_ITEMS:
            rows = mine.numpy()
            rows[0], rows[known] = values[0], values[places[known - 1]]
            if hidden:
                rows[new] = 0.0
            elif name == "biases" and len(known):
                rows[new] = rows[known].mean()
            values = rows
        mine.assign(values)
        copied.append(mine.name)
    return WarmStart(tuple(copied), len(known), len(new))


def _attributes_of(tower: HistoryTower) -> list[dict[str, object]] | None:
    """The user attributes that a tower reads, and their values, in order."""
    return None if tower.user_attributes is None else tower.user_attributes.as_list()


def _last_name(weight: object) -> str:
    """Return the name of a weight in its layer."""
    name: str = weight.name  # type: ignore[attr-defined]
    return name.rpartition("/")[2].partition(":")[0]
