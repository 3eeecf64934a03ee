"""From a loss to new weights: the one place where a model of ours asks its optimizer."""

from __future__ import annotations

import tensorflow as tf


def take_step(model: tf.keras.Model, total: tf.Tensor, tape: tf.GradientTape) -> None:
    """One step of the model's optimizer, loss scaling and clipping included.

    The gradients of embedding tables are made dense first where Keras' optimizers get sparse ones
    wrong, silently: under XLA with a number of rows that differs from batch to batch, and in
    clipping, which takes an item that is read twice for two gradients.

    Args:
        model: compiled; its trainable weights change.
        total: the scalar to minimise.
        tape: has recorded it.
    """
    if not (model.jit_compile or _clips(model.optimizer)):
        model.optimizer.minimize(total, model.trainable_variables, tape=tape)
        return
    pairs = model.optimizer.compute_gradients(total, model.trainable_variables, tape=tape)
    model.optimizer.apply_gradients(
        [(None if g is None else tf.convert_to_tensor(g), variable) for g, variable in pairs]
    )


def _clips(optimizer: tf.keras.optimizers.Optimizer) -> bool:
    while hasattr(optimizer, "inner_optimizer"):  # loss scaling around the optimizer
        optimizer = optimizer.inner_optimizer
    limits = ("clipnorm", "clipvalue", "global_clipnorm")
    return any(getattr(optimizer, limit, None) for limit in limits)
