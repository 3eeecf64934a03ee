"""Stages of a run: each records its inputs and its result, so that a run can resume."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrs_distill import __version__
from tfrs_distill.files import (
    content_sha256,
    file_sha256,
    lock_of,
    locked,
    whole_file,
    whole_folder,
    write_json,
)
from tfrs_distill.progress import Progress

NOTE = "done.json"
SECONDS_BETWEEN_LOOKS = 0.2  # for stages that other processes run
SELF_CHECKED = ".safetensors"  # with checksums inside; a teacher's cache has many large ones
Result = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """One piece of a run.

    Args:
        name: the stage's name and its folder's.
        work: `work(folder) -> (result, line)`: writes its files to the folder and returns a JSON
            work: `work(folder) -> (result, line)`: writes its files to the folder and returns a
                JSON result and a one-line summary.
            settings: `settings()`: everything, except earlier stages, that determines the result,
                as JSON. It is called just before the stage runs and may read the results of earlier
                stages; it checks the stage's inputs before any work.
            after: the stages whose results it reads.
            output: the folder of the stage's files, if it is not the stage's own folder.
    """

    name: str
    work: Callable[[Path], tuple[Result, str]]
    settings: Callable[[], Any]
    after: tuple[str, ...] = ()
    output: Path | None = None


class Stages:
    """Runs stages in order, skipping each that is already done with the same inputs.

    Several processes may run the same stages in the same folder: each takes the first stage that is
    ready and that no other process has taken, and all processes use the results of the others.

    A stage's fingerprint is the sha256 of the package's version, its name, its settings, the seed
    and the fingerprints of the stages whose results it reads. Its folder holds its files and,
    written last, `done.json`. A killed stage has no such note for its new fingerprint, so it runs
    again from the beginning, with the same seed.

    Args:
        folder: parent of the stages' folders.
        seed: set before every stage, so a resumed run draws the same random numbers as an
            uninterrupted one.
        progress: receives every stage.
        trials: folder of the stages of a search's trials, each next to those with other inputs.
            They are reused too: a run copies them to its own folder, where readers of a finished
            run expect them.
        is_trial: whether stages are created there.

    Attributes:
        results: of the stages that were run or reused so far, by name.
        fingerprints: likewise, including the running stage.
        seconds: likewise, the duration when it was run.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        progress: Progress,
        *,
        trials: Path | None = None,
        is_trial: bool = False,
    ) -> None:
        self.folder, self.seed, self.progress = folder, seed, progress
        self.trials, self.is_trial = trials, is_trial
        self.folders: dict[str, Path] = {}
        self.started = time.time()
        self.results: dict[str, Result] = {}
        self.fingerprints: dict[str, str] = {}
        self.seconds: dict[str, float] = {}

    def folder_of(self, name: str) -> Path:
        """Return the folder of a finished or running stage."""
        return self.folders.get(name, self.folder / name)

    def at_work_elsewhere(self, stages: Sequence[Stage]) -> list[str]:
        """Return the names of the stages that other processes are running."""
        found = []
        for stage in stages:
            folder = self.folder / stage.name
            if lock_of(folder).exists():
                with locked(folder, wait=False) as free:
                    found += [] if free else [stage.name]
        return found

    def run(self, stages: Sequence[Stage], of: Sequence[Stage] = ()) -> None:
        """Run the stages, or use the results of earlier runs or other processes.

        Args:
            stages: each after those whose results it reads.
            of: all stages, if `stages` is only a part; used for numbering.
        """
        numbers = {stage.name: number for number, stage in enumerate(of or stages, 1)}
        waiting = list(stages)
        while waiting:
            left = {stage.name for stage in waiting}
            for stage in waiting:
                if left.isdisjoint(stage.after) and self._take(stage, numbers):
                    waiting.remove(stage)
                    break
            else:
                time.sleep(SECONDS_BETWEEN_LOOKS)

    def _take(self, stage: Stage, numbers: Mapping[str, int]) -> bool:
        """Run a stage, or reuse its result; return False if another process is running it."""
        folder = (self.trials if self.is_trial and self.trials else self.folder) / stage.name
        try:
            with locked(folder, wait=False) as taken:
                if taken:
                    self.progress.stage(numbers[stage.name], len(numbers), stage.name)
                    self.results[stage.name] = self._run(stage)
        except BaseException:
            _remove_if_empty(folder.parent, folder.parent.parent)
            raise
        return taken

    def _run(self, stage: Stage) -> Result:
        before = [self.fingerprints[name] for name in stage.after]
        inputs = [__version__, stage.name, stage.settings(), before, self.seed]
        fingerprint = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
        self.fingerprints[stage.name] = fingerprint
        folders = [self.folder / stage.name]
        if self.trials is not None:
            folders.append(self.trials / f"{stage.name}-{fingerprint[:16]}")
        notes = {
            folder: _note_of(folder, stage.output or folder, fingerprint) for folder in folders
        }
        finished = [folder for folder in folders if notes[folder] is not None]
        folder = finished[0] if finished else folders[-1 if self.is_trial else 0]
        if folder != folders[0] and not self.is_trial:
            with whole_folder(folders[0]) as copy:
                shutil.copytree(folder, copy, dirs_exist_ok=True)
            notes[folders[0]], folder = notes[folder], folders[0]
        self.folders[stage.name], note, output = folder, notes[folder], stage.output or folder
        reused = note is not None and not self._is_new(folder / NOTE)
        if note is None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / NOTE).unlink(missing_ok=True)
            tf.keras.utils.set_random_seed(self.seed)
            start = time.monotonic()
            try:
                result, line = stage.work(folder)
            except BaseException:
                _remove_if_empty(folder)
                raise
            note = {
                "fingerprint": fingerprint,
                "seconds": time.monotonic() - start,
                "line": line,
                "result": result,
                "files": _checksums(output),
            }
            note["sha256"] = content_sha256(note)
            write_json(folder / NOTE, note)
        self.seconds[stage.name] = note["seconds"]
        self.progress.done(note["line"], note["seconds"], reused)
        return dict(note["result"])

    def _is_new(self, note: Path) -> bool:
        """Whether another process wrote a note after the start of these stages."""
        return note.stat().st_mtime >= self.started


