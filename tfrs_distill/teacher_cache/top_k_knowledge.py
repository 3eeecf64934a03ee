"""Top-K logits with the log-sum-exp of the rest: a teacher's whole distribution, coarse-grained."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill.losses.categorical_cross_entropy import log_sum_exp


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
    tail = without(logits, top.indices[:, :k])
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
    temperature = tf.convert_to_tensor(temperature, tf.float32)
    student_top = tf.gather(student_logits, top_k_ids - 1, batch_dims=1)
    student_tail = rest_log_sum_exp(student_logits, student_top, top_k_ids - 1, temperature)
    teacher = tf.concat([top_k_logits, temperature * tail[:, None]], axis=-1)
    return teacher, tf.concat([student_top, temperature * student_tail[:, None]], axis=-1)


@tf.custom_gradient
def rest_log_sum_exp(
    logits: tf.Tensor, top: tf.Tensor, top_columns: tf.Tensor, temperature: tf.Tensor
) -> Any:
    """`log sum_j exp(logits_j / temperature)` of each row over the columns that are not its top.

    From one softmax: the rest has what the top leaves of it, `1 - sum_k q_k`. Where that is too
    little for float32 to tell, the rest is summed by itself.

    Args:
        logits: float32 [num_rows, num_items].
        top: float32 [num_rows, k], the logits at `top_columns`.
        top_columns: int32 [num_rows, k], distinct in a row.
        temperature: float32 scalar.

    Returns:
        float32 [num_rows]. Its gradient is `softmax over the rest / temperature`: what goes to
        `top` cancels what goes to the same columns of `logits`.
    """
    scaled = logits / temperature
    probabilities = tf.nn.softmax(scaled)
    whole = log_sum_exp(scaled, probabilities)
    top_probabilities = tf.exp(top / temperature - whole[:, None])
    left = 1.0 - tf.reduce_sum(top_probabilities, axis=-1)
    rest = tf.cond(
        tf.reduce_min(left) > 0.01,
        lambda: whole + tf.math.log(left),
        lambda: tf.reduce_logsumexp(without(scaled, top_columns), axis=-1),
    )

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, None, None]:
        rows = (upstream * tf.exp(whole - rest) / temperature)[:, None]
        return probabilities * rows, -top_probabilities * rows, None, None

    return rest, gradient


def without(logits: tf.Tensor, columns_of_row: tf.Tensor) -> tf.Tensor:
    """The logits with the columns that each row names masked; int32 [num_rows, k]."""
    shape = tf.shape(columns_of_row)
    rows = tf.broadcast_to(tf.range(shape[0])[:, None], shape)
    indices = tf.stack([rows, columns_of_row], axis=-1)
    masked = tf.fill(shape, logits.dtype.min / 2)
    return tf.tensor_scatter_nd_update(logits, indices, masked)
