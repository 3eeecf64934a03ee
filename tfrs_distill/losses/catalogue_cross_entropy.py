"""Cross-entropy of the next item against the whole catalogue."""

from __future__ import annotations

import tensorflow as tf


def catalogue_cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Categorical cross-entropy over all items, one value a row.

    `loss = log sum_j exp(logits_j) - logits_label`.

    Args:
        labels: int32 [num_rows], item indices, 1 to `num_items`.
        logits: float [num_rows, num_items]; column j is item j + 1.

    Example:
    >>> float(catalogue_cross_entropy(tf.constant([2]), tf.constant([[0.0, 1.0986123]])).numpy()[0])
    0.28768...
    """
    return tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=labels - 1, logits=tf.cast(logits, tf.float32)
    )
