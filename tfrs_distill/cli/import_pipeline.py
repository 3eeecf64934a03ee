"""Import the pipeline without TensorFlow's messages."""

from __future__ import annotations

import logging
from typing import Any

from tfrs_distill.errors import InputError
from tfrs_distill.keras_version import require_keras_2
from tfrs_distill.serving.quiet import quiet_stderr


def import_pipeline() -> Any:
    """The pipeline's functions, imported without TensorFlow's messages."""
    try:
        require_keras_2()
    except ImportError as error:
        raise InputError(str(error)) from error
    with quiet_stderr():  # TensorFlow writes to standard error before it reads any setting
        import tensorflow  # noqa: F401  which the pipeline imports later

        from tfrs_distill import pipeline
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    return pipeline
