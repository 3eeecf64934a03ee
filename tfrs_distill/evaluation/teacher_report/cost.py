"""The cost of a teacher: milliseconds per 1,000 items and per 1,000 queries."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrs_distill.data.splits import Queries
from tfrs_distill.evaluation.retrieval import Scorer

REPEATS = 3


def median_milliseconds(work: Callable[[], Any], per: int) -> float:
    """Return the median time of three runs after a warm-up, in ms per 1,000 of `per`."""
    taken = []
    work()
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return 1e6 * statistics.median(taken) / per


def cost(model: Any, scorer: Scorer, queries: Queries, k: int) -> dict[str, float | None]:
    """Measure the time to encode the items and to score the queries.

    Returns:
        `items_ms_per_1000`, None for a model without `encode_candidates`; and
        `queries_ms_per_1000`.
    """
    items = None
    if hasattr(model, "encode_candidates"):
        item_ids = tf.range(1, queries.catalogue.num_items + 1)
        items = median_milliseconds(
            lambda: tf.convert_to_tensor(model.encode_candidates(item_ids)).numpy(),
            queries.catalogue.num_items,
        )
    scoring = median_milliseconds(lambda: scorer(queries.histories, k), len(queries))
    return {"items_ms_per_1000": items, "queries_ms_per_1000": scoring}
