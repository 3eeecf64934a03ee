"""The loss of labels that may be dislikes: items that should become less likely."""

from __future__ import annotations

import tensorflow as tf

from tfrs_distill.losses.candidate_lists import MASKED
from tfrs_distill.losses.categorical_cross_entropy import categorical_cross_entropy


def loss_of_labels(
    labels: tf.Tensor,
    logits: tf.Tensor,
    weights: tf.Tensor | None,
    *,
    label_smoothing: float = 0.0,
) -> tf.Tensor:
    """Compute cross-entropy for weights of at least 0, and unlikelihood for weights below 0.

    Returns one unweighted value per row; the mean over rows then uses `abs(weights)`. Labels with a
    weight below 0 are not smoothed.

    Args:
        labels: as for `categorical_cross_entropy`; ids where a weight is below 0.
        logits: float [num_rows, num_candidates].
        weights: float [num_rows], or None if no label is a dislike.
        label_smoothing: for labels with a weight of at least 0.

    Example:
    >>> logits = tf.math.log(tf.constant([[0.25, 0.75], [0.25, 0.75]]))
    >>> loss_of_labels(tf.constant([0, 0]), logits, tf.constant([2.0, -1.0])).numpy().round(4)
    array([1.3863, 0.2877], dtype=float32)
    """
    of_likes = categorical_cross_entropy(labels, logits, label_smoothing=label_smoothing)
    if weights is None or labels.shape.rank != 1:
        return of_likes
    rows = tf.where(weights < 0)[:, 0]  # usually few, so their softmax is cheap
    of_dislikes = unlikelihood(tf.gather(labels, rows), tf.gather(logits, rows))
    return tf.tensor_scatter_nd_update(of_likes, rows[:, None], of_dislikes)


def unlikelihood(ids: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Compute `-log(1 - softmax(logits)_id)`, one value per row: small if the id is unlikely.

    It is computed as `softplus(logits_id - log sum_k exp(logits_k))` over the other candidates k,
    which is exact in float32 for likelihoods near 0 and near 1, where `1 - softmax` is not. Its
    gradient is `softmax_id` at the id and `-softmax_id * q_k` at the others, with q the softmax of
    the others alone: the probability that the id loses goes to the others in proportion to q. If
    the id is the only candidate the loss is 0.

    Reference: [Welleck et al., 2019](https://arxiv.org/abs/1908.04319), equation 2, with one
    negative candidate.

    Args:
        ids: int [num_rows], counted from 0.
        logits: float [num_rows, num_candidates].

    Example:
    >>> logits = tf.math.log(tf.constant([[0.25, 0.75]]))
    >>> float(unlikelihood(tf.constant([0]), logits)[0])
    0.28768...
    """
    logits = tf.cast(logits, tf.float32)
    is_id = tf.range(tf.shape(logits)[1])[None, :] == tf.cast(ids, tf.int32)[:, None]
    others = tf.where(is_id, MASKED, logits)
    alone = tf.reduce_max(others, axis=-1) <= MASKED / 2
    of_ids = tf.gather(logits, ids, batch_dims=1)
    log_odds = of_ids - tf.reduce_logsumexp(others, axis=-1)
    return tf.where(alone, 0.0, tf.math.softplus(tf.where(alone, 0.0, log_odds)))
