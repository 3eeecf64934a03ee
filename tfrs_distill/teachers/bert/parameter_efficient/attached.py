"""Layers added to a model: their trained weights, and how to save, merge and detach them."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import safetensors
import safetensors.numpy
import tensorflow as tf

from tfrs_distill.errors import InputError
from tfrs_distill.files import content_sha256, whole_file
from tfrs_distill.teachers.bert.parameter_efficient.layer_stack import LayerStack
from tfrs_distill.teachers.bert.text_encoder import TextEncoder

FORMAT = "tfrs-distill parameter-efficient 2"


class AddedLayer(tf.keras.layers.Layer):
    """A layer that replaces and contains one of the model's layers."""


class ParameterEfficient(Protocol):
    """The interface of `LoRA`, `BottleneckAdapters` and `PrefixVectors`: frozen dataclasses."""

    def attach(self, encoder: TextEncoder) -> Attached:
        """Add the layers to an encoder's model."""
        ...


class Attached:
    """Layers that `LoRA`, `BottleneckAdapters` or `PrefixVectors` added to an encoder.

    Train only `trainable_variables`; the model's own weights do not change.

    Args:
        encoder: the text encoder; its model is changed in place.
        method: the configuration that adds the layers.

    Raises:
        ValueError: the encoder already has such layers, or is of a family without a stack of
            layers.
    """

    def __init__(self, encoder: TextEncoder, method: ParameterEfficient) -> None:
        check_bare(encoder, f"take {type(method).__name__}")
        self.encoder, self.method = encoder, method
        self.stack = LayerStack(encoder.model)
        self.base_fingerprint = self.stack.fingerprint()
        self._replaced: list[tuple[Any, str, Any]] = []
        self._borrowed: list[tuple[tf.Variable, np.ndarray]] = []
        self._variables: dict[str, tf.Variable] = {}
        self._merge: Callable[[], None] | None = None
        self._gone = ""

    def replace(self, owner: Any, attribute: str, layer: AddedLayer) -> None:
        """Replace one of the model's layers by an added layer."""
        self._replaced.append((owner, attribute, getattr(owner, attribute)))
        setattr(owner, attribute, layer)

    def train(self, name: str, variable: tf.Variable, *, borrowed: bool = False) -> None:
        """Add a weight to the trained ones; a borrowed weight belongs to the model itself."""
        self._variables[name] = variable
        if borrowed:
            self._borrowed.append((variable, variable.numpy()))

    def ready(self, merge: Callable[[], None] | None = None) -> Attached:
        """Set the function that merges the layers into the model's weights, if this is possible."""
        self._merge = merge
        return self

    @property
    def trainable_variables(self) -> list[tf.Variable]:
        """The trained weights; all others are frozen."""
        return list(self._variables.values())

    @property
    def num_parameters(self) -> int:
        """Number of trained parameters."""
        return sum(int(np.prod(v.shape)) for v in self.trainable_variables)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trained weights, their configuration and the base's fingerprint to one file.

        Args:
            path: a safetensors file; it is written atomically.

        Raises:
            ValueError: the layers were merged or detached.
        """
        self._check_there("save")
        weights = {name: v.numpy() for name, v in self._variables.items()}
        SavedWeights(
            type(self.method).__name__,
            dataclasses.asdict(self.method),  # type: ignore[call-overload]
            self.base_fingerprint,
            weights,
        ).write(path)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Load the weights of a file that `save` wrote for an equal encoder and configuration.

        Raises:
            InputError: the file is of another kind, configuration, base checkpoint or shape; the
                weights are then unchanged.
            ValueError: the layers were merged or detached.
        """
        self._check_there("load")
        saved = SavedWeights.read(path)
        mine = {"method": type(self.method).__name__} | dataclasses.asdict(self.method)  # type: ignore[call-overload]
        theirs = {"method": saved.method} | saved.arguments
        mine.pop("seed"), theirs.pop("seed", None)
        if _plain(mine) != _plain(theirs):
            raise InputError(
                f"{path} was written for {_described(theirs)}, not for {_described(mine)}. "
                "`attach_saved(encoder, path)` attaches what the file names."
            )
        if saved.base_fingerprint != self.base_fingerprint:
            raise InputError(
                f"{path} was trained on another base checkpoint (weights {saved.base_fingerprint}) "
                f"than this encoder's ({self.base_fingerprint}). Load it onto the "
                "checkpoint it was trained on, with the weights of that time."
            )
        for name, variable in self._variables.items():
            shape = saved.weights[name].shape if name in saved.weights else None
            if shape != tuple(variable.shape) or len(saved.weights) != len(self._variables):
                raise InputError(
                    f"{path} holds {len(saved.weights)} weights, {name} of shape {shape}; expected "
                    f"{len(self._variables)}, {name} of shape {tuple(variable.shape)}. The file "
                    "does not belong to this encoder."
                )
        for name, variable in self._variables.items():
            variable.assign(saved.weights[name])

    def merge(self) -> None:
        """Add the trained weights to the model's weights and remove the added layers.

        Afterwards the encoder is as fast as before and returns the tuned vectors, up to the
        rounding of the merged weights. This is possible only for `LoRA`, which is linear in a
        weight of the model. Adapters and prefix vectors stay in the forward pass, with a small cost
        at inference.

        Raises:
            ValueError: the method cannot be merged, or the layers are already merged or detached.
        """
        self._check_there("merge")
        if self._merge is None:
            raise ValueError(
                f"{type(self.method).__name__} cannot be merged into the model's weights: it "
                "stays in the forward pass. Use the encoder as it is; only `LoRA` merges."
            )
        self._merge()
        self._take_off("merged")

    def detach(self) -> None:
        """Remove the added layers: the encoder is bit for bit the same as before `attach`."""
        self._check_there("detach")
        for variable, value in self._borrowed:
            variable.assign(value)
        self._take_off("taken off")

    def _take_off(self, how: str) -> None:
        for owner, attribute, layer in reversed(self._replaced):
            setattr(owner, attribute, layer)
        self._gone = how

    def _check_there(self, wanted: str) -> None:
        if self._gone:
            raise ValueError(
                f"`{wanted}` needs the added layers, but they were {self._gone}. Attach them again."
            )


