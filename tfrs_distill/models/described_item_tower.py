"""The candidate tower of a student that reads items' ids and texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.models.encoders.text_tower import TextTower
from tfrs_distill.models.item_tower import ItemTower
from tfrs_distill.serving.word_pieces import WordPieces


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class DescribedItemTower(ItemTower):
    """Item embedding from the item's id and, through a `TextTower`, from its text.

    `call(i) = d [id_embedding_i, bias_i] + text_tower(pieces_i)`; `embed(i)` is the same without
    the last entry. `d` is the id dropout of `ItemTower`, drawn once per item and call.
    `embed_texts` is the second summand, for texts of items that are not in the catalogue.

    Args:
        num_items: number of items, without padding; ids run from 0 (padding) to `num_items`.
        text_tower: a text tower of width `embedding_dim + 1`.
        word_pieces: converts a text into indices.
        id_dropout: share of items whose id is hidden in training.
        seed: int or None; fixes initial weights and dropout.

    Raises:
        ValueError: `id_dropout` is outside [0, 1).
    """

    def __init__(
        self,
        num_items: int,
        text_tower: TextTower,
        word_pieces: WordPieces,
        *,
        id_dropout: float = 0.2,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_items, text_tower.dim - 1, id_dropout=id_dropout, seed=seed, **kwargs)
        self.text_tower, self.word_pieces = text_tower, word_pieces
        self.pieces = self.add_weight(
            name="pieces",
            shape=[num_items + 1, word_pieces.max_pieces],
            dtype=tf.int32,
            initializer="zeros",
            trainable=False,
        )

    def set_texts(self, texts: Sequence[str]) -> None:
        """Replace the items' texts, one per item in catalogue order.

        Raises:
            ValueError: the number of texts is not the number of items.
        """
        if len(texts) != self.num_items:
            raise ValueError(
                f"`texts` must have one entry per item, {self.num_items}. Received: {len(texts)}."
            )
        self.pieces.assign(np.pad(self.word_pieces.encode(texts), [(1, 0), (0, 0)]))

    def call(self, item_ids: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Candidate embeddings: int32 `[...]` to float `[..., embedding_dim + 1]`."""
        each, place = tf.unique(tf.reshape(item_ids, [-1]))
        ids = self.of_ids(each, training)
        embeddings = ids + self.embed_texts(tf.gather(self.pieces, each), training=training)
        shape = tf.concat([tf.shape(item_ids), [self.embedding_dim + 1]], axis=0)
        embeddings = tf.reshape(tf.gather(embeddings, place), shape)
        return tf.ensure_shape(embeddings, [*item_ids.shape, self.embedding_dim + 1])

    def embed(self, item_ids: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Item embeddings without bias: int32 `[...]` to float `[..., embedding_dim]`."""
        return self.call(item_ids, training=training)[..., :-1]

    def embed_texts(self, pieces: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Candidate embeddings of texts: int32 `[num_texts, max_pieces]` to float `[..., dim]`."""
        return self.text_tower(pieces, training=training)

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal layer."""
        config = super().get_config()
        del config["embedding_dim"], config["text_dim"], config["text_dropout"]
        return config | {
            "text_tower": tf.keras.utils.serialize_keras_object(self.text_tower),
            "word_pieces": dataclasses.asdict(self.word_pieces),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DescribedItemTower:
        """Build a layer with a new text tower."""
        text_tower = tf.keras.utils.deserialize_keras_object(config["text_tower"])
        word_pieces = WordPieces(**config["word_pieces"])
        return cls(**(config | {"text_tower": text_tower, "word_pieces": word_pieces}))
