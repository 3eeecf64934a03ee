"""A model file as one function: arrays in, arrays out, by the names of its signature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.artefact import SAVED_MODEL
from tfrs_distill.errors import InputError
from tfrs_distill.interpreter import open_interpreter
from tfrs_distill.quiet import quiet_stderr

Run = Callable[[str, Mapping[str, np.ndarray]], dict[str, np.ndarray]]  # (signature, inputs)


def open_model(path: Path, *, num_threads: int = 1) -> Run:
    """The function of a `.tflite` file, run by LiteRT, or of the SavedModel around its file.

    Args:
        path: a `.tflite` file, or `saved_model.pb`.
        num_threads: how many threads LiteRT may use. TensorFlow decides on its own.

    Raises:
        InputError: what runs it is not installed, or the file is no model.
    """
    return _saved_model(path.parent) if path.name == SAVED_MODEL else _tflite(path, num_threads)


def _tflite(path: Path, num_threads: int) -> Run:
    interpreter = open_interpreter(path, num_threads=num_threads)
    runners: dict[str, Any] = {}

    def run(signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if signature not in runners:  # each needs the interpreter, which lives as long as this does
            runners[signature] = interpreter.get_signature_runner(signature)
        # Resizes the inputs, 0.03 ms, where their shapes have changed.
        return dict(runners[signature](**inputs))

    return run


def _saved_model(folder: Path) -> Run:
    try:
        with quiet_stderr():
            import tensorflow as tf
    except ImportError as error:
        raise InputError(
            "Reading a SavedModel needs `tensorflow`, which is not installed. Install it with: "
            "pip install tensorflow. A .tflite file needs only `ai-edge-litert`."
        ) from error
    with quiet_stderr():
        loaded = tf.saved_model.load(str(folder))

    def run(signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors = {name: tf.constant(values) for name, values in inputs.items()}
        said = loaded.signatures[signature](**tensors)
        return {name: values.numpy() for name, values in said.items()}

    return run