@dataclass(frozen=True)
class SavedWeights:
    """The file of a parameter-efficient tuning: safetensors with metadata.

    Args:
        method: name of the configuration's class, such as "LoRA".
        arguments: the configuration's arguments.
        base_fingerprint: sha256 of the weights of the model that the layers were added to.
        weights: the trained weights by name.
    """

    method: str
    arguments: dict[str, Any]
    base_fingerprint: str
    weights: dict[str, np.ndarray]

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file atomically."""
        metadata = {
            "format": FORMAT,
            "method": self.method,
            "arguments": json.dumps(self.arguments),
            "base_fingerprint": self.base_fingerprint,
        }
        weights = {name: np.ascontiguousarray(w) for name, w in self.weights.items()}
        metadata["sha256"] = content_sha256(metadata, weights)
        with whole_file(path) as file:
            file.write(safetensors.numpy.save(weights, metadata=metadata))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> SavedWeights:
        """Read a file that `write` wrote.

        Raises:
            InputError: there is no such file, it is truncated or changed, or it was not written by
                `write`.
        """
        if not Path(path).is_file():
            raise InputError(f"There is no file {path}. Give one that `save` has written.")
        try:
            with safetensors.safe_open(os.fspath(path), framework="numpy") as file:
                metadata = file.metadata() or {}
                weights = {name: file.get_tensor(name) for name in file.keys()}
            sha256, format_ = metadata.pop("sha256", ""), metadata.get("format")
            if format_ == FORMAT and content_sha256(metadata, weights) != sha256:
                raise ValueError("its sha256 differs")
            if format_ == FORMAT:
                arguments = json.loads(metadata["arguments"])
                return cls(metadata["method"], arguments, metadata["base_fingerprint"], weights)
        except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} cannot be read as saved weights ({error}). It may be truncated, changed "
                "or of another kind; save it again."
            ) from error
        raise InputError(
            f"{path} holds no parameter-efficient weights of this version: its format is "
            f"{format_!r}, expected {FORMAT!r}."
        )


def check_bare(encoder: TextEncoder, purpose: str) -> None:
    """Raise a ValueError if an encoder has added layers; `purpose`: what it cannot do."""
    if any(isinstance(module, AddedLayer) for module in encoder.model.submodules):
        raise ValueError(
            f"The encoder already has added layers, so it cannot {purpose}. Call `merge()` or "
            "`detach()` of the earlier ones."
        )


def _plain(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return arguments as read from JSON: lists instead of tuples."""
    return {name: list(v) if isinstance(v, tuple) else v for name, v in arguments.items()}


def _described(arguments: dict[str, Any]) -> str:
    rest = ", ".join(f"{name}={v!r}" for name, v in _plain(arguments).items() if name != "method")
    return f"{arguments['method']}({rest})"
