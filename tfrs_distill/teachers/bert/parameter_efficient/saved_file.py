"""One file of trained weights, with what they are and what they belong to."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.errors import InputError
from tfrs_distill.files import content_sha256, whole_file

FORMAT = "tfrs-distill parameter-efficient 2"


@dataclass(frozen=True)
class SavedWeights:
    """The file of a parameter-efficient tuning: safetensors with metadata.

    Args:
        method: name of the configuration's class, such as "LoRA".
        arguments: the configuration's arguments.
        base_fingerprint: sha256 of the weights of the model that the layers were put onto.
        weights: the trained weights by name.
    """

    method: str
    arguments: dict[str, Any]
    base_fingerprint: str
    weights: dict[str, np.ndarray]

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file, whole or not at all."""
        import safetensors.numpy

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
            InputError: there is no such file, it is truncated or changed, or something else wrote
                it.
        """
        import safetensors

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
