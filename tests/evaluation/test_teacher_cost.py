"""The cost of inference per 1,000, the median of three; items only for models that encode them."""

import types

import numpy as np
import pytest
import tensorflow as tf
from tiny_data import tiny_catalogue

from tfrs_distill.data.splits import Queries
from tfrs_distill.evaluation.teacher_report import cost as cost_module
from tfrs_distill.evaluation.teacher_report.cost import cost, median_milliseconds

QUERIES = Queries(
    tiny_catalogue(8),
    np.arange(4, dtype=np.int32),
    tuple(np.array([q + 1], np.int32) for q in range(4)),
    tuple(np.array([q + 2], np.int32) for q in range(4)),
)


@pytest.fixture
def clock(monkeypatch):
    """A clock that only advances by the work; seconds."""
    clock = types.SimpleNamespace(now=100.0)
    monkeypatch.setattr(cost_module.time, "perf_counter", lambda: clock.now)
    return clock


def test_it_is_the_median_of_three_after_a_warm_up_per_1000(clock):
    lasting = iter([9.0, 0.5, 0.002, 0.004])

    def work():
        clock.now += next(lasting)

    # 4 ms for 8 things are 500 ms for 1,000.
    assert median_milliseconds(work, per=8) == pytest.approx(500)
    assert next(lasting, None) is None


def test_items_and_queries_are_timed_separately(clock):
    requested = []

    class Model:
        def encode_candidates(self, item_ids):
            requested.append(item_ids.numpy().tolist())
            clock.now += 0.016
            return tf.zeros([8, 2])

    def scorer(histories, k):
        requested.append((len(histories), k))
        clock.now += 0.002

    # 16 ms for 8 items and 2 ms for 4 queries, each for 1,000.
    result = cost(Model(), scorer, QUERIES, k=3)
    assert result == {
        "items_ms_per_1000": pytest.approx(2000),
        "queries_ms_per_1000": pytest.approx(500),
    }
    assert requested == [list(range(1, 9))] * 4 + [(4, 3)] * 4


def test_without_an_item_encoder_there_is_no_item_cost(clock):
    result = cost(object(), lambda histories, k: None, QUERIES, k=3)
    assert result == {"items_ms_per_1000": None, "queries_ms_per_1000": 0.0}
