"""Cross-entropy of labels against logits, whatever form the labels have."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill.losses.candidate_lists import MASKED


def categorical_cross_entropy(
    labels: tf.Tensor, logits: tf.Tensor, *, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Compute categorical cross-entropy with ids, one-hot or soft labels, one value a row.

    `loss = sum_j labels_j * (log sum_k exp(logits_k) - logits_j)`; an id is the column of its 1.
    Label smoothing s replaces the labels by `(1 - s) * labels + s / num_candidates`, as in
    `tf.keras.losses.CategoricalCrossentropy`; of a row with masked candidates, over the others.

    Reference: label smoothing, [Szegedy et al., 2016](https://arxiv.org/abs/1512.00567), section 7.

    Args:
        labels: ids [num_rows] or [num_rows, 1], columns counted from 0; or a distribution over the
            columns, [num_rows, num_candidates], one-hot or soft.
        logits: float [num_rows, num_candidates].
        label_smoothing: s, the share of the labels that all candidates have alike.

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
        logits = tf.maximum(logits, MASKED)  # of -inf and a label of 0 it would make NaN
        labels = tf.cast(labels, tf.float32)
        if label_smoothing:
            labels = (1 - label_smoothing) * labels + label_smoothing * even_shares(logits)
        return tf.nn.softmax_cross_entropy_with_logits(labels, logits)
    ids = tf.cast(tf.reshape(labels, [-1]), tf.int32)
    return _cross_entropy_with_ids(ids, logits, label_smoothing)


def checked_label_smoothing(label_smoothing: float) -> float:
    """Return the share as a float.

    Raises:
        ValueError: it is not within 0 and 1, 1 left out.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(
            "`label_smoothing` must be at least 0 and below 1: the share of a label that all "
            f"classes have alike. Received: label_smoothing={label_smoothing!r}."
        )
    return float(label_smoothing)


def even_shares(logits: tf.Tensor) -> tf.Tensor:
    """Return the distribution that is even over a row's candidates, 0 where they are masked."""
    counts = tf.cast(logits > MASKED / 2, tf.float32)
    return counts / tf.reduce_sum(counts, axis=-1, keepdims=True)


def _cross_entropy_with_ids(ids: tf.Tensor, logits: tf.Tensor, label_smoothing: float) -> tf.Tensor:
    """Compute cross-entropy and its gradient, `softmax - labels`, from one pass of exponentials.

    A whole training step of a small student takes about three quarters of the time that it takes
    with `tf.nn.sparse_softmax_cross_entropy_with_logits` on a CPU: `benchmarks/distiller_step.py`
    prints both.
    """

    @tf.custom_gradient
    def losses_of(logits: tf.Tensor) -> Any:
        largest = tf.reduce_max(logits, axis=-1, keepdims=True)
        odds = tf.exp(logits - largest)  # 1 at the largest: their sum neither overflows nor is 0
        total = tf.reduce_sum(odds, axis=-1, keepdims=True)
        of_labels = tf.gather(logits, ids, batch_dims=1)
        share = label_smoothing / tf.cast(tf.shape(logits)[1], tf.float32)
        if label_smoothing:
            all_count = tf.reduce_min(logits) > MASKED / 2  # then all shares are one number
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
