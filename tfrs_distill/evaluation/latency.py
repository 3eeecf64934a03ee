"""Milliseconds per query or row, one at a time on one thread.

`python -m tfrs_distill.evaluation.latency` reads a JSON request from standard input and prints one
line of JSON, see `time_models`: TensorFlow's thread count can only be set in a fresh process.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfrs_distill.evaluation.retrieval import ModelScorer, Scorer

K = 10
WARM_UP = 10


def milliseconds(call: Callable[[Any], Any], inputs: Sequence[Any]) -> dict[str, float]:
    """Return median (`p50`) and 95th percentile (`p95`) of a call's time, after a warm-up."""
    times = []
    for index in range(-WARM_UP, len(inputs)):
        given = inputs[max(index, 0)]
        start = time.perf_counter()
        call(given)
        times.append(1000 * (time.perf_counter() - start))
    p50, p95 = np.percentile(times[WARM_UP:], [50, 95])
    return {"p50": float(p50), "p95": float(p95)}


def percentiles(scorer: Scorer, histories: Sequence[np.ndarray], k: int = K) -> dict[str, float]:
    """Return `milliseconds` of a scorer that recommends `k` items after one history at a time."""
    return milliseconds(lambda history: scorer([history], k), histories)


def time_models(request: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the `milliseconds` of every model of a request, by name.

    Args:
        request: `"histories"`, an `.npz` file of one history an array, for models of retrieval; or
            `"rows"`, an `.npz` file of one column an array, and `"columns"`, the names of those
            that the artefacts read, for models of ranking. `"keras"`: Keras files by name.
            `"artefacts"`: by name, the path and the format that a reader is given.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from tfrs_distill import (
        models,  # noqa: F401  (their classes are to be loaded)
        teachers,  # noqa: F401  (their classes are to be loaded)
    )

    keras = {name: tf.keras.models.load_model(path) for name, path in request["keras"].items()}
    with np.load(request.get("histories") or request["rows"]) as file:
        arrays = {name: file[name] for name in file.files}
    if "histories" in request:
        return _time_queries(keras, request["artefacts"], list(arrays.values()))
    return _time_rows(keras, request["artefacts"], arrays, request["columns"])


def _time_queries(
    keras: dict[str, Any], artefacts: dict[str, tuple[str, str]], histories: list[np.ndarray]
) -> dict[str, dict[str, float]]:
    from tfrs_distill.serving.recommender import Recommender

    scorers: dict[str, Scorer] = {name: ModelScorer(model) for name, model in keras.items()}
    for name, (path, format) in artefacts.items():
        scorers[name] = Recommender.load(path, format=format)
    return {name: percentiles(scorer, histories) for name, scorer in scorers.items()}


def _time_rows(
    keras: dict[str, Any],
    artefacts: dict[str, tuple[str, str]],
    columns: dict[str, np.ndarray],
    read_columns: list[str],
) -> dict[str, dict[str, float]]:
    import tensorflow as tf

    from tfrs_distill.serving.ranker import Ranker

    num_rows = len(next(iter(columns.values())))

    def rows_of(names: Sequence[str]) -> list[dict[str, np.ndarray]]:
        return [{name: columns[name][row : row + 1] for name in names} for row in range(num_rows)]

    times = {}
    for name, model in keras.items():
        predict = tf.function(model.predictions)
        rows = rows_of(model.input_columns)
        tensors = [{name: tf.constant(value) for name, value in row.items()} for row in rows]
        times[name] = milliseconds(predict, tensors)
    for name, (path, format) in artefacts.items():
        times[name] = milliseconds(Ranker.load(path, format=format).score, rows_of(read_columns))
    return times


if __name__ == "__main__":
    print(json.dumps(time_models(json.load(sys.stdin))))
