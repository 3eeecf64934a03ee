"""A model file as one function: arrays in, arrays out, by the names of its signature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from tfrs_distill.errors import InputError
from tfrs_distill.serving.artefact import SAVED_MODEL
from tfrs_distill.serving.interpreter import TFLiteModel
from tfrs_distill.serving.quiet import quiet_stderr

Run = Callable[[str, Mapping[str, np.ndarray]], dict[str, np.ndarray]]  # (signature, inputs)


def open_model(path: Path, *, num_threads: int = 1) -> Run:
    """The function of a `.tflite` file, run by LiteRT, or of the SavedModel around its file.

    Several threads may call it at once.

    Args:
        path: a `.tflite` file, or `saved_model.pb`.
        num_threads: how many threads LiteRT may use in a call. TensorFlow decides on its own.

    Raises:
        InputError: what runs it is not installed, or the file is no model.
    """
    if path.name == SAVED_MODEL:
        return _saved_model(path.parent)
    return TFLiteModel(path, num_threads=num_threads).run


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
