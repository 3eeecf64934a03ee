"""The SavedModel: for TensorFlow Serving, and the source of every other form."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from tfrs_distill.export.forms.form import ExportForm, ServedModule
from tfrs_distill.serving.artefact import SAVED_MODEL


def write_saved_model(module: ServedModule, folder: Path) -> None:
    """Write `module` into `folder`, also while functions run eagerly, as for debugging.

    Raises:
        OSError: the disk is full.
    """
    try:
        with functions_as_graphs():
            tf.saved_model.save(module, str(folder), module.served)
    except tf.errors.ResourceExhaustedError as error:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error


@contextlib.contextmanager
def functions_as_graphs() -> Iterator[None]:
    """Undo `tf.config.run_functions_eagerly(True)` inside: calls of functions stay in a graph."""
    eager = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(False)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(eager)


FORM = ExportForm("saved_model", "SavedModel", "for a server", SAVED_MODEL, write_saved_model)
