"""The Keras 2 check: the first thing the package does.

TensorFlow Recommenders requires Keras 2 (`tf_keras`), and TensorFlow selects the Keras version of
`tf.keras` at its first import. This module sets `TF_USE_LEGACY_KERAS=1` if TensorFlow is not
imported yet; otherwise its error says what to do.
"""

from __future__ import annotations

import os
import sys

FIRST_CELL = 'import os; os.environ["TF_USE_LEGACY_KERAS"] = "1"'


def require_keras_2() -> None:
    """Make `tf.keras` Keras 2, or raise.

    Raises:
        ImportError: TensorFlow was imported before this package and has already chosen Keras 3.
    """
    if "tensorflow" not in sys.modules:
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
        return
    import tensorflow as tf

    if tf.keras.Model.__module__.startswith("tf_keras"):
        return
    raise ImportError(
        "tfrs_distill needs `tf.keras` to be Keras 2, but TensorFlow was imported before it and "
        "has chosen Keras 3. Restart the process (in a notebook: the runtime) and make this the "
        f"first line, before any import of TensorFlow: {FIRST_CELL}"
    )
