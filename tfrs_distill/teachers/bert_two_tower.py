"""The default teacher: item text through a BERT, item ids, and attention over the history."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.towers.history_tower import HistoryTower
from tfrs_distill.towers.item_tower import ItemTower
from tfrs_distill.towers.recency_attention import RecencyAttention
from tfrs_distill.towers.two_tower import TwoTower


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class BertTwoTower(TwoTower):
    """A two-tower teacher whose items are a BERT's text vector joined with an id embedding.

    `item_i = id_embedding_i + W text_vector_i + c`; the query is a causal attention encoder over
    the history's items; the score is their dot product plus the item's bias. The BERT is frozen: it
    reads every item once (`TextEncoder.encode`) and its vectors enter as constants. To train its
    top layers too, see `finetune`.

    Args:
        text_vectors: float [num_items, text_dim], one row an item in catalogue order.
        max_history: items of a history that are read.
        embedding_dim: width of query and item embeddings.
        num_blocks: attention blocks.
        num_heads: attention heads of a block.
        dropout: dropped share of item embedding and text vector entries while training.
        seed: int or None; fixes initial weights and dropout.

    Raises:
        ValueError: `text_vectors` are not finite, or `embedding_dim` is no multiple of `num_heads`.

    Example:
    >>> teacher = BertTwoTower(np.eye(5, 3), max_history=4, embedding_dim=8)
    >>> teacher.encode_histories(tf.constant([[1, 2, 0]])).shape.as_list()
    [1, 9]
    """

    def __init__(
        self,
        text_vectors: np.ndarray,
        *,
        max_history: int,
        embedding_dim: int = 64,
        num_blocks: int = 1,
        num_heads: int = 2,
        dropout: float = 0.2,
        seed: int | None = None,
        name: str = "bert_two_tower",
    ) -> None:
        text_vectors = np.asarray(text_vectors)
        self_config = {
            "num_items": text_vectors.shape[0],
            "text_dim": text_vectors.shape[1],
            "max_history": max_history,
            "embedding_dim": embedding_dim,
            "num_blocks": num_blocks,
            "num_heads": num_heads,
            "dropout": dropout,
            "seed": seed,
        }
        items = ItemTower(
            text_vectors.shape[0],
            embedding_dim,
            text_dim=text_vectors.shape[1],
            text_dropout=dropout,
            seed=seed,
            name="item_tower",
        )
        encoder = RecencyAttention(
            max_history,
            embedding_dim,
            num_blocks=num_blocks,
            num_heads=num_heads,
            dropout=dropout,
            seed=seed,
            name="recency_attention",
        )
        super().__init__(HistoryTower(items, encoder, name="history_tower"), items, name=name)
        self.arguments = self_config
        items.set_text_vectors(text_vectors)
        self.build_towers()

    def fingerprint(self) -> str:
        """sha256 of the configuration and every weight, text vectors included."""
        digest = hashlib.sha256(json.dumps(self.get_config(), sort_keys=True).encode())
        for weight in self.query_tower.weights:
            digest.update(str((weight.shape, weight.dtype)).encode() + weight.numpy().tobytes())
        return digest.hexdigest()

    def get_config(self) -> dict[str, Any]:
        """The arguments of an equal teacher, with the shape of the text vectors in their place."""
        return self.arguments | {"name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> BertTwoTower:
        """A teacher of the same shape, its text vectors 0 until the weights are loaded."""
        config = dict(config)
        shape = (config.pop("num_items"), config.pop("text_dim"))
        return cls(np.zeros(shape, np.float32), **config)
