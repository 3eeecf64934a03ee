"""The query tower: a history of items in, one query embedding a position out."""

from __future__ import annotations

from typing import Any, Protocol

import tensorflow as tf

from tfrs_distill.columns import PADDING
from tfrs_distill.models.item_tower import ItemTower


class EmbeddingTable(Protocol):
    """Candidate embeddings of padding and all items, however they are stored."""

    num_rows: int | tf.Tensor

    def gather(self, items: tf.Tensor) -> tf.Tensor:
        """Embeddings by index: int32 `[...]` to float32 `[..., dim]`."""


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class HistoryTower(tf.keras.layers.Layer):
    """Reads a history with the candidate tower's embeddings and a history encoder.

    `call(history) = [encoder(embed(history)), 1]`; the 1 meets the item's bias in the dot product.
    In place of the encoder's output a history without an item has `empty_query`, a constant: no
    label follows nothing, so no training says what an encoder makes of it. See
    `TwoTower.fit_empty_history`.

    Args:
        item_tower: the `ItemTower` whose embeddings the history is read with (shared, so an item
            has one embedding).
        encoder: a history encoder, see `tfrs_distill.models`.
    """

    def __init__(
        self, item_tower: ItemTower, encoder: tf.keras.layers.Layer, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.item_tower, self.encoder = item_tower, encoder
        self.empty_query = self.add_weight(
            name="empty_query",
            shape=[item_tower.embedding_dim],
            initializer="zeros",
            trainable=False,
        )

    @property
    def max_history(self) -> int:
        """Positions the encoder reads."""
        return self.encoder.max_history

    def call(self, history: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """`[batch_size, max_history]` to `[batch_size, max_history, embedding_dim + 1]`."""
        embeddings, present = self.item_tower.embed(history, training=training), history > PADDING
        queries = self.encoder(embeddings, present, training=training)
        return self._or_empty(queries, tf.cumsum(tf.cast(present, tf.int32), axis=1) > 0)

    def last(self, history: tf.Tensor, table: EmbeddingTable | None = None) -> tf.Tensor:
        """The query at the last position, `[batch_size, embedding_dim + 1]`.

        Args:
            history: int32 [batch_size, max_history].
            table: of the item tower's embeddings, where they are computed already.
        """
        if table is None:
            embeddings = self.item_tower.embed(history, training=False)
        else:
            embeddings = tf.cast(table.gather(history)[..., :-1], self.item_tower.compute_dtype)
        present = history > PADDING
        queries = self.encoder.last(embeddings, present)
        return self._or_empty(queries, tf.reduce_any(present, axis=1))

    def _or_empty(self, queries: tf.Tensor, has_items: tf.Tensor) -> tf.Tensor:
        """Put the constant where there is no item, and the bias' 1 behind all."""
        empty = tf.cast(self.empty_query, queries.dtype)
        queries = tf.where(tf.expand_dims(has_items, -1), queries, empty)
        behind = [[0, 0]] * (queries.shape.rank - 1) + [[0, 1]]
        return tf.pad(queries, behind, constant_values=1.0)

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal layer."""
        serialize = tf.keras.utils.serialize_keras_object
        return super().get_config() | {
            "item_tower": serialize(self.item_tower),
            "encoder": serialize(self.encoder),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> HistoryTower:
        """Build a layer with a new item tower and encoder."""
        deserialize = tf.keras.utils.deserialize_keras_object
        parts = {name: deserialize(config[name]) for name in ("item_tower", "encoder")}
        return cls(**(config | parts))


def last_items(history: tf.Tensor, max_history: int, num_items: int) -> tf.Tensor:
    """Return the last `max_history` items of each history, in order, padded in front.

    Padding may stand anywhere in the input, and ids outside 1 to `num_items` count as padding, so
    that the result is like the histories of training.

    Args:
        history: int32 [batch_size, any length].
        max_history: width of the result.
        num_items: the largest item index.

    Example:
    >>> last_items(tf.constant([[0, 7, 0, 9, 8, 0]]), max_history=2, num_items=9).numpy().tolist()
    [[9, 8]]
    """
    present = (history > PADDING) & (history <= num_items)
    items = tf.where(present, history, PADDING)
    age = tf.cumsum(tf.cast(present, tf.int32), axis=1, reverse=True)  # 1 is the newest item
    kept = present & (age <= max_history)
    slots = tf.where(kept, max_history - age, max_history)  # one slot past the end for the rest
    rows = tf.broadcast_to(tf.range(tf.shape(history)[0])[:, None], tf.shape(history))
    compact = tf.scatter_nd(
        tf.stack([rows, slots], axis=-1), items, [tf.shape(history)[0], max_history + 1]
    )
    return compact[:, :max_history]
