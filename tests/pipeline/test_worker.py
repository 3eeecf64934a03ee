"""Processes that run stages of a run in addition to the main one."""

import contextlib
import io

import pytest

from tfrs_distill import pipeline
from tfrs_distill.errors import InputError
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.worker import BarsAsJson, show_all_bars, show_bars, workers


class Bars:
    """Records the updates of its bars."""

    def __init__(self):
        self.updates = []

    @contextlib.contextmanager
    def bar(self, description, total):
        self.updates.append((description, total))
        yield lambda steps=1, note="": self.updates.append((description, steps, note))
        self.updates.append((description, "ended"))


def test_the_bars_of_another_process_are_shown_unchanged():
    file, bars = io.StringIO(), Bars()
    result = BarsAsJson(file)
    with result.bar("twin", 3) as advance:
        advance(2, "epoch 2 \N{RIGHTWARDS ARROW} é\n")
        with result.bar("inner", 1):
            pass
        advance()
    file.seek(0)
    show_bars(file, bars)
    assert bars.updates == [
        ("twin", 3),
        ("twin", 2, "epoch 2 \N{RIGHTWARDS ARROW} é\n"),
        ("inner", 1),
        ("inner", "ended"),
        ("twin", 1, ""),
        ("twin", "ended"),
    ]


def test_a_bar_of_another_process_names_its_stage():
    file, bars = io.StringIO(), Bars()
    result = BarsAsJson(file)
    result.stage(6, 12, "self_knowledge")
    for description in ("shards", "self knowledge"):
        with result.bar(description, 8):
            pass
    file.seek(0)
    show_bars(file, bars)
    begun = [result for result in bars.updates if result[1] == 8]
    assert begun == [("self knowledge: shards", 8), ("self knowledge", 8)]


def test_a_bar_ends_when_its_process_is_killed_in_the_middle_of_a_line():
    file, bars = io.StringIO('[1, "twin", 3]\n[1, 2, "epo'), Bars()
    show_bars(file, bars)
    assert bars.updates == [("twin", 3), ("twin", "ended")]


def test_an_error_of_a_progress_is_raised_in_the_main_process_and_stops_no_worker(tmp_path):
    """A worker whose pipe is full would wait forever, as would a process waiting for its stage."""

    class Broken(Bars):
        @contextlib.contextmanager
        def bar(self, description, total):
            raise BrokenPipeError(description)
            yield

    raised = []
    read_on = iter([*['[1, "twin", 3]\n'] * 3])
    show_all_bars(read_on, Broken(), raised)
    assert [str(error) for error in raised] == ["twin"] and next(read_on, None) is None


def test_a_worker_that_fails_is_reported_and_ends(tmp_path, monkeypatch):
    """Here its recipe has an unknown task."""

    class NoRecipe:
        def to_toml(self):
            return 'task = "sorting ü"\n'

    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    with pytest.warns(UserWarning, match="process of the run ended early: .*sorting"):
        with workers(NoRecipe(), tmp_path, 1, Bars()) as (process,):
            assert process.wait(60)


def test_fewer_than_one_process_is_refused_before_any_work(tmp_path):
    with pytest.raises(InputError, match=r"`processes` must be at least 1. Received: 0"):
        pipeline.run(Recipe.named("synthetic"), tmp_path / "out", processes=0)
    assert not (tmp_path / "out").exists()
