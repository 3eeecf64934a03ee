"""LiteRT, which runs a `.tflite` file without TensorFlow."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.errors import InputError
from tfrs_distill.serving.quiet import quiet_stderr


class TFLiteModel:
    """A `.tflite` file as one function, which any number of threads may call at the same time.

    A LiteRT interpreter serves one thread at a time. A call uses the idle interpreter that was used
    last, or opens another one if all are busy, up to one per core. So one thread uses one
    interpreter, and short-lived threads leave none behind. All share one copy of the file in
    memory: the file may be replaced while the old one is in use.

    Args:
        path: the file.
        num_threads: number of threads that an interpreter may use; one core is meant for each.

    Raises:
        InputError: LiteRT is not installed, or the file is not a model.
    """

    def __init__(self, path: str | os.PathLike[str], *, num_threads: int = 1) -> None:
        self._path, self._num_threads = Path(path), num_threads
        self._model = self._path.read_bytes()
        self._idle = [self._open()]  # a list's `pop` and `append` are safe under threads
        self._places = threading.Semaphore(max(1, (os.cpu_count() or 1) // num_threads))

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run one of the file's signatures; inputs and outputs by name."""
        with self._places:
            try:
                runners = self._idle.pop()
            except IndexError:
                runners = self._open()
            # Resizes the inputs (0.03 ms) if their shapes have changed.
            outputs = dict(runners[signature](**inputs))
            self._idle.append(runners)  # not after an error, which may leave it in an invalid state
        return outputs

    def _open(self) -> dict[str, Any]:
        """Return a new interpreter's signatures; each holds the interpreter."""
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise InputError(
                "Reading a .tflite file needs `ai-edge-litert`, which is not installed. "
                "Install it with: pip install ai-edge-litert"
            ) from error
        try:
            with quiet_stderr():
                interpreter = Interpreter(model_content=self._model, num_threads=self._num_threads)
                interpreter.allocate_tensors()  # here, because LiteRT prints its delegate now
        except ValueError as error:
            raise InputError(f"{self._path} cannot be read as a .tflite model: {error}") from error
        return {
            name: interpreter.get_signature_runner(name)
            for name in interpreter.get_signature_list()
        }
