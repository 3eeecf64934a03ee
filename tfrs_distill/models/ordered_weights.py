"""The weights of a layer in an order that freezing a part of it does not change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf


def ordered_weights(layer: tf.keras.layers.Layer) -> list[tf.Variable]:
    """Every weight of a layer and of those in it, without metrics, each once.

    `layer.weights` has the trained ones first, so those of a layer with a frozen part are in
    another order than those of an equal layer without. Here two layers that are built of equal
    configurations have the same order, whatever `trainable` is.

    Example:
    >>> from tfrs_distill.models import DecayedAverage
    >>> layer = DecayedAverage(max_history=3, embedding_dim=2)
    >>> _ = layer(tf.zeros([1, 3, 2]), tf.ones([1, 3], tf.bool))
    >>> names = [weight.name for weight in ordered_weights(layer)]
    >>> layer.feed_forward.hidden.trainable = False
    >>> [weight.name for weight in ordered_weights(layer)] == names
    True
    >>> [weight.name for weight in layer.weights] == names
    False
    """
    found: dict[int, tf.Variable] = {}
    for part in layer._flatten_modules():
        is_layer = isinstance(part, tf.keras.layers.Layer)
        weights: Any = part.variables
        if is_layer:
            weights = [*part._trainable_weights, *part._non_trainable_weights]
        found |= {id(weight): weight for weight in weights if id(weight) not in found}
    return list(found.values())


def assign_weights(layer: tf.keras.layers.Layer, values: Sequence[np.ndarray]) -> None:
    """Give a layer the values of its `ordered_weights`.

    Raises:
        ValueError: they are not as many, or one has another shape.
    """
    for weight, one in zip(ordered_weights(layer), values, strict=True):
        weight.assign(one)


def copy_weights(of: tf.keras.layers.Layer, to: tf.keras.layers.Layer) -> None:
    """Give a layer the weights of another of an equal configuration, whatever is frozen.

    Raises:
        ValueError: they have not as many weights, or one has another shape.
    """
    assign_weights(to, [weight.numpy() for weight in ordered_weights(of)])
