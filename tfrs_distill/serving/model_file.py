"""The model file of an artefact, as one function of named arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from tfrs_distill.errors import InputError
from tfrs_distill.serving.artefact import PROVENANCE, SAVED_MODEL, Artefact
from tfrs_distill.serving.interpreter import TFLiteModel
from tfrs_distill.serving.quiet import quiet_stderr

Run = Callable[[str, Mapping[str, np.ndarray]], dict[str, np.ndarray]]  # (signature, inputs)


def find_model(
    path: str | os.PathLike[str], format: str | None, kind: str
) -> tuple[Artefact, Path]:
    """Return the artefact at `path`, and the model file to run.

    Args:
        path: the artefact's folder, or one `.tflite` file inside it.
        format: "tflite" or "saved_model"; None prefers `.tflite`.
        kind: the expected kind of student.

    Raises:
        InputError: it is not an artefact of that kind, a file is truncated, or it lacks the format.
    """
    path = Path(path)
    if format not in (None, "tflite", "saved_model"):
        raise InputError(
            f"`format` must be 'tflite' or 'saved_model'. Received: format={format!r}."
        )
    if path.suffix != ".tflite" or path.is_dir():
        artefact = Artefact.read(path, kind)
        return artefact, artefact.folder / _choose(artefact, format)
    if format == "saved_model":
        raise InputError(f"{path} is a .tflite file. For format='saved_model' give its folder.")
    if not path.is_file():
        raise InputError(f"There is no file {path}. Check the path.")
    if not (path.parent / PROVENANCE).is_file():
        raise InputError(
            f"{path} is not in an artefact: {PROVENANCE} and the item titles are missing. "
            "Copy the whole folder that it was exported to."
        )
    artefact = Artefact.read(path.parent, kind)
    if path.name not in artefact.tflite_files:
        raise InputError(
            f"{path} is not part of the artefact around it, which has: "
            f"{', '.join(artefact.tflite_files) or 'no .tflite file'}."
        )
    return artefact, path


def _choose(artefact: Artefact, format: str | None) -> str:
    """Return the name of the model file in a format."""
    if format != "saved_model" and artefact.tflite_files:
        return artefact.tflite_files[0]
    if format != "tflite" and artefact.has_saved_model:
        return SAVED_MODEL
    models = [*artefact.tflite_files, *([SAVED_MODEL] if artefact.has_saved_model else [])]
    raise InputError(
        f"{artefact.folder} holds no model in format {format or 'tflite or saved_model'!r}; "
        f"it has: {', '.join(models) or 'none'}."
    )


def open_model(path: Path, *, num_threads: int = 1) -> Run:
    """Return the function of a `.tflite` file, run by LiteRT, or of a SavedModel.

    Several threads may call it at the same time.

    Args:
        path: a `.tflite` file, or `saved_model.pb`.
        num_threads: number of threads that LiteRT may use per call. Not used by TensorFlow.

    Raises:
        InputError: the runtime is not installed, or the file is not a model.
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
        outputs = loaded.signatures[signature](**tensors)
        return {name: values.numpy() for name, values in outputs.items()}

    return run
