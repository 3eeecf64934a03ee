"""Start a two-tower model from an earlier one, whose items may be others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfrs_distill.data.checked_arrays import item_indices
from tfrs_distill.models.history_tower import HistoryTower
from tfrs_distill.models.ordered_weights import ordered_weights
from tfrs_distill.models.two_tower import TwoTower

OF_ITEMS = ("id_embeddings", "biases")  # weights with a row an item that are learnt
GIVEN_OF_ITEMS = ("text_vectors", "pieces", "vectors")  # those that the model has of its own
OF_ATTRIBUTES = ("attribute_embeddings", "prior_items")


class WarmStart(NamedTuple):
    """What `warm_start` copied.

    Args:
        copied: names of the weights that are the earlier model's now.
        num_items: items whose embeddings were copied.
        num_new: items that the earlier model did not know.
    """

    copied: tuple[str, ...]
    num_items: int
    num_new: int


def warm_start(model: TwoTower, earlier: TwoTower, items: Sequence[int]) -> WarmStart:
    """Copy an earlier model's weights into one of the same architecture and perhaps other items.

    Every weight without a row an item is copied as it is: history encoder, projections, text tower;
    what is known of users' attributes, where both models read the same ones.
    Of id embeddings and biases an item gets the row of the earlier model's same item. Of an item
    that it did not know the embedding stays as initialised and the bias is the mean of those
    copied; where ids were hidden while training (`id_dropout`), both are 0, which the model knows
    as 'no id': its text stands for it. What the model was given of its items, their texts or text
    vectors, stays.

    Args:
        model: changed in place; of the same class and widths.
        earlier: trained.
        items: for every item of `model`, in catalogue order, its index in `earlier`; 0 where it is
            new.

    Raises:
        ValueError: the models have other weights, or `items` another length.
        InputError: an index is not of `earlier`.

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
    """The attributes of users that a tower reads, and their values, in order."""
    return None if tower.user_attributes is None else tower.user_attributes.as_list()


def _last_name(weight: object) -> str:
    """What a weight is called in its layer."""
    name: str = weight.name  # type: ignore[attr-defined]
    return name.rpartition("/")[2].partition(":")[0]
