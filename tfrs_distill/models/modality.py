"""Constant vectors of the items, such as those of their texts, projected to the embedding."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.models.seeded import seeded


class ProjectedVectors(tf.keras.layers.Layer):
    """A layer that projects constant vectors of the items: `W x_i + c`."""

    def add_projection(
        self, embedding_dim: int, dropout: float, seed: int | None, dropout_name: str = "dropout"
    ) -> None:
        """Create the dropout of vector entries and the dense layer, of `seed` and `seed + 1`."""
        self.dropout = tf.keras.layers.Dropout(
            dropout, seed=seed, dtype=self.dtype_policy, name=dropout_name
        )
        self.projection = tf.keras.layers.Dense(
            embedding_dim,
            kernel_initializer=seeded("glorot_uniform", seed, 1),
            dtype=self.dtype_policy,
            name="projection",
        )

    def project(self, vectors: tf.Tensor, item_ids: tf.Tensor, training: bool | None) -> tf.Tensor:
        """Project the items' vectors: int32 `[...]` to float `[..., embedding_dim]`."""
        vectors = tf.cast(tf.gather(vectors, item_ids), self.compute_dtype)
        return self.projection(self.dropout(vectors, training=training))


def padded_vectors(vectors: np.ndarray, shape: tuple[int, int], name: str) -> np.ndarray:
    """Return vectors, one row per item, with padding's row of 0 in front.

    Raises:
        ValueError: another shape than expected, or a value that is not finite; begins with `name`.
    """
    if vectors.shape != shape:
        raise ValueError(
            f"{name} must have one row per item, shape {shape}. Received: shape {vectors.shape}."
        )
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise ValueError(
            f"{name} must be finite. Row {row} is not; an item without a vector has a row of 0."
        )
    return np.pad(vectors, [(1, 0), (0, 0)])


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class Modality(ProjectedVectors):
    """The embedding of an item's vector: `h_i = W x_i + c`, or 0 for an item without a vector.

    An item whose vector `x_i` is 0 throughout has no such modality: no text, no picture, no link
    into the knowledge graph.

    Args:
        num_items: items, padding not counted; ids run from 0 (padding) to `num_items`.
        vector_dim: width of the items' vectors.
        embedding_dim: width of the output.
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
        self.add_projection(embedding_dim, dropout, None if seed is None else seed + 40)

    def set_vectors(self, vectors: np.ndarray) -> None:
        """Replace the items' vectors by float [num_items, vector_dim]; padding's stays 0.

        Raises:
            ValueError: another shape, or a value that is not finite.
        """
        shape = (self.num_items, self.vector_dim)
        padded = padded_vectors(vectors, shape, f"Vectors of modality {self.name!r}")
        self.vectors.assign(padded)
        self.presence.assign((padded != 0).any(axis=1).astype(np.float32))

    def item_vectors(self) -> np.ndarray:
        """The items' vectors, float32 [num_items, vector_dim]."""
        return self.vectors.numpy()[1:]

    def present(self, item_ids: tf.Tensor) -> tf.Tensor:
        """Which items have the modality: int32 `[...]` to bool `[...]`."""
        return tf.gather(self.presence, item_ids) > 0

    def call(self, item_ids: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Embeddings of the items' vectors: int32 `[...]` to float `[..., embedding_dim]`."""
        projected = self.project(self.vectors, item_ids, training)
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
