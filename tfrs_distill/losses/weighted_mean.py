"""The weighted mean over rows that every loss term uses."""

from __future__ import annotations

import tensorflow as tf


def weighted_mean(values: tf.Tensor, weights: tf.Tensor | None = None) -> tf.Tensor:
    """Compute `sum_r weights_r * values_r / sum_r weights_r`; 0 if all weights are 0.

    A row of weight 0 has no influence, even if its value is NaN. Without weights every row has
    weight 1.

    Args:
        values: float [num_rows].
        weights: float [num_rows], at least 0, or None.

    Example:
    >>> float(weighted_mean(tf.constant([1.0, 2.0, float("nan")]), tf.constant([3.0, 1.0, 0.0])))
    1.25
    """
    if weights is None:
        count = tf.cast(tf.size(values), values.dtype)
        return tf.math.divide_no_nan(tf.reduce_sum(values), count)
    weights = tf.cast(weights, values.dtype)
    total = tf.reduce_sum(tf.math.multiply_no_nan(values, weights))
    return tf.math.divide_no_nan(total, tf.reduce_sum(weights))
