"""LiteRT, which runs a `.tflite` file without TensorFlow."""

from __future__ import annotations

import os
from typing import Any

from tfrs_distill.errors import InputError
from tfrs_distill.quiet import quiet_stderr


def open_interpreter(path: str | os.PathLike[str], *, num_threads: int = 1) -> Any:
    """A LiteRT interpreter for a `.tflite` file; TensorFlow is not imported.

    Raises:
        InputError: LiteRT is not installed, or the file is no model.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise InputError(
            "Reading a .tflite file needs `ai-edge-litert`, which is not installed. "
            "Install it with: pip install ai-edge-litert"
        ) from error
    try:
        with quiet_stderr():
            interpreter = Interpreter(model_path=os.fspath(path), num_threads=num_threads)
            interpreter.allocate_tensors()  # here, as LiteRT announces its delegates on the first
    except ValueError as error:
        raise InputError(f"{path} cannot be read as a .tflite model: {error}") from error
    return interpreter
