"""Stages alone: which run again, which are reused, and files after an interrupt."""

import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from tfrs_distill.files import locked
from tfrs_distill.pipeline.stage import Stage, Stages
from tfrs_distill.progress import SilentProgress


class Chain:
    """Three stages, each of which writes a file; the third reads the others' results."""

    def __init__(self, folder, stop_in=None):
        self.folder, self.stop_in, self.worked = folder, stop_in, []

    def work(self, name):
        def work(folder):
            self.worked.append(name)
            (folder / "part").write_text(name)
            if name == self.stop_in:
                raise KeyboardInterrupt
            (folder / "file").write_text(name)
            return {"gave": name}, f"{name} done"

        return work

    def run(self, seed=0, **settings):
        self.worked = []
        stages = Stages(self.folder / "stages", seed, SilentProgress())
        stages.run(
            [
                Stage(name, self.work(name), lambda name=name: settings.get(name, 1), after)
                for name, after in (("data", ()), ("side", ()), ("end", ("data",)))
            ]
        )
        assert stages.results == {name: {"gave": name} for name in ("data", "side", "end")}
        return self.worked


@pytest.fixture
def chain(tmp_path):
    chain = Chain(tmp_path)
    assert chain.run() == ["data", "side", "end"]
    return chain


def test_an_unchanged_chain_is_not_run_again(chain):
    assert chain.run() == []


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"end": 2}, ["end"]),
        ({"side": 2}, ["side"]),
        ({"data": 2}, ["data", "end"]),  # and the stages that read it
        ({"seed": 1}, ["data", "side", "end"]),
    ],
)
def test_a_changed_setting_runs_its_stage_and_those_that_read_it(chain, changed, expected):
    assert chain.run(**changed) == expected
    assert chain.run(**changed) == []


def test_another_version_of_the_package_runs_every_stage_again(chain, monkeypatch):
    monkeypatch.setattr("tfrs_distill.pipeline.stage.__version__", "99.0")
    assert chain.run() == ["data", "side", "end"]
    assert chain.run() == []


@pytest.mark.parametrize("damage", ["lost", "longer", "no note", "a note that is no JSON"])
def test_a_damaged_stage_runs_again(chain, damage):
    folder = chain.folder / "stages" / "side"
    if damage == "lost":
        (folder / "file").unlink()
    elif damage == "longer":
        (folder / "file").write_text("something else")
    elif damage == "no note":
        (folder / "done.json").unlink()
    else:
        (folder / "done.json").write_text("{")
    assert chain.run() == ["side"]
    assert (folder / "file").read_text() == "side"


def test_an_interrupted_stage_is_run_again_and_the_earlier_ones_are_not(tmp_path):
    interrupted = Chain(tmp_path, stop_in="side")
    with pytest.raises(KeyboardInterrupt):
        interrupted.run()
    assert interrupted.worked == ["data", "side"]
    assert Chain(tmp_path).run() == ["side", "end"]


def test_a_stage_that_fails_before_its_first_file_leaves_no_folder(tmp_path):
    stages = Stages(tmp_path / "home" / "stages", 0, SilentProgress())

    def work(folder):
        raise OSError("no such data")

    with pytest.raises(OSError, match="no such data"):
        stages.run([Stage("data", work, lambda: 1)])
    assert list(tmp_path.iterdir()) == []


def test_every_stage_starts_from_the_seed(tmp_path):
    """So a resumed run draws the same as an uninterrupted one."""
    drawn = []

    def draw(folder):
        drawn.append(np.random.uniform())
        (folder / "file").write_text("drawn")
        return {}, ""

    for folder in ("one", "two"):
        stages = Stages(tmp_path / folder, 5, SilentProgress())
        names = ("first", "second")[folder == "two" :]
        stages.run([Stage(name, draw, lambda: 1) for name in names])
    assert drawn == [drawn[0]] * 3


def test_a_run_copies_a_search_trials_stage_into_its_own_folder(tmp_path):
    """Readers of a finished run, such as `compare`, read only that folder."""
    trials, worked = tmp_path / "tune" / "trials", []

    def run(setting, is_trial):
        def work(folder):
            worked.append(setting)
            (folder / f"file of {setting}").write_text("made")
            return {"gave": setting}, ""

        stages = Stages(tmp_path / "stages", 0, SilentProgress(), trials=trials, is_trial=is_trial)
        stages.run([Stage("data", work, lambda: setting)])
        return stages.folder_of("data")

    own = tmp_path / "stages" / "data"
    assert run(1, is_trial=False) == own
    assert run(2, is_trial=True).parent == trials and worked == [1, 2]
    assert run(2, is_trial=False) == own and worked == [1, 2]
    assert sorted(file.name for file in own.iterdir()) == ["done.json", "file of 2"]
    shutil.rmtree(tmp_path / "tune")
    assert run(2, is_trial=True) == own and worked == [1, 2]


def test_two_processes_share_the_stages_and_use_each_other_s_results(tmp_path):
    """Here two threads: each stage waits for one that only the other can run."""
    begun = {"data": threading.Event(), "side": threading.Event()}
    worked, results = [], {}

    def work(name, other):
        def work(folder):
            worked.append(name)
            if other:
                begun[name].set()
                assert begun[other].wait(20)
            (folder / "file").write_text(name)
            return {"gave": name}, ""

        return work

    class Reused(SilentProgress):
        def __init__(self):
            self.reused = []

        def done(self, line, seconds, reused):
            self.reused.append(reused)

    def run(number):
        stages = Stages(tmp_path / "stages", 0, progress[number])
        chain = (("data", "side", ()), ("side", "data", ()), ("end", "", ("data", "side")))
        stages.run([Stage(name, work(name, by), lambda: 1, after) for name, by, after in chain])
        results[number] = stages.results

    progress = [Reused(), Reused()]
    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(worked) == ["data", "end", "side"]
    assert results[0] == results[1] == {name: {"gave": name} for name in ("data", "side", "end")}
    assert [one.reused for one in progress] == [[False] * 3] * 2  # created now, by either process
    assert not list((tmp_path / "stages").glob(".*"))


def test_a_stage_whose_process_died_is_run_by_another(tmp_path):
    """The operating system releases its lock; its files of the stage are not a result."""
    program = f"""
import os
from pathlib import Path
from tfrs_distill.files import locked
with locked(Path({str(tmp_path / "stages" / "side")!r})):
    os._exit(1)
"""
    subprocess.run([sys.executable, "-c", program])
    assert (tmp_path / "stages" / ".side.lock").exists()
    assert Chain(tmp_path).run() == ["data", "side", "end"]


def test_the_stages_of_a_live_process_are_named_and_those_of_a_dead_one_are_not(tmp_path):
    stages = Stages(tmp_path / "stages", 0, SilentProgress())
    planned = [Stage(name, lambda folder: ({}, ""), lambda: 1) for name in ("data", "side")]
    assert stages.at_work_elsewhere(planned) == []
    assert not (tmp_path / "stages").exists()
    with locked(tmp_path / "stages" / "side"):
        assert stages.at_work_elsewhere(planned) == ["side"]
    (tmp_path / "stages" / ".data.lock").touch()  # its process was killed
    assert stages.at_work_elsewhere(planned) == []
