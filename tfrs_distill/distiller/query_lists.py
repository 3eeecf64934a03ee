"""Rows of a batch as padded candidate lists, one per query."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


class QueryLists(NamedTuple):
    """The positions of a batch's rows in lists, one list per query.

    Args:
        rows: int32 [num_kept], the rows of the batch that are in a list, list by list.
        slots: int32 [num_kept, 2], the list of each of these rows and the position in it.
        shape: int32 [2], the number of lists and the length of the longest.
    """

    rows: tf.Tensor
    slots: tf.Tensor
    shape: tf.Tensor

    def padded(self, values: tf.Tensor, empty: float) -> tf.Tensor:
        """Arrange values of rows, [num_rows], in padded lists, [num_lists, longest].

        Args:
            values: float [num_rows].
            empty: the value of slots without a row.
        """
        values = tf.gather(values, self.rows)
        filled = tf.fill(self.shape, tf.constant(empty, values.dtype))
        return tf.tensor_scatter_nd_update(filled, self.slots, values)

    def total(self, weights: tf.Tensor) -> tf.Tensor:
        """Add up the weights of each list's rows, [num_rows] to [num_lists]."""
        weights = tf.gather(weights, self.rows)
        return tf.math.unsorted_segment_sum(weights, self.slots[:, 0], self.shape[0])


def lists_of(query_ids: tf.Tensor, counts: tf.Tensor) -> QueryLists:
    """Return the lists of a batch: its rows grouped by query, in the batch's order.

    Rows that do not count are excluded, and so are lists of one row.

    Args:
        query_ids: int [num_rows].
        counts: bool [num_rows], which rows count.

    Example:
    >>> lists = lists_of(tf.constant([7, 4, 7, 7, 4, 5]), tf.constant([1, 1, 1, 0, 1, 1]) > 0)
    >>> lists.padded(tf.range(6.0), empty=-1.0).numpy().tolist()
    [[0.0, 2.0], [1.0, 4.0]]
    """
    rows = tf.cast(tf.where(counts)[:, 0], tf.int32)
    _, of, sizes = tf.unique_with_counts(tf.gather(query_ids, rows))
    rows = tf.boolean_mask(rows, tf.gather(sizes, of) > 1)
    _, of, sizes = tf.unique_with_counts(tf.gather(query_ids, rows))
    order = tf.argsort(of, stable=True)
    of = tf.gather(of, order)
    before = tf.gather(tf.cumsum(sizes, exclusive=True), of)
    places = tf.range(tf.size(of)) - before
    longest = tf.reduce_max(tf.concat([sizes, [2]], axis=0))  # 2 if there is no list
    return QueryLists(
        tf.gather(rows, order),
        tf.stack([of, places], axis=1),
        tf.stack([tf.size(sizes), longest]),
    )
