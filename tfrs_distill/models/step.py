"""From a loss to new weights: the one place where a model of ours asks its optimizer."""

from __future__ import annotations

import tensorflow as tf

from tfrs_distill.models.replicas import num_replicas


def take_step(model: tf.keras.Model, total: tf.Tensor, tape: tf.GradientTape) -> None:
    """One step of the model's optimizer, loss scaling and clipping included.

    A loss that is NaN or infinite moves no weight (on several replicas it does: there an optimizer
    has to run on all or none).

    The gradients of embedding tables are made dense first where Keras' optimizers get sparse ones
    wrong, silently: under XLA with a number of rows that differs from batch to batch, and in
    clipping, which takes an item that is read twice for two gradients.

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
    if model.jit_compile or _clips(optimizer):
        pairs = [(None if g is None else tf.convert_to_tensor(g), v) for g, v in pairs]
    if num_replicas() > 1:
        optimizer.apply_gradients(pairs)
        return

    def apply() -> tf.Tensor:
        optimizer.apply_gradients(pairs)
        return tf.constant(True)

    tf.cond(tf.math.is_finite(total), apply, lambda: tf.constant(False))


def _clips(optimizer: tf.keras.optimizers.Optimizer) -> bool:
    while hasattr(optimizer, "inner_optimizer"):  # loss scaling around the optimizer
        optimizer = optimizer.inner_optimizer
    limits = ("clipnorm", "clipvalue", "global_clipnorm")
    return any(getattr(optimizer, limit, None) for limit in limits)
