"""Categorical cross-entropy for ids, one-hot and soft labels."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill.losses.candidate_lists import MASKED


def categorical_cross_entropy(
    labels: tf.Tensor, logits: tf.Tensor, *, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Compute categorical cross-entropy with ids, one-hot or soft labels, one value per row.

    `loss = sum_j labels_j * (log sum_k exp(logits_k) - logits_j)`; an id is replaced by its one-hot
    row. Label smoothing s replaces the labels by `(1 - s) * labels + s / num_candidates`, as in
    `tf.keras.losses.CategoricalCrossentropy`; masked candidates are not counted and get no share.

    Reference: label smoothing, [Szegedy et al., 2016](https://arxiv.org/abs/1512.00567), section 7.

    Args:
        labels: ids [num_rows] or [num_rows, 1], counted from 0; or a distribution over the columns,
            [num_rows, num_candidates], one-hot or soft.
        logits: float [num_rows, num_candidates].
        label_smoothing: s, the share of the label that is spread evenly over all candidates.

    Raises:
        ValueError: the labels have neither form.

    Example:
    >>> logits = tf.constant([[0.0, 1.0986123]])
    >>> float(categorical_cross_entropy(tf.constant([1]), logits)[0])
    0.28768...
    >>> float(categorical_cross_entropy(tf.constant([1]), logits, label_smoothing=1.0)[0])
    0.83698...
    >>> float(categorical_cross_entropy(tf.constant([[0.5, 0.5]]), logits)[0])
    0.83698...
    """
    logits = tf.cast(logits, tf.float32)
    if is_distribution(labels, logits):
        logits = tf.maximum(logits, MASKED)  # -inf times a label of 0 would be NaN
        labels = tf.cast(labels, tf.float32)
        if label_smoothing:
            labels = (1 - label_smoothing) * labels + label_smoothing * even_shares(logits)
        return tf.nn.softmax_cross_entropy_with_logits(labels, logits)
    ids = tf.cast(tf.reshape(labels, [-1]), tf.int32)
    return _cross_entropy_with_ids(ids, logits, label_smoothing)


def checked_label_smoothing(label_smoothing: float) -> float:
    """Return label smoothing as a float.

    Raises:
        ValueError: it is below 0, or not below 1.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(
            "`label_smoothing` must be at least 0 and below 1: the share of a label that is "
            f"spread evenly over all classes. Received: label_smoothing={label_smoothing!r}."
        )
    return float(label_smoothing)


def even_shares(logits: tf.Tensor) -> tf.Tensor:
    """Return the uniform distribution over each row's candidates, 0 where masked."""
    counts = tf.cast(logits > MASKED / 2, tf.float32)
    return counts / tf.reduce_sum(counts, axis=-1, keepdims=True)


def _cross_entropy_with_ids(ids: tf.Tensor, logits: tf.Tensor, label_smoothing: float) -> tf.Tensor:
    """Compute cross-entropy and its gradient, `softmax - labels`, with one exponential per logit.

    On a CPU a training step of a small student takes about three quarters of its time with
    `tf.nn.sparse_softmax_cross_entropy_with_logits`: `benchmarks/distiller_step.py` prints both.
    """

    @tf.custom_gradient
    def losses_of(logits: tf.Tensor) -> Any:
        largest = tf.reduce_max(logits, axis=-1, keepdims=True)
        odds = tf.exp(logits - largest)  # 1 at the largest: their sum neither overflows nor is 0
        total = tf.reduce_sum(odds, axis=-1, keepdims=True)
        of_labels = tf.gather(logits, ids, batch_dims=1)
        share = label_smoothing / tf.cast(tf.shape(logits)[1], tf.float32)
        if label_smoothing:
            all_count = tf.reduce_min(logits) > MASKED / 2  # then all smoothed shares are equal
            of_all = tf.cond(
                all_count,
                lambda: share * tf.reduce_sum(logits, axis=-1),
                lambda: (
                    label_smoothing
                    * tf.reduce_sum(tf.math.multiply_no_nan(logits, even_shares(logits)), axis=-1)
                ),
            )
            of_labels = (1 - label_smoothing) * of_labels + of_all

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            of_all = odds * (upstream[:, None] / total)
            if label_smoothing:
                of_all = tf.cond(
                    all_count,
                    lambda: of_all - share * upstream[:, None],
                    lambda: of_all - label_smoothing * upstream[:, None] * even_shares(logits),
                )
            places = tf.stack([tf.range(tf.size(ids)), ids], axis=-1)
            return tf.tensor_scatter_nd_sub(of_all, places, (1 - label_smoothing) * upstream)

        return (largest + tf.math.log(total))[:, 0] - of_labels, gradient

    losses: tf.Tensor = losses_of(logits)
    return losses


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
