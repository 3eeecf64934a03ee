"""Milliseconds a query, one query at a time on one thread.

`python -m tfrs_distill.evaluation.latency` reads a JSON request from standard input and prints one
line of JSON: TensorFlow's thread count can only be chosen in a fresh process.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfrs_distill.evaluation.retrieval import Scorer

K = 10
WARM_UP = 10


def milliseconds(ask: Callable[[Any], Any], questions: Sequence[Any]) -> dict[str, float]:
    """Median (`p50`) and 95th percentile (`p95`) of the time of one question, after a warm-up.

    Args:
        ask: the model.
        questions: one each.
    """
    times = []
    for index in range(-WARM_UP, len(questions)):
        question = questions[max(index, 0)]
        start = time.perf_counter()
        ask(question)
        times.append(1000 * (time.perf_counter() - start))
    p50, p95 = np.percentile(times[WARM_UP:], [50, 95])
    return {"p50": float(p50), "p95": float(p95)}


def percentiles(scorer: Scorer, histories: Sequence[np.ndarray]) -> dict[str, float]:
    """The same of a scorer that is asked for `K` items after one history at a time.

    Args:
        scorer: the model to time.
        histories: one query each.
    """
    return milliseconds(lambda history: scorer([history], K), histories)


def answer(request: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Time every model of a request: Keras files by name, and an artefact's models."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from tfrs_distill import (
        models,  # noqa: F401  (their classes are to be loaded)
        teachers,  # noqa: F401  (their classes are to be loaded)
    )
    from tfrs_distill.evaluation.retrieval import ModelScorer
    from tfrs_distill.serving.recommender import Recommender

    with np.load(request["histories"]) as arrays:
        histories = [arrays[name] for name in arrays.files]
    scorers: dict[str, Scorer] = {
        name: ModelScorer(tf.keras.models.load_model(path))
        for name, path in request["keras"].items()
    }
    scorers["saved_model"] = Recommender.load(request["saved_model"], format="saved_model")
    for name in ("student_tflite", "student_int8"):
        scorers[name] = Recommender.load(request[name])
    return {name: percentiles(scorer, histories) for name, scorer in scorers.items()}


if __name__ == "__main__":
    print(json.dumps(answer(json.load(sys.stdin))))
