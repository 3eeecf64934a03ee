"""The query tower: a history of items to one query embedding per position."""

from __future__ import annotations

from typing import Any, Protocol

import tensorflow as tf

from tfrs_distill.columns import PADDING
from tfrs_distill.models.item_tower import ItemTower, without_bias
from tfrs_distill.serving.attribute_vocabulary import AttributeVocabulary, check_width

PRIOR_ITEMS = 3.0  # weight of the prior, in items of a history


class EmbeddingTable(Protocol):
    """Candidate embeddings of padding and all items, however they are stored."""

    num_rows: int | tf.Tensor

    def gather(self, items: tf.Tensor) -> tf.Tensor:
        """Embeddings by index: int32 `[...]` to float32 `[..., dim]`."""


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class HistoryTower(tf.keras.layers.Layer):
    """Encode a history with the candidate tower's embeddings and a history encoder.

    `call(history) = [encoder(embed(history)), 1]`; the 1 is multiplied by the item's bias in the
    dot product. For an empty history the encoder's output is replaced by `empty_query`, a constant,
    because no training example has an empty history. See `TwoTower.fit_empty_history`.

    A tower that reads user attributes has a prior, `empty_query + sum_a attribute_embeddings[a]`
    over the available attributes, and the query for a history of n items is
    `(1 - w) encoder + w prior`, `w = c / (c + n)`: the prior alone for n = 0, with a weight that
    decreases with the number of items. `c`, `prior_items`, is 0 until `fit_empty_history` has
    fitted the prior. In training, non-empty histories always use the encoder's query alone: the
    prior is fitted to the encoder's output without it, and a student in further training, after
    compression or on new data, would otherwise learn to compensate for the prior.

    Args:
        item_tower: the `ItemTower` whose embeddings are used (shared, so an item has one
            embedding).
        encoder: a history encoder, see `tfrs_distill.models`.
        user_attributes: the user attributes that are read besides the history; None for none.
    """

    def __init__(
        self,
        item_tower: ItemTower,
        encoder: tf.keras.layers.Layer,
        *,
        user_attributes: AttributeVocabulary | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.user_attributes = user_attributes
        self.item_tower, self.encoder = item_tower, encoder
        self.empty_query = self.add_weight(
            name="empty_query",
            shape=[item_tower.embedding_dim],
            initializer="zeros",
            trainable=False,
        )
        if user_attributes is not None:
            self.attribute_embeddings = self.add_weight(
                name="attribute_embeddings",
                shape=[1 + sum(user_attributes.sizes), item_tower.embedding_dim],
                initializer="zeros",
                trainable=False,
            )
            self.prior_items = self.add_weight(
                name="prior_items", shape=[], initializer="zeros", trainable=False
            )

    @property
    def max_history(self) -> int:
        """Positions the encoder reads."""
        return self.encoder.max_history

    def call(
        self,
        history: tf.Tensor,
        training: bool | None = None,
        user_attributes: tf.Tensor | None = None,
        table: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Encode every position: int32 [batch_size, max_history] to `[..., embedding_dim + 1]`.

        Args:
            history: item indices.
            training: whether entries are dropped.
            user_attributes: int32 [batch_size, num_attributes], 0 if missing; None if all are
                missing.
            table: the item tower's `[num_items + 1, embedding_dim + 1]` if it is already computed,
                with or without dropped entries.
        """
        if table is None:
            embeddings = self.item_tower.embed(history, training=training)
        else:
            embeddings = tf.gather(without_bias(table), history)
        present = history > PADDING
        queries = self.encoder(embeddings, present, training=training)
        num_items = tf.cumsum(tf.cast(present, tf.int32), axis=1)
        blended = None if training else num_items
        return self._with_prior(queries, num_items > 0, blended, user_attributes)

    def last(
        self,
        history: tf.Tensor,
        table: EmbeddingTable | None = None,
        user_attributes: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The query at the last position, `[batch_size, embedding_dim + 1]`.

        Args:
            history: int32 [batch_size, max_history].
            table: of the item tower's embeddings, where they are computed already.
            user_attributes: as for `call`.
        """
        if table is None:
            embeddings = self.item_tower.embed(history, training=False)
        else:
            embeddings = tf.cast(table.gather(history)[..., :-1], self.item_tower.compute_dtype)
        present = history > PADDING
        queries = self.encoder.last(embeddings, present)
        has_items, num_items = tf.reduce_any(present, axis=1), None
        if self.user_attributes is not None:
            num_items = tf.reduce_sum(tf.cast(present, tf.int32), axis=1)
        return self._with_prior(queries, has_items, num_items, user_attributes)

    def copy_prior(self, other: HistoryTower) -> None:
        """Know of a user beforehand what another tower of the same attributes does."""
        self.empty_query.assign(other.empty_query)
        if self.user_attributes is not None:
            self.attribute_embeddings.assign(other.attribute_embeddings)
            self.prior_items.assign(other.prior_items)

    def attribute_values(self, user_attributes: tf.Tensor) -> tf.Tensor:
        """Rows of `attribute_embeddings`, int32 like the indices; 0 for missing values.

        Raises:
            InputError: there are more or fewer attributes than the tower reads.
        """
        sizes: tuple[int, ...] = ()
        if self.user_attributes is not None:
            check_width(self.user_attributes, user_attributes.shape[1])
            sizes = self.user_attributes.sizes
        user_attributes = tf.cast(user_attributes, tf.int32)  # as NumPy's int64 are in a batch
        known = (user_attributes > 0) & (user_attributes <= tf.constant(sizes, tf.int32))
        before = tf.cumsum(tf.constant(sizes, tf.int32), exclusive=True)
        return tf.where(known, user_attributes + before, 0)

    def _with_prior(
        self,
        queries: tf.Tensor,
        has_items: tf.Tensor,
        num_items: tf.Tensor | None,
        user_attributes: tf.Tensor | None,
    ) -> tf.Tensor:
        """Blend queries with the prior, which alone replaces empty ones; append 1 for the bias.

        Args:
            queries: of the encoder, `[batch_size, (max_history,) embedding_dim]`.
            has_items: whether the history so far has items, bool `[batch_size, (max_history)]`.
            num_items: how many, int32 of the same shape: the weight in the blend; None for no
                blend.
            user_attributes: as for `call`.
        """
        prior = tf.cast(self.empty_query, queries.dtype)
        if self.user_attributes is not None and user_attributes is not None:
            values = self.attribute_values(user_attributes)
            embeddings = tf.reduce_sum(tf.gather(self.attribute_embeddings, values), axis=1)
            prior = prior + tf.cast(embeddings, queries.dtype)
            if queries.shape.rank == 3:
                prior = tf.expand_dims(prior, 1)
        if self.user_attributes is not None and num_items is not None:
            number = tf.cast(tf.expand_dims(tf.maximum(num_items, 1), -1), tf.float32)
            prior_items = tf.cast(self.prior_items, tf.float32)
            weight = tf.cast(prior_items / (prior_items + number), queries.dtype)
            queries += weight * (prior - queries)
        queries = tf.where(tf.expand_dims(has_items, -1), queries, prior)
        behind = [[0, 0]] * (queries.shape.rank - 1) + [[0, 1]]
        return tf.pad(queries, behind, constant_values=1.0)

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal layer."""
        serialize = tf.keras.utils.serialize_keras_object
        return super().get_config() | {
            "item_tower": serialize(self.item_tower),
            "encoder": serialize(self.encoder),
            **(
                {}  # keeps the configuration of towers without attributes unchanged
                if self.user_attributes is None
                else {"user_attributes": self.user_attributes.as_list()}
            ),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> HistoryTower:
        """Build a layer with a new item tower and encoder."""
        deserialize = tf.keras.utils.deserialize_keras_object
        parts = {name: deserialize(config[name]) for name in ("item_tower", "encoder")}
        if "user_attributes" in config:
            parts["user_attributes"] = AttributeVocabulary.from_list(config["user_attributes"])
        return cls(**(config | parts))


def last_items(history: tf.Tensor, max_history: int, num_items: int | None) -> tf.Tensor:
    """Return the last `max_history` items of each history, in order, padded in front.

    Padding may be anywhere in the input, and ids outside 1 to `num_items` count as padding, so
    that the result is like the histories of training.

    Args:
        history: int32 [batch_size, any length].
        max_history: width of the result.
        num_items: the largest item index; None for a history that has no other numbers, as from
            `known_items`.

    Example:
    >>> last_items(tf.constant([[0, 7, 0, 9, 8, 0]]), max_history=2, num_items=9).numpy().tolist()
    [[9, 8]]
    """
    items = history if num_items is None else known_items(history, num_items)
    age = tf.cumsum(tf.minimum(items, 1), axis=1, reverse=True)  # 1 is the newest item
    # The first slot is for items that are too old. Padding adds 0 to a slot, the last one is its.
    slots = tf.maximum(max_history + 1 - age, 0)
    size = tf.stack([tf.shape(items)[0], max_history + 2])
    compact = tf.scatter_nd(tf.stack([row_of_each(items), slots], axis=-1), items, size)
    return compact[:, 1:-1]


def known_items(history: tf.Tensor, num_items: int | tf.Tensor) -> tf.Tensor:
    """Return a history, int32, with padding for every number that is not from 1 to `num_items`."""
    items = tf.maximum(tf.where(history <= num_items, history, PADDING), PADDING)
    return tf.cast(items, tf.int32)


def row_of_each(history: tf.Tensor) -> tf.Tensor:
    """Return the row of each item of a batch of histories: int32 of the same shape.

    (`expand_dims`, as LiteRT has no `x[:, None]` on free sizes.)
    """
    rows = tf.expand_dims(tf.range(tf.shape(history)[0]), 1)
    return tf.broadcast_to(rows, tf.shape(history))
