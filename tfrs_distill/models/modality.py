"""One kind of knowledge about the items: a constant vector each, projected to the embedding."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.models.seeded import seeded


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class Modality(tf.keras.layers.Layer):
    """What one modality says of an item: `h_i = W x_i + c`, or 0 where it says nothing.

    An item whose vector `x_i` is 0 throughout has no such modality: no text, no picture, no link
    into the knowledge graph.

    Args:
        num_items: items, padding not counted; ids run from 0 (padding) to `num_items`.
        vector_dim: width of the items' vectors.
        embedding_dim: width of what comes out.
        dropout: share of vector entries dropped while training.
        seed: int or None; fixes initial weights and dropout.
    """

    def __init__(
        self,
        num_items: int,
        vector_dim: int,
        embedding_dim: int,
        *,
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_items, self.vector_dim = num_items, vector_dim
        self.embedding_dim, self.dropout_rate, self.seed = embedding_dim, dropout, seed
        self.vectors = self.add_weight(
            name="vectors",
            shape=[num_items + 1, vector_dim],
            initializer="zeros",
            trainable=False,
        )
        self.presence = self.add_weight(
            name="presence", shape=[num_items + 1], initializer="zeros", trainable=False
        )
        self.dropout = tf.keras.layers.Dropout(
            dropout,
            seed=None if seed is None else seed + 40,
            dtype=self.dtype_policy,
            name="dropout",
        )
        self.projection = tf.keras.layers.Dense(
            embedding_dim,
            kernel_initializer=seeded("glorot_uniform", seed, 41),
            dtype=self.dtype_policy,
            name="projection",
        )

    def set_vectors(self, vectors: np.ndarray) -> None:
        """Replace the items' vectors by float [num_items, vector_dim]; padding's stays 0.

        Raises:
            ValueError: another shape, or a value that is not finite.
        """
        expected = (self.num_items, self.vector_dim)
        if vectors.shape != expected:
            raise ValueError(
                f"Vectors of modality {self.name!r} must have one row an item, shape {expected}. "
                f"Received: shape {vectors.shape}."
            )
        if not np.isfinite(vectors).all():
            row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            raise ValueError(
                f"Vectors of modality {self.name!r} must be finite; an item without any has a row "
                f"of 0. Row {row} is not finite."
            )
        self.vectors.assign(np.pad(vectors, [(1, 0), (0, 0)]))
        self.presence.assign(np.pad((vectors != 0).any(axis=1), [(1, 0)]).astype(np.float32))

    def item_vectors(self) -> np.ndarray:
        """The items' vectors, float32 [num_items, vector_dim]."""
        return self.vectors.numpy()[1:]

    def present(self, item_ids: tf.Tensor) -> tf.Tensor:
        """Which items have the modality: int32 `[...]` to bool `[...]`."""
        return tf.gather(self.presence, item_ids) > 0

    def call(self, item_ids: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """What it says of the items: int32 `[...]` to float `[..., embedding_dim]`."""
        vectors = tf.cast(tf.gather(self.vectors, item_ids), self.compute_dtype)
        projected = self.projection(self.dropout(vectors, training=training))
        return tf.where(self.present(item_ids)[..., None], projected, 0)

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal layer."""
        return super().get_config() | {
            "num_items": self.num_items,
            "vector_dim": self.vector_dim,
            "embedding_dim": self.embedding_dim,
            "dropout": self.dropout_rate,
            "seed": self.seed,
        }