def note_of_finished(folder: Path, output: Path | None = None) -> dict[str, Any] | None:
    """Return the note of a stage, if it and the stage's files are present and unchanged.

    Args:
        folder: of the stage.
        output: the folder of its files, if it is another one.
    """
    try:
        note: dict[str, Any] = json.loads((folder / NOTE).read_text())
        whole = note.pop("sha256") == content_sha256(note)
        whole = whole and note["files"] == _checksums(output or folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return note if whole else None


def _note_of(folder: Path, output: Path, fingerprint: str) -> dict[str, Any] | None:
    """Return the note of a stage if it has these inputs and its files are unchanged."""
    try:
        about = json.loads((folder / NOTE).read_text())["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return note_of_finished(folder, output) if about == fingerprint else None


def forget_other_trainings(folder: Path, fingerprint: str) -> None:
    """Remove the files of an interrupted training with another fingerprint; keep this one's."""
    marker = folder / "made_from"
    if marker.exists() and marker.read_bytes() == fingerprint.encode():
        return
    shutil.rmtree(folder)
    folder.mkdir()
    with whole_file(marker, "w") as file:
        file.write(fingerprint)


def _remove_if_empty(*folders: Path) -> None:
    """Remove folders that a stage created and left empty, innermost first."""
    for folder in folders:
        with contextlib.suppress(OSError):  # not empty
            folder.rmdir()


def _checksums(folder: Path) -> dict[str, str | int]:
    """Return checksums of the stage's files, by name; sizes of files with their own checksum."""
    return {
        str(path.relative_to(folder)): path.stat().st_size
        if path.suffix == SELF_CHECKED
        else file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != NOTE and not path.name.startswith(".")
    }
