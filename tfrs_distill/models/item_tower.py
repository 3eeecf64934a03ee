"""The candidate tower: item embeddings from ids, texts, or both."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.models.modality import ProjectedVectors, padded_vectors
from tfrs_distill.models.seeded import seeded


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class ItemTower(ProjectedVectors):
    """Item embedding with the item's bias as its last entry.

    `embed(i) = d id_embedding_i + W text_vector_i + c` and `call(i) = [embed(i), d bias_i]`, so
    that a dot product with a query `[query, 1]` adds the item's bias to the score. Without text
    vectors only the id embedding is used. In training `d` is 0 for a share `id_dropout` of the
    items, and 1 for the others, so that the text alone can represent an item, as it must for a
    cold-start item.

    Reference: id dropout, [Volkovs et al., 2017](https://papers.nips.cc/paper/7081) (DropoutNet).

    Args:
        num_items: number of items without padding; ids are 0 (padding) to `num_items`.
        embedding_dim: width of `embed`; the output of `call` is wider by one.
        text_dim: width of the text vectors; 0 for an item tower without text.
        text_dropout: share of text vector entries dropped in training.
        id_dropout: share of items whose id is hidden in training.
        seed: int or None; fixes initial weights and dropout.

    Raises:
        ValueError: `id_dropout` is outside [0, 1).
    """

    def __init__(
        self,
        num_items: int,
        embedding_dim: int,
        *,
        text_dim: int = 0,
        text_dropout: float = 0.0,
        id_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        if not 0 <= id_dropout < 1:
            raise ValueError(
                f"`id_dropout` must be at least 0 and below 1. Received: id_dropout={id_dropout!r}."
            )
        super().__init__(**kwargs)
        self.num_items, self.embedding_dim, self.text_dim = num_items, embedding_dim, text_dim
        self.text_dropout, self.id_dropout, self.seed = text_dropout, id_dropout, seed
        self.hide = tf.keras.layers.Dropout(
            id_dropout,
            seed=None if seed is None else seed + 33,
            dtype=self.dtype_policy,
            name="hide_ids",
        )
        self.id_embeddings = self.add_weight(
            name="id_embeddings",
            shape=[num_items + 1, embedding_dim],
            initializer=seeded("uniform", seed, 30),
        )
        self.biases = self.add_weight(name="biases", shape=[num_items + 1], initializer="zeros")
        if text_dim:
            self.text_vectors = self.add_weight(
                name="text_vectors",
                shape=[num_items + 1, text_dim],
                initializer="zeros",
                trainable=False,
            )
            offset = None if seed is None else seed + 31
            self.add_projection(embedding_dim, text_dropout, offset, "text_dropout")

    def set_text_vectors(self, text_vectors: np.ndarray) -> None:
        """Replace the text vectors by float [num_items, text_dim]; padding's stays 0."""
        shape = (self.num_items, self.text_dim)
        self.text_vectors.assign(padded_vectors(text_vectors, shape, "`text_vectors`"))

    def item_text_vectors(self) -> np.ndarray:
        """The text vectors, float32 [num_items, text_dim], one row per item."""
        return self.text_vectors.numpy()[1:]

    def embed(self, item_ids: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Item embeddings without bias: int32 `[...]` to float `[..., embedding_dim]`."""
        return self.joined(without_bias(self.of_ids(item_ids, training)), item_ids, training)

    def call(self, item_ids: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Candidate embeddings: int32 `[...]` to float `[..., embedding_dim + 1]`."""
        ids, biases = tf.split(self.of_ids(item_ids, training), [self.embedding_dim, 1], axis=-1)
        return tf.concat([self.joined(ids, item_ids, training), biases], axis=-1)

    def of_ids(self, item_ids: tf.Tensor, training: bool | None) -> tf.Tensor:
        """Id embeddings and biases, 0 where hidden: float `[..., embedding_dim + 1]`."""
        biases = tf.gather(self.biases, item_ids)[..., None]
        ids = tf.concat([tf.gather(self.id_embeddings, item_ids), biases], axis=-1)
        if self.id_dropout:
            ids = tf.where(self.hide(tf.ones_like(biases), training=training) > 0, ids, 0.0)
        return tf.cast(ids, self.compute_dtype)

    def joined(self, ids: tf.Tensor, item_ids: tf.Tensor, training: bool | None) -> tf.Tensor:
        """Join the id embeddings, `[..., embedding_dim]`, with what else is known of the items."""
        if self.text_dim:
            ids += self.project(self.text_vectors, item_ids, training)
        return ids

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal layer."""
        return super().get_config() | {
            "num_items": self.num_items,
            "embedding_dim": self.embedding_dim,
            "text_dim": self.text_dim,
            "text_dropout": self.text_dropout,
            "id_dropout": self.id_dropout,
            "seed": self.seed,
        }


def without_bias(embeddings: tf.Tensor) -> tf.Tensor:
    """All but the last entry of candidate embeddings: `[..., dim + 1]` to `[..., dim]`.

    By a split, as the gradient of a slice is slow on a CPU.
    """
    return tf.split(embeddings, [embeddings.shape[-1] - 1, 1], axis=-1)[0]
