"""Errors for probabilities that are passed as logits, detected in layers, operations or values."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import tensorflow as tf

ROWS = 8  # enough to detect probabilities at little cost
UNCHANGED = ("Identity", "Cast", "Reshape", "Squeeze", "ExpandDims", "StopGradient", "EnsureShape")
ACTIVATIONS = ("softmax", "sigmoid")


def refuse_model(model: tf.keras.Model, whose: str) -> None:
    """Raise a ValueError if a functional or sequential model ends in a softmax or sigmoid.

    Args:
        model: a model that should return logits; the last layer of a subclassed model is unknown.
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
    for attribute in ("activation", "function"):  # layer, or operation used as a layer
        _refuse(getattr(getattr(layer, attribute, None), "__name__", ""), whose)


def refuse_logits(logits: tf.Tensor, whose: str) -> None:
    """Raise a ValueError if logits are the output of a softmax or sigmoid, whatever their values.

    This is only known in a graph; eagerly nothing is raised.

    Args:
        logits: output of a model.
        whose: `"teacher"` or `"student"`.
    """
    if not tf.is_symbolic_tensor(logits):
        return
    operation = logits.op
    while operation.type in UNCHANGED:
        operation = operation.inputs[0].op
    _refuse(operation.type.lower(), whose)


def refuse_values(logits: tf.Tensor, weights: Any, whose: str) -> None:
    """Raise a ValueError if eager logits are all at least 0 and every row sums to 1."""
    rows = _weighted_rows(logits, weights)[:ROWS]
    if rows.shape[-1] == 1 or not rows.size:
        return
    if (rows >= 0.0).all() and (np.abs(rows.sum(axis=-1) - 1.0) <= 1e-3).all():
        raise ValueError(
            f"The {whose}'s logits are probabilities: none is negative and every row sums to 1. "
            "Return logits (the values before the softmax), or the logarithm of the probabilities."
        )


def warn_of_single_probabilities(logits: tf.Tensor, weights: Any, task: str) -> None:
    """Warn if eager teacher logits of width 1 are all within 0 and 1, as probabilities are.

    Logits of a weak teacher may be, too, so this is no error.
    """
    rows = _weighted_rows(logits, weights)
    within = rows.shape[-1] == 1 and len(rows) >= ROWS and (0 <= rows).all() and (rows <= 1).all()
    if within and ((0 < rows) & (rows < 1)).any():
        warnings.warn(
            f"All teacher logits of {task!r} in the first batch are within 0 and 1, like "
            "probabilities p. If they are, pass their logits, log(p / (1 - p)).",
            stacklevel=2,
        )


def _weighted_rows(logits: tf.Tensor, weights: Any) -> np.ndarray:
    rows: np.ndarray = logits.numpy()
    return rows if weights is None else rows[weights.numpy() > 0]


def _refuse(name: str, whose: str) -> None:
    activation = name.removesuffix("_v2")  # the internal name of `tf.nn.softmax`
    if activation in ACTIVATIONS:
        raise ValueError(
            f"The {whose}'s logits are probabilities: it ends in a {activation}. Return logits: "
            f"remove the {activation} from the model, and apply it to the logits where "
            "probabilities are needed."
        )
