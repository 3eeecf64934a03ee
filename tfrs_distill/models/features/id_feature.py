"""A category as a feature: a user, a department, a day of the week."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill.models.features.feature import IdDropout, known_ids, require_size
from tfrs_distill.models.features.table import TableFeature
from tfrs_distill.models.seeded import seeded


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class IdFeature(TableFeature):
    """The embedding of an id: row `id` of a table; row 0 for unknown ids.

    Args:
        column: int32 [num_rows]; ids are 1 to `vocabulary_size`; other values become 0, out of
            vocabulary.
        vocabulary_size: number of known ids.
        embedding_dim: width of an embedding.
        side: `"query"` or `"item"`.
        id_dropout: share of rows whose id is replaced by 0 in training, to train row 0 for unknown
            ids.
        seed: int or None; fixes initial weights and dropout.
        table: the layer with the embeddings, `vocabulary_size + 1` rows; None for a new one.
        name: name of the feature; the column's name by default.

    Raises:
        ValueError: a size is below 1, or the side is not one of these.

    Example:
    >>> feature = IdFeature("department", vocabulary_size=3, embedding_dim=2, side="item")
    >>> feature({"department": tf.constant([1, 3, 99])}).shape.as_list()
    [3, 2]
    """

    def __init__(
        self,
        column: str,
        vocabulary_size: int,
        embedding_dim: int,
        side: str,
        *,
        id_dropout: float = 0.0,
        seed: int | None = None,
        table: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        require_size("vocabulary_size", vocabulary_size)
        require_size("embedding_dim", embedding_dim)
        super().__init__(
            side,
            vocabulary_size + 1,
            embedding_dim,
            table,
            seeded("uniform", seed, 50),
            name=name or column,
            **kwargs,
        )
        self.column, self.vocabulary_size = column, vocabulary_size
        self.id_dropout, self.seed = id_dropout, seed
        self.hide = IdDropout(id_dropout, seed=None if seed is None else seed + 51, name="hide")

    @property
    def column_specs(self) -> dict[str, tf.TensorSpec]:
        """The ids' column."""
        return {self.column: tf.TensorSpec([None], tf.int32)}

    def call(self, batch: dict[str, tf.Tensor], training: bool | None = None) -> tf.Tensor:
        """The rows' embeddings, float [num_rows, embedding_dim]."""
        ids = self.hide(known_ids(batch[self.column], self.vocabulary_size), training=training)
        return self._looked_up(ids)

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal layer."""
        return super().get_config() | {
            "column": self.column,
            "vocabulary_size": self.vocabulary_size,
            "side": self.side,
            "id_dropout": self.id_dropout,
            "seed": self.seed,
        }
