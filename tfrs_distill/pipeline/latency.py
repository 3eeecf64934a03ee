"""Milliseconds a query or a row, one at a time on one thread.

`python -m tfrs_distill.pipeline.latency` reads a JSON request from standard input and prints one
line of JSON: TensorFlow's thread count can only be chosen in a fresh process.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from tfrs_distill.evaluation.latency import milliseconds, percentiles


def answer(request: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Time every model of a request: Keras files by name, and the forms of an artefact."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from tfrs_distill import (
        models,  # noqa: F401  (their classes are to be loaded)
        teachers,  # noqa: F401  (their classes are to be loaded)
    )
    from tfrs_distill.evaluation.retrieval import ModelScorer
    from tfrs_distill.export.forms import FORMS
    from tfrs_distill.serving.ranker import Ranker
    from tfrs_distill.serving.recommender import Recommender

    keras = {name: tf.keras.models.load_model(path) for name, path in request["keras"].items()}
    reader: Any = Recommender if "histories" in request else Ranker
    forms = {name: form.load(request["artefact"], reader) for name, form in FORMS.items()}
    if "histories" in request:
        with np.load(request["histories"]) as arrays:
            histories = [arrays[name] for name in arrays.files]
        scorers = {name: ModelScorer(model) for name, model in keras.items()} | forms
        return {name: percentiles(scorer, histories) for name, scorer in scorers.items()}
    with np.load(request["rows"]) as arrays:
        columns = {name: arrays[name] for name in arrays.files}
    num_rows = len(next(iter(columns.values())))
    times = {}
    for name, model in keras.items():
        ask: Any = tf.function(model.predictions)
        rows = [
            {key: tf.constant(columns[key][row : row + 1]) for key in model.input_columns}
            for row in range(num_rows)
        ]
        times[name] = milliseconds(ask, rows)
    read = request["input_columns"]
    plain = [{key: columns[key][row : row + 1] for key in read} for row in range(num_rows)]
    return times | {name: milliseconds(form.score, plain) for name, form in forms.items()}


if __name__ == "__main__":
    print(json.dumps(answer(json.load(sys.stdin))))
