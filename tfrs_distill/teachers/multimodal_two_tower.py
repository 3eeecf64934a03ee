"""A teacher for items with several modalities: text, picture, attributes, graph neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.models.gated_item_tower import GatedItemTower
from tfrs_distill.models.ordered_weights import copy_weights
from tfrs_distill.teachers.attention_two_tower import AttentionTwoTower


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class MultimodalTwoTower(AttentionTwoTower):
    """A two-tower teacher that combines an item's id with its modalities by gates.

    `item_i = id_i + sum_m g_m(i) (W_m x_{m,i} + c_m)`; the gates of an item's modalities are 1 on
    average and are computed from its id embedding and all modalities, see `GatedItemTower`. A zero
    row means that the item does not have that modality: its gate is 0. The query is a causal
    attention encoder over the history's items; the score is their dot product plus the item's bias.
    The vectors are constants.

    Args:
        modalities: float [num_items, dim] in catalogue order, by name; widths may differ. Any
            arrays: `TextEncoder.encode`, `data.attribute_vectors`, the vectors of an image model,
            `data.knowledge_graph.neighbour_vectors`.
        max_history: number of last items of a history that are read.
        embedding_dim: width of query and item embeddings.
        num_blocks: number of attention blocks.
        num_heads: number of attention heads per block.
        dropout: dropped share of item embedding and modality vector entries in training.
        reads_order: whether it uses the order of the history, see `RecencyAttention`. With False,
            the last `max_history` items of a longer history are a random part of it.
        label_smoothing: the share of a label that is spread evenly over all items.
        seed: int or None; fixes initial weights and dropout.

    Raises:
        ValueError: there is no modality, one is not finite or not [num_items, dim],
            `embedding_dim` is not a multiple of `num_heads`, or `label_smoothing` is not at least 0
            and below 1.

    Example:
    >>> vectors = {"text": np.eye(5, 3), "image": np.eye(5, 4)}  # item 5 has neither
    >>> teacher = MultimodalTwoTower(vectors, max_history=4, embedding_dim=8)
    >>> teacher.gates().tolist()  # 1 each, before training
    [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]
    >>> teacher.without("image").gates()[3].tolist()
    [0.0, 0.0]
    """

    def __init__(
        self,
        modalities: Mapping[str, np.ndarray],
        *,
        max_history: int,
        embedding_dim: int = 64,
        num_blocks: int = 1,
        num_heads: int = 2,
        dropout: float = 0.2,
        reads_order: bool = True,
        label_smoothing: float = 0.0,
        seed: int | None = None,
        name: str = "multimodal_two_tower",
    ) -> None:
        arrays = {modality: np.asarray(array) for modality, array in modalities.items()}
        items = GatedItemTower(
            _num_items(arrays),
            embedding_dim,
            modalities={modality: array.shape[1] for modality, array in arrays.items()},
            dropout=dropout,
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
        for layer, array in zip(items.modalities, arrays.values()):
            layer.set_vectors(array)

    @property
    def modality_names(self) -> tuple[str, ...]:
        """The modalities' names, in the order of the gates."""
        names: tuple[str, ...] = self.candidate_tower.modality_names
        return names

    def gates(self) -> np.ndarray:
        """The weight of each modality for each item, float32 [num_items, num_modalities]."""
        gates: np.ndarray = self.candidate_tower.gates(tf.range(1, self.num_items + 1)).numpy()
        return gates

    def without(self, *names: str) -> MultimodalTwoTower:
        """Return a copy of this teacher without the named modalities, for an ablation.

        Their gates are 0, and those of the others are again 1 on average.

        Args:
            names: names of modalities.

        Raises:
            ValueError: the teacher has no modality of that name.
        """
        for name in names:
            if name not in self.modality_names:
                raise ValueError(
                    f"The teacher's modalities are {list(self.modality_names)}. Received: {name!r}."
                )
        copy = self.from_config(self.get_config())
        copy_weights(self.query_tower, copy.query_tower)
        for layer in copy.candidate_tower.modalities:
            if layer.name in names:
                layer.set_vectors(np.zeros_like(layer.item_vectors()))
        return copy

    def get_config(self) -> dict[str, Any]:
        """The arguments of an equal teacher, with each modality's width instead of its vectors."""
        items = self.candidate_tower
        return self.attention_config() | {
            "num_items": items.num_items,
            "modalities": {layer.name: layer.vector_dim for layer in items.modalities},
            "embedding_dim": items.embedding_dim,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> MultimodalTwoTower:
        """Build a teacher of the same shape; its vectors are 0 until the weights are loaded."""
        config = dict(config)
        num_items = config.pop("num_items")
        arrays = {
            name: np.zeros((num_items, dim), np.float32)
            for name, dim in config.pop("modalities").items()
        }
        return cls(arrays, **config)


def _num_items(arrays: Mapping[str, np.ndarray]) -> int:
    """Return the number of rows, equal for all arrays; 0 without any array."""
    shapes = {name: array.shape for name, array in arrays.items()}
    if len({shape[:1] for shape in shapes.values()}) > 1 or any(
        len(shape) != 2 for shape in shapes.values()
    ):
        raise ValueError(
            "Every modality must be [num_items, dim], with one row per item in catalogue order. "
            f"Received: {shapes}."
        )
    return next((shape[0] for shape in shapes.values()), 0)
