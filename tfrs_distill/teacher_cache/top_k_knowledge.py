"""Top-K logits with the log-sum-exp of the rest: a teacher's whole distribution, coarse-grained."""

from __future__ import annotations

import tensorflow as tf


def summarise_top_k(
    logits: tf.Tensor, k: int, temperatures: tuple[float, ...]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """A teacher's exact top-K and what is left of its probability mass.

    Args:
        logits: float32 [num_rows, num_items].
        k: how many of the best items are kept, below `num_items`.
        temperatures: the temperatures at which the tail is summed.

    Returns:
        Item indices int32 [num_rows, k]; their logits float32 [num_rows, k]; and
        `log sum_{j in tail} exp(logits_j / temperature)` float32 [num_rows, num_temperatures].
    """
    top = tf.math.top_k(logits, k + 1)
    # Masking, not subtracting: log(sum of all - sum of top) loses a small tail in float32.
    tail = tf.where(_is_among(top.indices[:, :k], tf.shape(logits)[1]), -float("inf"), logits)
    sums = [tf.reduce_logsumexp(tail / temperature, axis=-1) for temperature in temperatures]
    return top.indices[:, :k] + 1, top.values[:, :k], tf.stack(sums, axis=-1)


def align_top_k(
    student_logits: tf.Tensor,
    top_k_ids: tf.Tensor,
    top_k_logits: tf.Tensor,
    tail: tf.Tensor,
    temperature: tf.Tensor | float,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Teacher's and student's logits over the same K + 1 candidates: the top-K and "the rest".

    The rest's logit is `temperature * log sum_{j in rest} exp(logits_j / temperature)`, so that a
    softmax at `temperature` over the K + 1 gives the rest exactly its summed probability.

    Args:
        student_logits: float32 [num_rows, num_items].
        top_k_ids: int32 [num_rows, k], item indices.
        top_k_logits: float32 [num_rows, k], the teacher's.
        tail: float32 [num_rows], the teacher's log-sum-exp of the rest at `temperature`.
        temperature: of the loss that will compare the two.

    Returns:
        Teacher logits and student logits, both float32 [num_rows, k + 1].
    """
    student_top = tf.gather(student_logits, top_k_ids - 1, batch_dims=1)
    among = _is_among(top_k_ids - 1, tf.shape(student_logits)[1])
    rest = tf.where(among, student_logits.dtype.min / 2, student_logits)
    student_tail = tf.reduce_logsumexp(rest / temperature, axis=-1)
    teacher = tf.concat([top_k_logits, temperature * tail[:, None]], axis=-1)
    return teacher, tf.concat([student_top, temperature * student_tail[:, None]], axis=-1)


def _is_among(columns_of_row: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Bool [num_rows, width]: which columns each row names; int32 [num_rows, k] are distinct."""
    shape = tf.shape(columns_of_row)
    rows = tf.broadcast_to(tf.range(shape[0])[:, None], shape)
    indices = tf.stack([rows, columns_of_row], axis=-1)
    return tf.scatter_nd(indices, tf.ones(shape, tf.int32), [shape[0], width]) > 0
