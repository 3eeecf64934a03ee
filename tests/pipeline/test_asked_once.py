"""Scores of a slow teacher for many lists are kept after an interrupt, and reused."""

import numpy as np
import pytest

from tfrs_distill.pipeline.stages import evaluate_lists
from tfrs_distill.pipeline.stages.evaluate_lists import LISTS_AT_A_TIME, KeptScores
from tfrs_distill.progress import SilentProgress

NUM_LISTS = 3 * LISTS_AT_A_TIME + 2


class Slow:
    """A teacher whose score is the history's item times the candidate; it can be interrupted."""

    def __init__(self, stop_after=99):
        self.requested, self.stop_after = [], stop_after

    def scores(self, histories, candidates):
        if len(self.requested) == self.stop_after:
            raise KeyboardInterrupt
        self.requested.append(len(candidates))
        return (histories * candidates).astype(np.float32)


def lists(seed=0):
    random = np.random.default_rng(seed)
    histories = random.integers(1, 9, [NUM_LISTS, 1])
    return histories, random.integers(1, 99, [NUM_LISTS, 5])


def test_many_lists_are_scored_once(tmp_path):
    slow, (histories, candidates) = Slow(), lists()
    once = KeptScores(slow, SilentProgress(), tmp_path / "kept.npz")
    for _ in range(2):
        np.testing.assert_array_equal(once.scores(histories, candidates), histories * candidates)
    assert slow.requested == [LISTS_AT_A_TIME] * 3 + [2]
    other = lists(seed=1)
    np.testing.assert_array_equal(once.scores(*other), other[0] * other[1])
    few = once.scores(histories[:2], candidates[:2])  # one query, for timing, is always scored
    np.testing.assert_array_equal(few, histories[:2] * candidates[:2])
    assert slow.requested[-1] == 2 and len(slow.requested) == 9


def test_an_interrupt_loses_only_unsaved_scores(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate_lists, "SECONDS_BETWEEN", -1.0)
    (histories, candidates), kept = lists(), tmp_path / "kept.npz"
    with pytest.raises(KeyboardInterrupt):
        KeptScores(Slow(stop_after=2), SilentProgress(), kept).scores(histories, candidates)
    again = Slow()
    output = KeptScores(again, SilentProgress(), kept).scores(histories, candidates)
    np.testing.assert_array_equal(output, histories * candidates)
    assert again.requested == [LISTS_AT_A_TIME, 2]
