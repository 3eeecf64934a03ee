"""The default teacher: item text through a BERT, item ids, and attention over the history."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.models.item_tower import ItemTower
from tfrs_distill.teachers.attention_two_tower import AttentionTwoTower


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class BertTwoTower(AttentionTwoTower):
    """A two-tower teacher with item embeddings from a BERT's text vectors and item ids.

    `item_i = id_embedding_i + W text_vector_i + c`; the query is a causal attention encoder over
    the history's items; the score is their dot product plus the item's bias. The BERT is frozen: it
    encodes every item once (`TextEncoder.encode`) and its vectors are constants. To train its top
    layers too, see `finetune`.

    Args:
        text_vectors: float [num_items, text_dim], one row per item in catalogue order.
        max_history: number of last items of a history that are read.
        embedding_dim: width of query and item embeddings.
        num_blocks: number of attention blocks.
        num_heads: number of attention heads per block.
        dropout: dropped share of item embedding and text vector entries in training.
        id_dropout: share of items whose id is hidden in training, see `ItemTower`.
        reads_order: whether it uses the order of the history, see `RecencyAttention`. With False,
            the last `max_history` items of a longer history are a random part of it.
        label_smoothing: the share of a label that is spread evenly over all items.
        seed: int or None; fixes initial weights and dropout.

    Raises:
        ValueError: `text_vectors` are not finite, `embedding_dim` is not a multiple of `num_heads`,
            or `label_smoothing` is not at least 0 and below 1.

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
        id_dropout: float = 0.0,
        reads_order: bool = True,
        label_smoothing: float = 0.0,
        seed: int | None = None,
        name: str = "bert_two_tower",
    ) -> None:
        text_vectors = np.asarray(text_vectors)
        items = ItemTower(
            text_vectors.shape[0],
            embedding_dim,
            text_dim=text_vectors.shape[1],
            text_dropout=dropout,
            id_dropout=id_dropout,
            seed=seed,
            name="item_tower",
        )
        super().__init__(
            items,
            max_history=max_history,
            num_blocks=num_blocks,
            num_heads=num_heads,
            dropout=dropout,
            reads_order=reads_order,
            label_smoothing=label_smoothing,
            seed=seed,
            name=name,
        )
        items.set_text_vectors(text_vectors)

    def get_config(self) -> dict[str, Any]:
        """The arguments of an equal teacher, with the shape of the text vectors in their place."""
        items = self.candidate_tower
        return self.attention_config() | {
            "num_items": items.num_items,
            "text_dim": items.text_dim,
            "embedding_dim": items.embedding_dim,
            "id_dropout": items.id_dropout,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> BertTwoTower:
        """Build a teacher of the same shape; its vectors are 0 until the weights are loaded."""
        config = dict(config)
        shape = (config.pop("num_items"), config.pop("text_dim"))
        return cls(np.zeros(shape, np.float32), **config)
