"""Cross-entropy of labels against logits, whatever form the labels have."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill.losses.candidate_lists import MASKED


def categorical_cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Compute categorical cross-entropy with ids, one-hot or soft labels, one value a row.

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
        logits = tf.maximum(logits, MASKED)  # of -inf and a label of 0 it would make NaN
        return tf.nn.softmax_cross_entropy_with_logits(tf.cast(labels, tf.float32), logits)
    return _cross_entropy_with_ids(tf.cast(tf.reshape(labels, [-1]), tf.int32), logits)


@tf.custom_gradient
def _cross_entropy_with_ids(ids: tf.Tensor, logits: tf.Tensor) -> Any:
    """Compute cross-entropy and its gradient, `softmax - one_hot`, from one softmax.

    A whole training step of a small student takes about three quarters of the time that it takes
    with `tf.nn.sparse_softmax_cross_entropy_with_logits` on a CPU: `benchmarks/distiller_step.py`
    prints both.
    """
    probabilities = tf.nn.softmax(logits)
    losses = log_sum_exp(logits, probabilities) - tf.gather(logits, ids, batch_dims=1)

    def gradient(upstream: tf.Tensor) -> tuple[None, tf.Tensor]:
        is_label = tf.range(tf.shape(logits)[1])[None, :] == ids[:, None]
        return None, tf.where(is_label, probabilities - 1.0, probabilities) * upstream[:, None]

    return losses, gradient


def log_sum_exp(logits: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
    """Compute `log sum_j exp(logits_j)` of each row, given the row's softmax.

    `logits_j - log softmax_j` at the largest logit, whose probability never underflows.
    """
    return tf.reduce_max(logits, axis=-1) - tf.math.log(tf.reduce_max(probabilities, axis=-1))


def is_distribution(labels: tf.Tensor, logits: tf.Tensor) -> bool:
    """Return whether labels are one-hot or soft rather than ids.

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
