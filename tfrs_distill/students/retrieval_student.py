"""The small recommender that retrieves: two towers over a history."""

from __future__ import annotations

import tensorflow as tf

from tfrs_distill.towers.decayed_average import DecayedAverage
from tfrs_distill.towers.history_tower import HistoryTower
from tfrs_distill.towers.item_tower import ItemTower
from tfrs_distill.towers.two_tower import TwoTower


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class RetrievalStudent(TwoTower):
    """A two-tower student; trained alone it is the twin, in a `Distiller` it is the pupil.

    It reads the history, not a user id: a phone holds the history, a new user has one after the
    first click, and no table of users has to be shipped.

    Args:
        query_tower: `HistoryTower`, histories to `[batch_size, max_history, dim]`.
        candidate_tower: `ItemTower`, item ids to `[num_candidates, dim]`.

    Example:
    >>> student = RetrievalStudent.from_history(num_items=100, max_history=8, embedding_dim=4)
    >>> student.encode_histories(tf.constant([[3, 1, 4]])).shape.as_list()
    [1, 5]
    """

    @classmethod
    def from_history(
        cls,
        *,
        num_items: int,
        max_history: int,
        embedding_dim: int = 16,
        dropout: float = 0.0,
        seed: int | None = None,
        name: str = "retrieval_student",
    ) -> RetrievalStudent:
        """A student of one shared item embedding and a decayed average of the history.

        Args:
            num_items: items of the catalogue.
            max_history: items of a history that are read.
            embedding_dim: width of an item's embedding; each item costs one number more, its bias.
            dropout: share of item embedding entries dropped while training.
            seed: int or None; fixes initial weights and dropout.
            name: the model's name.
        """
        items = ItemTower(num_items, embedding_dim, seed=seed, name="item_tower")
        encoder = DecayedAverage(
            max_history, embedding_dim, dropout=dropout, seed=seed, name="decayed_average"
        )
        student = cls(HistoryTower(items, encoder, name="history_tower"), items, name=name)
        student.build_towers()
        return student
