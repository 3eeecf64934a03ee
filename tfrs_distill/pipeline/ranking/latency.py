"""Milliseconds a row, one row at a time on one thread.

`python -m tfrs_distill.pipeline.ranking.latency` reads a JSON request from standard input and
prints one line of JSON: TensorFlow's thread count can only be chosen in a fresh process.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from tfrs_distill.evaluation.latency import milliseconds


def answer(request: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Time every model of a request: Keras files by name, and an artefact's models."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from tfrs_distill import (
        models,  # noqa: F401  (their classes are to be loaded)
        teachers,  # noqa: F401  (their classes are to be loaded)
    )
    from tfrs_distill.serving.ranker import Ranker

    with np.load(request["rows"]) as arrays:
        columns = {name: arrays[name] for name in arrays.files}
    num_rows = len(next(iter(columns.values())))
    times = {}
    for name, path in request["keras"].items():
        model = tf.keras.models.load_model(path)
        ask: Any = tf.function(model.predictions)
        rows = [
            {key: tf.constant(columns[key][row : row + 1]) for key in model.input_columns}
            for row in range(num_rows)
        ]
        times[name] = milliseconds(ask, rows)
    read = request["input_columns"]
    plain = [{key: columns[key][row : row + 1] for key in read} for row in range(num_rows)]
    for name, (path, format) in request["artefacts"].items():
        times[name] = milliseconds(Ranker.load(path, format=format).score, plain)
    return times


if __name__ == "__main__":
    print(json.dumps(answer(json.load(sys.stdin))))
