"""Cross-entropy of labels against logits, whatever form the labels have."""

from __future__ import annotations

import tensorflow as tf


def categorical_cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Categorical cross-entropy with ids, one-hot or soft labels, one value a row.

    `loss = sum_j labels_j * (log sum_k exp(logits_k) - logits_j)`; an id is the column of its 1.

    Args:
        labels: ids [num_rows] or [num_rows, 1], columns counted from 0; or a distribution over the
            columns, [num_rows, num_candidates], one-hot or soft.
        logits: float [num_rows, num_candidates].

    Raises:
        ValueError: the labels have neither form.

    Example:
    >>> logits = tf.constant([[0.0, 1.0986123]])
    >>> float(categorical_cross_entropy(tf.constant([1]), logits)[0])
    0.28768...
    >>> float(categorical_cross_entropy(tf.constant([[0.5, 0.5]]), logits)[0])
    0.83698...
    """
    logits = tf.cast(logits, tf.float32)
    if is_distribution(labels, logits):
        return tf.nn.softmax_cross_entropy_with_logits(tf.cast(labels, tf.float32), logits)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(
        tf.cast(tf.reshape(labels, [-1]), tf.int32), logits
    )


def is_distribution(labels: tf.Tensor, logits: tf.Tensor) -> bool:
    """Whether labels are one-hot or soft rather than ids.

    Raises:
        ValueError: they are neither.
    """
    if labels.shape.rank == 1 or (labels.shape.rank == 2 and labels.shape[1] == 1):
        return False
    if labels.shape.rank == 2 and labels.shape[1] in (None, logits.shape[1]):
        return True
    raise ValueError(
        "Labels must be ids, [num_rows] or [num_rows, 1], or a distribution over the "
        f"{logits.shape[1]} candidates, [num_rows, {logits.shape[1]}]. Received: labels of shape "
        f"{labels.shape}."
    )
