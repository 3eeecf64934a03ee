"""Rows of the loss: the positions of a batch of windows that count."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from tfrs_distill import columns


def row_mask(batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Bool [batch_size, max_history]: positions with a label; in an unlabelled batch, with an item.

    Labels may be item indices or distributions over the items, see `columns.LABELS`.
    """
    if columns.LABELS not in batch:
        return batch[columns.HISTORY] > columns.PADDING
    labels = batch[columns.LABELS]
    if labels.shape.rank == 3:
        return tf.reduce_sum(labels, axis=-1) > 0
    return labels > columns.PADDING


def rows_of(values: tf.Tensor, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """`[batch_size, max_history, ...]` to `[num_rows, ...]`."""
    return tf.boolean_mask(values, row_mask(batch))


def broadcast_to_rows(values: tf.Tensor, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """What belongs to examples, `[batch_size]`, at each of their rows, `[num_rows]`."""
    mask = row_mask(batch)
    return tf.boolean_mask(tf.broadcast_to(values[:, None], tf.shape(mask)), mask)


def sample_weights(batch: Mapping[str, tf.Tensor]) -> tf.Tensor | None:
    """The sample weight of every row, float32 [num_rows]; None where the batch has no weights.

    It is as given: below 0 where the label is a dislike.
    """
    if columns.SAMPLE_WEIGHT not in batch:
        return None
    weights = tf.cast(batch[columns.SAMPLE_WEIGHT], tf.float32)
    if weights.shape.rank == 1:
        return broadcast_to_rows(weights, batch)
    return rows_of(weights, batch)


def seen_items(batch: Mapping[str, tf.Tensor], num_items: int) -> tf.Tensor:
    """Which items each row's history holds: bool [num_rows, num_items + 1]; column 0 is padding."""
    history = tf.cast(batch[columns.HISTORY], tf.int32)
    positions = tf.range(tf.shape(history)[1])
    until = positions[None, :] <= positions[:, None]  # [position, place] so far
    items = rows_of(tf.where(until, history[:, None, :], history[:, :1, None]), batch)
    # Computed by sums and broadcasts: XLA needs shapes that are known at compile time.
    rows = tf.cumsum(tf.ones_like(items[:, :1]), axis=0) - 1 + tf.zeros_like(items)
    places = tf.stack([rows, items], axis=-1)
    none = tf.zeros_like(items[:, :1], tf.bool) | tf.zeros([1, num_items + 1], tf.bool)
    return tf.tensor_scatter_nd_update(none, places, tf.ones_like(items, tf.bool))
