"""The item as a feature: its id and a vector, such as that of its text."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.models.features.feature import (
    ITEM,
    IdDropout,
    known_ids,
    require_size,
)
from tfrs_distill.models.features.table import TableFeature
from tfrs_distill.models.modality import Modality
from tfrs_distill.models.seeded import seeded


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class ItemFeature(TableFeature):
    """The embedding of the row's item: `id_embedding_i + W vector_i + c`.

    Reads `columns.ITEM_ID`. Items outside the catalogue have index 0: row 0 of the table, and no
    vector.

    Args:
        num_items: number of items in the catalogue; indices are 1 to `num_items`.
        embedding_dim: width of an embedding.
        item_vectors: constant vectors by item, float [num_items, vector_dim], such as text vectors;
            a zero row means no vector; None for item ids alone.
        id_dropout: share of rows whose id (not vector) is replaced by 0 in training, to train row 0
            for cold-start items. With few new items it costs a little: 0.1 raises MovieLens-100K's
            validation RMSE from .956 to .959.
        vector_dropout: share of vector entries dropped in training.
        seed: int or None; fixes initial weights and dropout.
        table: the layer with the id embeddings, `num_items + 1` rows; None for a new one.

    Raises:
        ValueError: a size is below 1, or the vectors have another shape or are not finite.

    Example:
    >>> feature = ItemFeature(num_items=5, embedding_dim=2)
    >>> feature({"item_id": tf.constant([1, 5, 6])}).shape.as_list()
    [3, 2]
    """

    def __init__(
        self,
        num_items: int,
        embedding_dim: int,
        item_vectors: np.ndarray | None = None,
        *,
        id_dropout: float = 0.0,
        vector_dropout: float = 0.0,
        seed: int | None = None,
        table: Any = None,
        name: str = "item",
        **kwargs: Any,
    ) -> None:
        require_size("num_items", num_items)
        require_size("embedding_dim", embedding_dim)
        super().__init__(
            ITEM,
            num_items + 1,
            embedding_dim,
            table,
            seeded("uniform", seed, 30),
            name=name,
            **kwargs,
        )
        self.num_items = num_items
        self.id_dropout, self.vector_dropout, self.seed = id_dropout, vector_dropout, seed
        self.hide = IdDropout(id_dropout, seed=None if seed is None else seed + 52, name="hide")
        self.vectors: Modality | None = None
        if item_vectors is not None:
            item_vectors = np.asarray(item_vectors, np.float32)
            self.vectors = Modality(
                num_items,
                item_vectors.shape[-1],
                embedding_dim,
                dropout=vector_dropout,
                seed=seed,
                dtype=self.dtype_policy,
                name="item_vectors",
            )
            self.vectors.set_vectors(item_vectors)

    @property
    def column_specs(self) -> dict[str, tf.TensorSpec]:
        """The items' column."""
        return {columns.ITEM_ID: tf.TensorSpec([None], tf.int32)}

    def embed(self, item_ids: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Embeddings of items: int32 `[...]` to float `[..., embedding_dim]`, no id dropout."""
        ids = known_ids(item_ids, self.num_items)
        return self._embed(ids, ids, training)

    def call(self, batch: dict[str, tf.Tensor], training: bool | None = None) -> tf.Tensor:
        """The embeddings of the rows' items, float [num_rows, embedding_dim]."""
        ids = known_ids(batch[columns.ITEM_ID], self.num_items)
        return self._embed(self.hide(ids, training=training), ids, training)

    def _embed(self, shown: tf.Tensor, ids: tf.Tensor, training: bool | None) -> tf.Tensor:
        embeddings = self._looked_up(shown)
        if self.vectors is not None:
            embeddings += self.vectors(ids, training=training)
        return embeddings

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal layer; the vectors are saved with the weights."""
        return super().get_config() | {
            "num_items": self.num_items,
            "vector_dim": None if self.vectors is None else self.vectors.vector_dim,
            "id_dropout": self.id_dropout,
            "vector_dropout": self.vector_dropout,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A layer whose vectors are 0 until its weights are loaded."""
        config = dict(config)
        vector_dim = config.pop("vector_dim")
        if vector_dim is not None:
            config["item_vectors"] = np.zeros([config["num_items"], vector_dim], np.float32)
        return super().from_config(config)
