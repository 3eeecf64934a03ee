"""Timing of single queries with a scorer whose time is known."""

import time

import numpy as np
import pytest

from tfrs_distill.evaluation.latency import percentiles


def test_one_query_at_a_time_after_a_warm_up(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    requested = []

    def scorer(histories, k):
        (history,) = histories
        requested.append(history[0])
        first = len(requested) <= 10
        clock[0] += 9.0 if first else history[0] / 1000  # seconds

    histories = [np.array([n]) for n in range(1, 102)]
    times = percentiles(scorer, histories)
    # 1 to 101 milliseconds: the median is 51, the 95th percentile 96; the warm-up is excluded.
    assert times == pytest.approx({"p50": 51.0, "p95": 96.0})
    assert requested[10:] == list(range(1, 102))
