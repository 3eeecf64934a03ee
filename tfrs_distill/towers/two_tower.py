"""A next-item `tfrs.Model` of two towers, trained at every position of a window at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_distill import columns
from tfrs_distill.losses.catalogue_cross_entropy import catalogue_cross_entropy
from tfrs_distill.towers.history_tower import HistoryTower, last_items
from tfrs_distill.towers.item_tower import ItemTower


class TwoTowerOutputs(NamedTuple):
    """What a forward pass gives; rows are the positions of the batch that have a label.

    Args:
        query_embeddings: float [num_rows, dim].
        candidate_embeddings: float [num_items, dim].
        logits: float32 [num_rows, num_items]; column j is item j + 1.
    """

    query_embeddings: tf.Tensor
    candidate_embeddings: tf.Tensor
    logits: tf.Tensor


def labelled_rows(batch: dict[str, tf.Tensor], name: str) -> tf.Tensor:
    """Column `name` where there is a label: `[batch_size, n, ...]` to `[num_rows, ...]`."""
    return tf.boolean_mask(batch[name], batch[columns.LABELS] > columns.PADDING)


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class TwoTower(tfrs.Model):
    """Scores every item after a history: `logits = query_tower(history) . candidate_tower(items)`.

    Trains alone with `fit` on `Windows.batches(...)`: the loss is the mean categorical
    cross-entropy of the next item over the catalogue, at every labelled position.

    Args:
        query_tower: `HistoryTower`, histories to `[batch_size, max_history, dim]`.
        candidate_tower: `ItemTower`, item ids to `[num_candidates, dim]`.
    """

    def __init__(
        self, query_tower: HistoryTower, candidate_tower: ItemTower, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if query_tower.item_tower is not candidate_tower:
            raise ValueError(
                "`candidate_tower` must be the item tower that `query_tower` reads histories with, "
                "so that an item has one embedding. Received: two different towers."
            )
        self.query_tower, self.candidate_tower = query_tower, candidate_tower
        self.loss_mean = tf.keras.metrics.Mean(name="loss")

    @property
    def max_history(self) -> int:
        """Items of a history that count; older ones are not read."""
        return self.query_tower.max_history

    @property
    def num_items(self) -> int:
        """Items of the catalogue."""
        return self.candidate_tower.num_items

    @property
    def num_parameters(self) -> int:
        """Numbers in the towers' weights, trained and constant."""
        return int(self.query_tower.count_params())

    def encode_queries(
        self, batch: dict[str, tf.Tensor], training: bool | None = None
    ) -> tf.Tensor:
        """Query embeddings at every position of the batch, `[batch_size, max_history, dim]`.

        Raises:
            ValueError: the batch's windows have another length than the towers read.
        """
        width = batch[columns.HISTORY].shape[1]
        if width not in (None, self.max_history):
            raise ValueError(
                f"The towers read histories of {self.max_history} items, but the batch's windows "
                f"hold {width}. Give `split_by_time` and the model the same `max_history`."
            )
        return self.query_tower(batch[columns.HISTORY], training=training)

    def encode_candidates(self, items: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Candidate embeddings of item indices: `[num_candidates]` to `[num_candidates, dim]`."""
        return self.candidate_tower(items, training=training)

    def encode_histories(self, history: tf.Tensor) -> tf.Tensor:
        """What to recommend from: one query embedding a history, `[batch_size, dim]`.

        Args:
            history: int32 [batch_size, any length], padding anywhere.
        """
        compact = last_items(history, self.max_history, self.num_items)
        return self.query_tower.last(compact)

    def catalogue_embeddings(self) -> tf.Tensor:
        """Candidate embeddings of padding (row 0) and every item, `[num_items + 1, dim]`."""
        return self.encode_candidates(tf.range(self.num_items + 1), training=False)

    def call(self, batch: dict[str, tf.Tensor], training: bool | None = None) -> TwoTowerOutputs:
        """Logits over the whole catalogue at the labelled positions."""
        queries = self.encode_queries(batch, training=training)
        queries = tf.boolean_mask(queries, batch[columns.LABELS] > columns.PADDING)
        items = tf.range(1, self.num_items + 1)
        candidates = self.encode_candidates(items, training=training)
        logits = tf.matmul(queries, candidates, transpose_b=True)
        return TwoTowerOutputs(queries, candidates, tf.cast(logits, tf.float32))

    def hard_loss(self, batch: dict[str, tf.Tensor], outputs: TwoTowerOutputs) -> tf.Tensor:
        """Categorical cross-entropy with the next item, one value a row."""
        return catalogue_cross_entropy(labelled_rows(batch, columns.LABELS), outputs.logits)

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """The running mean that `fit` and `evaluate` log and reset."""
        return [self.loss_mean]

    def compute_loss(self, batch: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """What a `tfrs.Model` trains on: the mean categorical cross-entropy of the rows."""
        batch, _, _ = tf.keras.utils.unpack_x_y_sample_weight(batch)
        losses = self.hard_loss(batch, self(batch, training=training))
        self.loss_mean.update_state(losses)
        return tf.reduce_mean(losses)

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One step on the mean cross-entropy of the batch's rows and the regularisation losses."""
        with tf.GradientTape() as tape:
            loss = self.compute_loss(batch, training=True)
            total = loss + sum(self.losses)
        self.optimizer.minimize(total, self.trainable_variables, tape=tape)
        return {"loss": self.loss_mean.result()}

    def test_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The same loss without a step."""
        self.compute_loss(batch, training=False)
        return {"loss": self.loss_mean.result()}

    def build_towers(self) -> None:
        """Create every weight, so that the model can be loaded, counted or copied before `fit`."""
        self.query_tower(tf.zeros([1, self.max_history], tf.int32))
        self.catalogue_embeddings()
        self.built = True

    def get_build_config(self) -> dict[str, Any]:
        """Tells Keras to create the weights before it loads them."""
        return {}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Create the weights that a saved file is about to fill."""
        self.build_towers()

    def get_config(self) -> dict[str, Any]:
        """The towers' configurations; the candidate tower is the one inside the query tower."""
        return {
            "name": self.name,
            "query_tower": tf.keras.utils.serialize_keras_object(self.query_tower),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> TwoTower:
        """A model with towers of its own, built but not trained."""
        query_tower = tf.keras.utils.deserialize_keras_object(
            config["query_tower"], custom_objects=custom_objects
        )
        model = cls(query_tower, query_tower.item_tower, name=config["name"])
        model.build_towers()
        return model
