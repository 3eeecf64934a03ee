"""Top-K logits with the log-sum-exp of the rest: a coarse form of a teacher's distribution."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill.losses.candidate_lists import MASKED


def summarise_top_k(
    logits: tf.Tensor, k: int, temperatures: tuple[float, ...]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return a teacher's exact top-K logits and the remaining probability mass.

    Args:
        logits: float32 [num_rows, num_items].
        k: number of top items, below `num_items`.
        temperatures: the temperatures at which the tail is summed.

    Returns:
        Item indices int32 [num_rows, k]; their logits float32 [num_rows, k]; and
        `log sum_{j in tail} exp(logits_j / temperature)` float32 [num_rows, num_temperatures].
    """
    top = tf.math.top_k(logits, k + 1)
    # Masking, not subtracting: log(sum of all - sum of top) loses a small tail in float32.
    tail = without(logits, top.indices[:, :k])
    largest = tf.reduce_max(tail, axis=-1, keepdims=True)  # once for all temperatures
    below = tail - largest
    sums = [
        tf.math.log(tf.reduce_sum(tf.exp(below / temperature), axis=-1))
        + largest[:, 0] / temperature
        for temperature in temperatures
    ]
    return top.indices[:, :k] + 1, top.values[:, :k], tf.stack(sums, axis=-1)


def align_top_k(
    student_logits: tf.Tensor,
    top_k_ids: tf.Tensor,
    top_k_logits: tf.Tensor,
    tail: tf.Tensor,
    temperature: tf.Tensor | float,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return teacher and student logits over the same K + 1 candidates: the top K and "the rest".

    The logit of the rest is `temperature * log sum_{j in rest} exp(logits_j / temperature)`, so
    that a softmax at `temperature` over the K + 1 candidates gives the rest exactly its total
    probability.

    Args:
        student_logits: float32 [num_rows, num_items].
        top_k_ids: int32 [num_rows, k], item indices.
        top_k_logits: float32 [num_rows, k], the teacher's logits.
        tail: float32 [num_rows], the teacher's log-sum-exp of the rest at `temperature`.
        temperature: temperature of the loss.

    Returns:
        Teacher logits and student logits, both float32 [num_rows, k + 1].
    """
    temperature = tf.convert_to_tensor(temperature, tf.float32)
    teacher = tf.concat([top_k_logits, temperature * tail[:, None]], axis=-1)
    return teacher, top_and_rest(student_logits, top_k_ids - 1, temperature)


@tf.custom_gradient
def top_and_rest(logits: tf.Tensor, top_columns: tf.Tensor, temperature: tf.Tensor) -> Any:
    """Return logits at each row's top columns, and `T log sum_j exp(logits_j / T)` of the others.

    The gradient of the last entry is the softmax over the other columns alone, so nothing cancels
    even if they have little of the row's probability.

    Args:
        logits: float32 [num_rows, num_items].
        top_columns: int32 [num_rows, k], distinct in a row.
        temperature: T, float32 scalar.

    Returns:
        float32 [num_rows, k + 1].
    """
    top = gathered(logits, top_columns)
    rest = without(logits, top_columns) / temperature
    probabilities = tf.nn.softmax(rest)
    last = temperature * log_sum_exp(rest, probabilities)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None, None]:
        of_top = scattered(upstream[:, :-1], top_columns, 0.0, tf.shape(logits))
        return of_top + probabilities * upstream[:, -1:], None, None

    return tf.concat([top, last[:, None]], axis=-1), gradient


def log_sum_exp(logits: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
    """Compute `log sum_j exp(logits_j)` of each row, given the row's softmax.

    `logits_j - log softmax_j` at the largest logit, whose probability never underflows.
    """
    return tf.reduce_max(logits, axis=-1) - tf.math.log(tf.reduce_max(probabilities, axis=-1))


def without(logits: tf.Tensor, columns_of_row: tf.Tensor) -> tf.Tensor:
    """Return the logits with the given columns of each row masked; int32 [num_rows, k]."""
    is_named = tf.ones_like(columns_of_row, tf.bool)
    is_named = scattered(is_named, columns_of_row, False, tf.shape(logits))
    return tf.where(is_named, tf.constant(MASKED, logits.dtype), logits)


def gathered(values: tf.Tensor, columns_of_row: tf.Tensor) -> tf.Tensor:
    """Return the values in the given columns of each row, `[num_rows, k]`.

    Faster on a CPU than `tf.gather(..., batch_dims=1)`, which moves slices, not numbers.
    """
    places = _places(columns_of_row, tf.shape(values))
    return tf.gather_nd(tf.reshape(values, [-1]), places[..., None])


def scattered(
    values: tf.Tensor, columns_of_row: tf.Tensor, elsewhere: Any, shape: tf.Tensor
) -> tf.Tensor:
    """Write `[num_rows, k]` values to the given columns of each row, `[num_rows, num_items]`.

    A tenth of the time of `tf.tensor_scatter_nd_update` on a CPU, which moves slices, not numbers.
    """
    flat = tf.raw_ops.SparseToDense(
        sparse_indices=tf.reshape(_places(columns_of_row, shape), [-1]),
        output_shape=[shape[0] * shape[1]],
        sparse_values=tf.reshape(values, [-1]),
        default_value=elsewhere,
        validate_indices=False,  # would require sorted indices
    )
    return tf.reshape(flat, shape)


def _places(columns_of_row: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Return the flat positions in a matrix of this shape."""
    return columns_of_row + shape[1] * tf.range(shape[0])[:, None]
