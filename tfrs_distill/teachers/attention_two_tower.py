"""A two-tower teacher that encodes histories with attention."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill.models.encoders.recency_attention import RecencyAttention
from tfrs_distill.models.history_tower import HistoryTower
from tfrs_distill.models.item_tower import ItemTower
from tfrs_distill.models.two_tower import TwoTower


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class AttentionTwoTower(TwoTower):
    """A two-tower teacher: causal attention over the embeddings of a history's items.

    The score is the dot product of the query and the item's embedding, plus the item's bias. The
    item tower computes the embeddings: a plain `ItemTower` uses ids alone; see `BertTwoTower` for
    text and `MultimodalTwoTower` for more.

    Args:
        items: the item tower; the width of the query is that of its embeddings.
        max_history: number of last items of a history that are read.
        num_blocks: number of attention blocks.
        num_heads: number of attention heads per block.
        dropout: dropped share of item embedding entries in training.
        reads_order: whether it uses the order of the history, see `RecencyAttention`. With False,
            the last `max_history` items of a longer history are a random part of it.
        label_smoothing: the share of a label that is spread evenly over all items.
        seed: int or None; fixes initial weights and dropout of the attention.

    Raises:
        ValueError: the item tower's `embedding_dim` is not a multiple of `num_heads`, or
            `label_smoothing` is not at least 0 and below 1.

    Example:
    >>> from tfrs_distill.models import ItemTower
    >>> teacher = AttentionTwoTower(ItemTower(num_items=5, embedding_dim=8), max_history=4)
    >>> teacher.encode_histories(tf.constant([[1, 2, 0]])).shape.as_list()
    [1, 9]
    """

    def __init__(
        self,
        items: ItemTower,
        *,
        max_history: int,
        num_blocks: int = 1,
        num_heads: int = 2,
        dropout: float = 0.2,
        reads_order: bool = True,
        label_smoothing: float = 0.0,
        seed: int | None = None,
        name: str = "attention_two_tower",
    ) -> None:
        encoder = RecencyAttention(
            max_history,
            items.embedding_dim,
            num_blocks=num_blocks,
            num_heads=num_heads,
            dropout=dropout,
            reads_order=reads_order,
            seed=seed,
            name="recency_attention",
        )
        super().__init__(
            HistoryTower(items, encoder, name="history_tower"),
            items,
            label_smoothing=label_smoothing,
            name=name,
        )
        self.build_towers()

    def attention_config(self) -> dict[str, Any]:
        """The arguments of the attention and the name, the same for all such teachers."""
        encoder = self.query_tower.encoder
        return {
            "max_history": encoder.max_history,
            "num_blocks": encoder.num_blocks,
            "num_heads": encoder.num_heads,
            "dropout": encoder.dropout_rate,
            "reads_order": encoder.reads_order,
            "label_smoothing": self.label_smoothing,
            "seed": encoder.seed,
            "name": self.name,
        }

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal teacher."""
        items = tf.keras.utils.serialize_keras_object(self.candidate_tower)
        return self.attention_config() | {"items": items}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> AttentionTwoTower:
        """Build an untrained teacher of the same shape."""
        items = tf.keras.utils.deserialize_keras_object(
            config["items"], custom_objects=custom_objects
        )
        return cls(**(config | {"items": items}))
