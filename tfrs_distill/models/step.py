"""From the losses of rows to a mean over all replicas, and from the total to new weights."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfrs_distill.losses.weighted_mean import weighted_mean
from tfrs_distill.models.replicas import num_replicas, sum_over_replicas


class Term(NamedTuple):
    """A weighted mean over rows.

    Args:
        part: on one of several replicas, this replica's part of the global batch's mean; the parts
            add up to it, for optimizers add the replicas' gradients.
        weight: the summed weight of the global batch's rows.
        values: float32 [num_rows], what it is the mean of; None of a sum of terms.
    """

    part: tf.Tensor
    weight: tf.Tensor
    values: tf.Tensor | None = None

    @property
    def mean(self) -> tf.Tensor:
        """The mean; on one of several replicas, a value whose mean over replicas is the mean."""
        return self.part * num_replicas()

    def update(self, metric: tf.keras.metrics.Mean) -> None:
        """Update a running mean, which adds up the replicas' totals and weights."""
        metric.update_state(self.mean, sample_weight=self.weight / num_replicas())


def term_of(values: tf.Tensor, weights: tf.Tensor | None) -> Term:
    """Return the weighted mean over the rows, or lists of rows, of all replicas.

    `part = mean * weight / sum over replicas of weight`.

    Args:
        values: float32 [num_rows].
        weights: [num_rows], or None where all count 1.
    """
    part, weight = weighted_mean(values, weights), total_weight(weights, tf.size(values))
    global_weight = sum_over_replicas(weight)
    if num_replicas() > 1:
        part *= tf.math.divide_no_nan(weight, global_weight)
    return Term(part, global_weight, values)


def total_weight(weights: tf.Tensor | None, num_rows: tf.Tensor) -> tf.Tensor:
    """Add up the rows' weights; without weights, the number of rows as float32."""
    if weights is None:
        return tf.cast(num_rows, tf.float32)
    return tf.reduce_sum(tf.cast(weights, tf.float32))


def take_step(model: tf.keras.Model, total: tf.Tensor, tape: tf.GradientTape) -> None:
    """Take one step of the model's optimizer, loss scaling and clipping included.

    A loss that is NaN or infinite moves no weight (on several replicas it does: there an optimizer
    has to run on all or none).

    The gradients of embedding tables are made dense first where Keras' optimizers get sparse ones
    wrong, silently: under XLA with a number of rows that differs from batch to batch, and in
    clipping, which takes an item that is read twice for two gradients. And for Adam, which moves
    the moments of every row in every step whatever the form: there dense is the faster one.

    Args:
        model: compiled; its trainable weights change.
        total: the scalar to minimise.
        tape: has recorded it.
    """
    optimizer = model.optimizer
    if not hasattr(optimizer, "compute_gradients"):  # one of `tf.keras.optimizers.legacy`
        optimizer.minimize(total, model.trainable_variables, tape=tape)
        return
    pairs = optimizer.compute_gradients(total, model.trainable_variables, tape=tape)
    if model.jit_compile or _wants_dense(optimizer):
        pairs = [(None if g is None else tf.convert_to_tensor(g), v) for g, v in pairs]
    if num_replicas() > 1:
        optimizer.apply_gradients(pairs)
        return

    def apply() -> tf.Tensor:
        optimizer.apply_gradients(pairs)
        return tf.constant(True)

    tf.cond(tf.math.is_finite(total), apply, lambda: tf.constant(False))


def _wants_dense(optimizer: tf.keras.optimizers.Optimizer) -> bool:
    while hasattr(optimizer, "inner_optimizer"):  # loss scaling around the optimizer
        optimizer = optimizer.inner_optimizer
    limits = ("clipnorm", "clipvalue", "global_clipnorm")
    clips = any(getattr(optimizer, limit, None) for limit in limits)
    return clips or isinstance(optimizer, tf.keras.optimizers.Adam)
