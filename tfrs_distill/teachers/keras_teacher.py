"""Any Keras model as a teacher."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.models.hidden_representations import recorded
from tfrs_distill.teachers.function_teacher import in_float32


class KerasTeacher:
    """A `tf.keras.Model` that returns logits, called in inference mode and never changed.

    The model is called with the batch's column `columns.INPUTS`; a functional model with named
    inputs is called with the columns of these names; any other with the whole batch. The columns of
    its logits must be the student's candidates, in their order.

    Args:
        model: returns logits, float [num_rows, num_candidates], or a dict of logits by task.
    """

    def __init__(self, model: tf.keras.Model) -> None:
        self.model = model

    def logits(
        self, batch: dict[str, Any], candidate_ids: tf.Tensor | None = None
    ) -> tf.Tensor | dict[str, tf.Tensor]:
        """Logits, float32 [num_rows, num_candidates], or a dict of logits by task."""
        return in_float32(self._outputs(batch))

    def hidden_representations(self, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        """Outputs of the model's layers by path."""
        with recorded(self.model) as hidden:
            self._outputs(batch)
        return hidden

    def fingerprint(self) -> str:
        """sha256 of the configuration of the model and its layers, and of every weight.

        The code of a subclass' own `call` is not included, only the class' name. Names that Keras
        numbers (`dense`, `dense_1`) are part of the configuration: the same program, or a saved
        model, has the same fingerprint again.

        Raises:
            ValueError: the model has no weights yet.
        """
        if not self.model.built:
            raise ValueError(
                f"The Keras model {self.model.name!r} has no weights yet, so there is nothing to "
                "fingerprint. Call it once on a batch, or build it, before its logits are cached."
            )
        layers = [self.model, *(m for m in self.model.submodules if _is_layer(m))]
        digest = hashlib.sha256(b"keras")
        for layer in layers:
            kind = f"{type(layer).__module__}.{type(layer).__qualname__}"
            text = json.dumps([kind, _config(layer)], sort_keys=True, default=_name)
            digest.update(text.encode() + b"\0")
        for weight in self.model.weights:
            value = weight.numpy()
            digest.update(str((value.dtype.str, value.shape)).encode() + value.tobytes())
        return digest.hexdigest()

    def _outputs(self, batch: dict[str, Any]) -> Any:
        named = getattr(self.model, "input", None)  # of a functional model
        if isinstance(named, Mapping) and set(named) <= set(batch):
            return self.model({name: batch[name] for name in named}, training=False)
        return self.model(batch.get(columns.INPUTS, batch), training=False)


def _is_layer(module: tf.Module) -> bool:
    return isinstance(module, tf.keras.layers.Layer)


def _config(layer: tf.keras.layers.Layer) -> Any:
    try:
        return layer.get_config()
    except NotImplementedError:  # a subclass whose arguments Keras cannot serialize
        return layer.name


def _name(value: Any) -> str:
    """Return a name for a value that JSON cannot hold; never its memory address."""
    return str(getattr(value, "__name__", type(value).__name__))
