"""Models that end in a softmax or a sigmoid, seen before they are trained on."""

from __future__ import annotations

import tensorflow as tf

UNCHANGED = ("Identity", "Cast", "Reshape", "Squeeze", "ExpandDims", "StopGradient", "EnsureShape")
ACTIVATIONS = ("softmax", "sigmoid")


def refuse_model(model: tf.keras.Model, whose: str) -> None:
    """Raises a ValueError where the last layer of a functional or sequential model is such.

    Args:
        model: gives logits; of a subclass, which layer is the last is not known.
        whose: `"teacher"` or `"student"`.
    """
    layer: tf.keras.layers.Layer | None = model
    while isinstance(layer, tf.keras.Model):
        if isinstance(layer, tf.keras.Sequential):
            layer = layer.layers[-1] if layer.layers else None
        else:
            outputs = tf.nest.flatten(layer.outputs or [])
            layer = outputs[0].node.layer if len(outputs) == 1 else None
    if isinstance(layer, tf.keras.layers.Softmax):
        _refuse("softmax", whose)
    for attribute in ("activation", "function"):  # of a layer, of a TensorFlow function among them
        _refuse(getattr(getattr(layer, attribute, None), "__name__", ""), whose)


def refuse_logits(logits: tf.Tensor, whose: str) -> None:
    """Raises a ValueError where the operation that made the logits is such, whatever their values.

    Only a graph knows it: eagerly this says nothing.

    Args:
        logits: what a model gives.
        whose: `"teacher"` or `"student"`.
    """
    if not tf.is_symbolic_tensor(logits):
        return
    operation = logits.op
    while operation.type in UNCHANGED:
        operation = operation.inputs[0].op
    _refuse(operation.type.lower(), whose)


def _refuse(name: str, whose: str) -> None:
    activation = name.removesuffix("_v2")  # `tf.nn.softmax` is called so inside
    if activation in ACTIVATIONS:
        raise ValueError(
            f"The {whose}'s logits are probabilities: it ends in a {activation}. Give logits: "
            f"leave the {activation} out of the model, and take it of the logits where "
            "probabilities are wanted."
        )
