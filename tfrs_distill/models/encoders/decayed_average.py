"""A history encoder that averages with weights that decay with age: the smallest encoder."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill.models.encoders.feed_forward import FeedForward


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class DecayedAverage(tf.keras.layers.Layer):
    """Weighted average of the history with one learned weight per distance, then a feed-forward.

    `average_i = sum_{j <= i} w_{i-j} x_j / sum_{j <= i} w_{i-j}`, `w_d = exp(log_weight_d)`, with
    sums over items that are not padding. `log_weight_d` starts at `-log(1 + d)`. With
    `reads_order=False` it is 0 and not trained: a plain average, independent of the order.

    Args:
        max_history: number of distances that have a weight.
        embedding_dim: width of the item embeddings.
        dropout: share of item embedding entries dropped in training.
        hidden_units: hidden units of the feed-forward; None for twice `embedding_dim`.
        rank: rank of the feed-forward's matrices, see `FeedForward`; None for full matrices.
        reads_order: whether the weights depend on age; False if histories have no order.
        seed: int or None; fixes initial weights and dropout.
    """

    def __init__(
        self,
        max_history: int,
        embedding_dim: int,
        *,
        dropout: float = 0.0,
        hidden_units: int | None = None,
        rank: int | None = None,
        reads_order: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_history, self.embedding_dim = max_history, embedding_dim
        self.dropout_rate, self.reads_order, self.seed = dropout, reads_order, seed
        ages = tf.range(max_history, dtype=tf.float32)
        log_decay = -tf.math.log1p(ages) if reads_order else tf.zeros_like(ages)
        self.log_weights = self.add_weight(
            name="log_weights",
            shape=[max_history],
            initializer=lambda shape, dtype=None, **_: tf.cast(log_decay, dtype),
            trainable=reads_order,
        )
        self.dropout = tf.keras.layers.Dropout(
            dropout,
            seed=None if seed is None else seed + 10,
            dtype=self.dtype_policy,
            name="dropout",
        )
        self.feed_forward = FeedForward(
            embedding_dim,
            hidden_units=hidden_units,
            rank=rank,
            seed=seed,
            dtype=self.dtype_policy,
            name="feed_forward",
        )

    def call(
        self, item_embeddings: tf.Tensor, mask: tf.Tensor, training: bool | None = None
    ) -> tf.Tensor:
        """Encode every position, by the contract of history encoders in `tfrs_distill.models`."""
        positions = tf.range(self.max_history)
        distance = positions[:, None] - positions[None, :]
        weights = tf.exp(tf.gather(self.log_weights, tf.maximum(distance, 0)))
        weights = tf.cast(tf.where(distance >= 0, weights, 0.0), item_embeddings.dtype)
        present = tf.cast(mask, item_embeddings.dtype)[..., None]
        dropped = self.dropout(item_embeddings, training=training)
        summed = tf.matmul(weights, tf.concat([dropped * present, present], axis=-1))
        average = tf.math.divide_no_nan(*tf.split(summed, [self.embedding_dim, 1], axis=-1))
        return self.feed_forward(average, training=training)

    def last(self, item_embeddings: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """The last position of `call(..., training=False)` alone, float [batch_size, dim]."""
        newest_last = tf.reverse(tf.exp(self.log_weights), axis=[0])
        weights = tf.cast(newest_last, item_embeddings.dtype) * tf.cast(mask, item_embeddings.dtype)
        summed = tf.squeeze(tf.matmul(weights[:, None], item_embeddings), axis=1)
        average = tf.math.divide_no_nan(summed, tf.reduce_sum(weights, axis=1, keepdims=True))
        return self.feed_forward(average, training=False)

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal layer."""
        return super().get_config() | {
            "max_history": self.max_history,
            "embedding_dim": self.embedding_dim,
            "dropout": self.dropout_rate,
            "hidden_units": self.feed_forward.hidden_units,
            "reads_order": self.reads_order,
            "seed": self.seed,
            **({} if self.feed_forward.rank is None else {"rank": self.feed_forward.rank}),
        }
