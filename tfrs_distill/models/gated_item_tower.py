"""The candidate tower of items with several modalities: text, picture, graph ..."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfrs_distill.models.item_tower import ItemTower
from tfrs_distill.models.modality import Modality

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class GatedItemTower(ItemTower):
    """An item's id embedding and its modalities, fused by gates.

    `embed(i) = id_i + sum_m g_m(i) h_m(i)`, with `h_m(i) = W_m x_{m,i} + c_m` the embedding of its
    vector of modality m (see `Modality`), and the gates
    `g(i) = n(i) softmax(V [id_i, h_1(i), ..., h_M(i)] + b)` over the `n(i)` modalities that the
    item has; the gate of a missing modality is 0. So an item's gates are 1 on average. V and b
    start at 0: an untrained tower is the plain sum, and training fits the weight of each modality
    for each item. With a single modality the gate is always 1: the tower equals an `ItemTower` with
    text.

    Gates computed from all modalities at once are those of the gated multimodal unit
    ([Arevalo et al., 2017](https://arxiv.org/abs/1702.01992)); here one gate weights a whole
    modality, and the id is not gated.

    Args:
        num_items: number of items, without padding; ids run from 0 (padding) to `num_items`.
        embedding_dim: width of `embed`; `call` is one wider.
        modalities: the width of each modality's vectors, by its name; at least one.
        dropout: share of vector entries dropped in training.
        seed: int or None; fixes initial weights and dropout.

    Raises:
        ValueError: there is no modality, or a name is not made of letters, digits and `_.-`.
    """

    def __init__(
        self,
        num_items: int,
        embedding_dim: int,
        *,
        modalities: Mapping[str, int],
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        if not modalities:
            raise ValueError(
                "`modalities` must name at least one. Received: none. For item ids alone "
                "use `ItemTower(num_items, embedding_dim)`."
            )
        for modality in modalities:
            if not NAME.fullmatch(modality):
                raise ValueError(
                    "A modality's name must be of letters, digits and `_.-`, a letter or digit "
                    f"first. Received: {modality!r}."
                )
        super().__init__(num_items, embedding_dim, seed=seed, **kwargs)
        self.dropout_rate = dropout
        self.modalities = [
            Modality(
                num_items,
                vector_dim,
                embedding_dim,
                dropout=dropout,
                seed=None if seed is None else seed + 50 * (index + 1),
                dtype=self.dtype_policy,
                name=modality,
            )
            for index, (modality, vector_dim) in enumerate(modalities.items())
        ]
        self.gate = tf.keras.layers.Dense(
            len(modalities),
            kernel_initializer="zeros",
            dtype=self.dtype_policy,
            name="gate",
        )

    @property
    def modality_names(self) -> tuple[str, ...]:
        """The modalities' names, in the order of the gates."""
        return tuple(modality.name for modality in self.modalities)

    def joined(self, ids: tf.Tensor, item_ids: tf.Tensor, training: bool | None) -> tf.Tensor:
        """Add the gated modalities to the id embeddings."""
        vectors, gates = self._vectors_and_gates(ids, item_ids, training)
        return ids + tf.reduce_sum(tf.cast(gates, ids.dtype)[..., None] * vectors, axis=-2)

    def gates(self, item_ids: tf.Tensor) -> tf.Tensor:
        """The weight of each modality: int32 `[...]` to float32 `[..., num_modalities]`."""
        ids = self.of_ids(item_ids, training=False)[..., :-1]
        return self._vectors_and_gates(ids, item_ids, training=False)[1]

    def _vectors_and_gates(
        self, ids: tf.Tensor, item_ids: tf.Tensor, training: bool | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """`[..., num_modalities, embedding_dim]` and float32 `[..., num_modalities]`."""
        vectors = [modality(item_ids, training=training) for modality in self.modalities]
        logits = tf.cast(self.gate(tf.concat([ids, *vectors], axis=-1)), tf.float32)
        present = tf.stack([modality.present(item_ids) for modality in self.modalities], axis=-1)
        shares = tf.where(present, tf.nn.softmax(tf.where(present, logits, -1e9)), 0.0)
        count = tf.reduce_sum(tf.cast(present, tf.float32), axis=-1, keepdims=True)
        return tf.stack(vectors, axis=-2), count * shares

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal layer."""
        config = super().get_config()
        del config["text_dim"], config["text_dropout"], config["id_dropout"]
        return config | {
            "modalities": {modality.name: modality.vector_dim for modality in self.modalities},
            "dropout": self.dropout_rate,
        }
