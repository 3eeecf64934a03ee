"""The SavedModel: for TensorFlow Serving, and the source of every other form."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import tensorflow as tf

from tfrs_distill.export.forms.form import ExportForm, ServedModule
from tfrs_distill.serving.artefact import SAVED_MODEL


def write_saved_model(module: ServedModule, folder: Path) -> None:
    """Write `module` into `folder`.

    Raises:
        OSError: the disk is full.
    """
    try:
        tf.saved_model.save(module, str(folder), module.served)
    except tf.errors.ResourceExhaustedError as error:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error


FORM = ExportForm("saved_model", "SavedModel", "for a server", SAVED_MODEL, write_saved_model)
