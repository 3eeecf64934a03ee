"""From a loss to new weights: the one place where a model of ours asks its optimizer."""

from __future__ import annotations

import tensorflow as tf


def take_step(model: tf.keras.Model, total: tf.Tensor, tape: tf.GradientTape) -> None:
    """One step of the model's optimizer, loss scaling and clipping included.

    Under XLA the gradients of embedding tables are made dense first: with a number of rows that
    differs from batch to batch, Keras' optimizers apply sparse ones wrongly there, and silently.

    Args:
        model: compiled; its trainable weights change.
        total: the scalar to minimise.
        tape: has recorded it.
    """
    if not model.jit_compile:
        model.optimizer.minimize(total, model.trainable_variables, tape=tape)
        return
    pairs = model.optimizer.compute_gradients(total, model.trainable_variables, tape=tape)
    model.optimizer.apply_gradients(
        [(None if g is None else tf.convert_to_tensor(g), variable) for g, variable in pairs]
    )
