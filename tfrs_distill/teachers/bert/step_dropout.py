"""Dropout that a seed and the number of the step fix, so that a resumed run drops the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf


@contextlib.contextmanager
def step_dropout(module: tf.Module, seed: int, step: tf.Variable) -> Iterator[None]:
    """Draw a module's dropout from `(seed, place of the layer, step)` while the block runs.

    Keras' own draws depend on how often a layer has been called since the process began, which no
    checkpoint holds. What is traced inside the block keeps these draws.

    Args:
        module: whose `Dropout` layers, at any depth.
        seed: int.
        step: int64 scalar that the caller moves on.
    """
    layers = [part for part in module.submodules if isinstance(part, tf.keras.layers.Dropout)]
    for place, layer in enumerate(layers):
        layer.call = _drawn(layer, tf.constant([seed, place], tf.int64), step)
    try:
        yield
    finally:
        for layer in layers:
            del layer.call


def _drawn(
    layer: tf.keras.layers.Dropout, seed: tf.Tensor, step: tf.Variable
) -> Callable[..., tf.Tensor]:
    def call(inputs: tf.Tensor, training: Any = None) -> tf.Tensor:
        if not training or not layer.rate:
            return tf.identity(inputs)
        here = tf.random.experimental.stateless_fold_in(seed, step)
        return tf.nn.experimental.stateless_dropout(
            inputs, layer.rate, here, noise_shape=layer.noise_shape
        )

    return call
