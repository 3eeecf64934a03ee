"""An item-item score of the history for the item, from a table of neighbours per item."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.models.features.feature import (
    ITEM,
    QUERY,
    RankingFeature,
    known_ids,
    require_size,
)
from tfrs_distill.models.history_tower import last_items


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class NeighbourFeature(RankingFeature):
    """The item-item score of the row's item, from the items of its history.

    `f_i = scale * sum_{k <= num_neighbours} w_ik [n_ik is in the history]`, with n_i1, n_i2, ...
    the item's neighbours. It is an interaction of query and item, which embeddings can only
    approximate: a table of 20 neighbours per item keeps most of the quality of dense item-item
    weights at a fraction of their size. The tables are constants, fixed before training; weights
    that were fitted on training users fit those users' rows better than others'.

    Reads `columns.HISTORY`, of which only the last `max_history` items are used, each once, and
    `columns.ITEM_ID`. An item outside the catalogue has no neighbours.

    Reference: [Sarwar et al., 2001](https://doi.org/10.1145/371920.372071), section 3.2.1, where
    the weights are similarities; `from_weights` takes any, such as those of EASE.

    Args:
        num_items: number of items in the catalogue; indices are 1 to `num_items`.
        num_neighbours: number of neighbours per item.
        max_history: number of last items of the history that are used.
        scale: factor of the sum: 1 / its standard deviation over training rows gives it the scale
            of other features.

    Raises:
        ValueError: a size is below 1, or `scale` not finite and above 0.

    Example:
    >>> weights = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.5], [0.0, 0.25, 0.0]])
    >>> feature = NeighbourFeature.from_weights(weights, num_neighbours=1, max_history=4, scale=2.0)
    >>> rows = {"history": tf.constant([[0, 1], [2, 1]]), "item_id": tf.constant([2, 1])}
    >>> feature(rows).numpy().tolist()
    [[1.0], [0.5]]
    """

    def __init__(
        self,
        num_items: int,
        num_neighbours: int,
        max_history: int,
        *,
        scale: float = 1.0,
        name: str = "neighbours",
        **kwargs: Any,
    ) -> None:
        super().__init__(ITEM, name=name, **kwargs)
        require_size("num_items", num_items)
        require_size("num_neighbours", num_neighbours)
        require_size("max_history", max_history)
        if not 0 < scale < math.inf:
            raise ValueError(f"`scale` must be finite and above 0. Received: scale={scale!r}.")
        self.num_items, self.num_neighbours = num_items, num_neighbours
        self.max_history, self.scale = max_history, float(scale)
        shape = [num_items + 1, num_neighbours]
        self.neighbours = self.add_weight(
            name="neighbours", shape=shape, dtype=tf.int32, initializer="zeros", trainable=False
        )
        self.weights_of_neighbours = self.add_weight(
            name="weights_of_neighbours", shape=shape, initializer="zeros", trainable=False
        )

    @classmethod
    def from_weights(
        cls, weights: np.ndarray, num_neighbours: int, max_history: int, **kwargs: Any
    ) -> NeighbourFeature:
        """Build a feature that keeps each item's weights of largest magnitude.

        Args:
            weights: float [num_items + 1, num_items + 1]: the contribution of an item in the
                history (row) to an item's score (column), as returned by `item_item_weights`; row
                and column 0 are ignored.
            num_neighbours: number of neighbours kept per item; at most all.
            max_history: as for the constructor.
            kwargs: further arguments of the constructor.

        Raises:
            ValueError: the weights are not a square matrix, or not finite.
        """
        weights = np.asarray(weights, np.float32)
        if weights.ndim != 2 or weights.shape[0] != weights.shape[1] or len(weights) < 2:
            raise ValueError(
                "`weights` must be [num_items + 1, num_items + 1]. Received: shape "
                f"{list(weights.shape)}."
            )
        if not np.isfinite(weights).all():
            raise ValueError("`weights` must be finite. Received: NaN or infinite entries.")
        num_items = len(weights) - 1
        feature = cls(num_items, min(num_neighbours, num_items), max_history, **kwargs)
        of_items = weights[1:, 1:].T  # one row per scored item
        last = num_items - feature.num_neighbours
        nearest = np.argpartition(np.abs(of_items), last - 1 if last else 0, axis=1)[:, last:]
        kept = np.take_along_axis(of_items, nearest, axis=1)
        of_padding = np.zeros([1, feature.num_neighbours])
        feature.neighbours.assign(np.concatenate([of_padding, nearest + 1]))
        feature.weights_of_neighbours.assign(np.concatenate([of_padding, kept]))
        return feature

    @property
    def column_specs(self) -> dict[str, tf.TensorSpec]:
        """The history's column, of any length, and the items'."""
        return {
            columns.HISTORY: tf.TensorSpec([None, None], tf.int32),
            columns.ITEM_ID: tf.TensorSpec([None], tf.int32),
        }

    @property
    def column_sides(self) -> dict[str, str]:
        """The history belongs to the query; the feature as a whole belongs to the item."""
        return {columns.HISTORY: QUERY, columns.ITEM_ID: ITEM}

    @property
    def dim(self) -> int:
        """Width 1: the sum."""
        return 1

    def call(self, batch: dict[str, tf.Tensor], training: bool | None = None) -> tf.Tensor:
        """The scaled sums, float [num_rows, 1]; the history may be one row for all items."""
        history = last_items(
            tf.cast(batch[columns.HISTORY], tf.int32), self.max_history, self.num_items
        )
        item_ids = known_ids(batch[columns.ITEM_ID], self.num_items)
        neighbours = tf.cast(tf.gather(self.neighbours, item_ids), tf.int32)
        weights = tf.cast(tf.gather(self.weights_of_neighbours, item_ids), tf.float32)
        in_history = tf.reduce_any(neighbours[:, :, None] == history[:, None, :], axis=-1)
        summed = tf.reduce_sum(tf.where(in_history, weights, 0.0), axis=-1, keepdims=True)
        return tf.cast(self.scale * summed, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal layer; the tables are saved with the weights."""
        return super().get_config() | {
            "num_items": self.num_items,
            "num_neighbours": self.num_neighbours,
            "max_history": self.max_history,
            "scale": self.scale,
        }
