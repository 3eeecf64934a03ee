"""Batches of columns, gathered from arrays one batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

RowsOf = Callable[[tf.Tensor], tf.Tensor]


def batches_of_rows(
    arrays: Mapping[str, np.ndarray], batch_size: int, seed: int | None
) -> tf.data.Dataset:
    """Return dicts of `batch_size` rows each; without a seed in the given order."""
    num_rows = len(next(iter(arrays.values())))
    return _gathered(arrays, _numbers(num_rows, seed).batch(batch_size), lambda rows: rows)


def batches_of_lists(
    arrays: Mapping[str, np.ndarray], lists: np.ndarray, num_lists: int, seed: int | None
) -> tf.data.Dataset:
    """Return dicts with all rows of `num_lists` lists each; rows of a list share a number.

    Without a seed, lists are in the order of their first rows; rows keep their order in a list.
    """
    rows = np.argsort(lists, kind="stable")
    _, starts = np.unique(lists[rows], return_index=True)
    ends = np.append(starts[1:], len(rows))
    as_they_come = np.argsort(rows[starts])
    with tf.device("CPU"):
        starts_of = tf.constant(starts[as_they_come])
        ends_of = tf.constant(ends[as_they_come])
        rows_by_list = tf.constant(rows)

    def rows_of(numbers: tf.Tensor) -> tf.Tensor:
        places = tf.ragged.range(tf.gather(starts_of, numbers), tf.gather(ends_of, numbers))
        return tf.gather(rows_by_list, places.values)

    return _gathered(arrays, _numbers(len(starts), seed).batch(num_lists), rows_of)


def _numbers(count: int, seed: int | None) -> tf.data.Dataset:
    """Return 0, 1, ... `count` - 1, reshuffled every epoch if there is a seed."""
    numbers = tf.data.Dataset.range(count)
    return numbers if seed is None else numbers.shuffle(count, seed=seed)


def _gathered(
    arrays: Mapping[str, np.ndarray], batches: tf.data.Dataset, rows_of: RowsOf
) -> tf.data.Dataset:
    with tf.device("CPU"):  # a data set runs there, also with an accelerator
        constants = {name: tf.constant(array) for name, array in arrays.items()}

    def batch_of(numbers: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = rows_of(numbers)
        return {name: tf.gather(array, rows) for name, array in constants.items()}

    return batches.map(batch_of, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(
        2
    )
