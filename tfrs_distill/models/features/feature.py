"""The base class of the features of a ranking model, and its handling of ids."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

QUERY, ITEM = "query", "item"


class RankingFeature(tf.keras.layers.Layer):
    """One feature: `call(batch) -> float [num_rows, dim]`.

    A subclass defines the columns that it reads, with types and shapes, and its width.

    Args:
        side: `"query"` or `"item"`: what the feature describes.

    Raises:
        ValueError: the side is not one of these.
    """

    def __init__(self, side: str, **kwargs: Any) -> None:
        # Ids and numbers keep their type; what is computed from them is cast.
        super().__init__(autocast=False, **kwargs)
        if side not in (QUERY, ITEM):
            raise ValueError(f"`side` must be 'query' or 'item'. Received: side={side!r}.")
        self.side = side

    @property
    def column_specs(self) -> dict[str, tf.TensorSpec]:
        """Type and shape of every column that is read; the first axis is that of the rows."""
        raise NotImplementedError

    @property
    def dim(self) -> int:
        """Width of the output."""
        raise NotImplementedError

    @property
    def columns(self) -> tuple[str, ...]:
        """The batch's columns that are read."""
        return tuple(self.column_specs)

    @property
    def column_sides(self) -> dict[str, str]:
        """The side of each column; a column of the query may have one row for many items."""
        return dict.fromkeys(self.columns, self.side)


class IdDropout(tf.keras.layers.Dropout):
    """Replaces a share of ids by 0 in training: int32 `[...]` to the same shape."""

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """The ids, some of them 0."""
        if not self.rate:
            return inputs
        kept = super().call(tf.ones_like(inputs, tf.float32), training=training)
        return tf.where(kept > 0, inputs, 0)


def known_ids(ids: tf.Tensor, vocabulary_size: int) -> tf.Tensor:
    """Replace ids outside 1 to `vocabulary_size` by 0, the out-of-vocabulary row.

    Example:
    >>> known_ids(tf.constant([-1, 0, 1, 3, 4]), 3).numpy().tolist()
    [0, 0, 1, 3, 0]
    """
    ids = tf.cast(ids, tf.int32)
    return tf.where((ids > 0) & (ids <= vocabulary_size), ids, 0)


def require_size(name: str, value: int) -> None:
    """Raise a ValueError unless a size is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"`{name}` must be a whole number >= 1. Received: {name}={value!r}.")
