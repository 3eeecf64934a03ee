"""Makes a cache: the files of its folds, each written once, and their manifest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tfrs_distill.errors import InputError
from tfrs_distill.knowledge.cached_teacher import MANIFEST, CachedTeacher
from tfrs_distill.knowledge.fold import EXAMPLE_KEYS, FoldFiles, FoldKnowledge
from tfrs_distill.knowledge.jobs import Job, run_jobs
from tfrs_distill.knowledge.manifest import Manifest, write_manifest
from tfrs_distill.progress import Progress, SilentProgress


class ToLabel(Protocol):
    """The examples of a cache, and how a teacher's outputs for them are computed."""

    examples: Any
    fingerprint: str  # of the examples
    kept: dict[str, Any]  # what decides what is kept, as JSON; `rows_per_shard` is among it

    def knowledge(self, teacher: Any, rows: np.ndarray) -> FoldKnowledge:
        """Return the outputs of a fold's teacher for the fold's rows."""


def files_of(
    directory: str | os.PathLike[str],
    to_label: ToLabel,
    fingerprint: str,
    fold_of_row: np.ndarray | None = None,
) -> list[FoldFiles]:
    """Return the files of every fold; without `fold_of_row`, of a single fold with all rows."""
    if fold_of_row is None:
        fold_of_row = np.zeros(len(to_label.examples), np.int64)
    num_folds = int(fold_of_row.max(initial=0)) + 1
    made_from = [fingerprint, to_label.fingerprint, to_label.kept]
    size = to_label.kept["rows_per_shard"]
    return [
        FoldFiles(
            Path(directory), np.flatnonzero(fold_of_row == index), made_from, index, num_folds, size
        )
        for index in range(num_folds)
    ]


def make_cache(
    teacher_of: Callable[[int], Any],
    files: Sequence[FoldFiles],
    to_label: ToLabel,
    progress: Progress | None,
) -> CachedTeacher:
    """Open or make the folds, and write their manifest.

    `teacher_of(index)` returns the teacher of a fold, trained on other rows.
    """
    begin(files)
    total = sum(fold.num_shards for fold in files)
    with (progress or SilentProgress()).bar("shards", total) as advance:

        def fold_job(index: int, fold: FoldFiles) -> Job:
            def label() -> None:
                teacher = teacher_of(index)
                try:
                    knowledge = to_label.knowledge(teacher, fold.rows)
                except InputError as error:
                    if len(files) == 1:
                        raise
                    raise InputError(f"The teacher of fold {index}: {error}") from error
                for _ in run_jobs(fold.jobs(knowledge)):
                    advance(note=f"fold {index + 1} of {len(files)}")
                    shown[index] += 1

            return Job(fold.directory / fold.name, fold.is_done, label)

        shown = [0] * len(files)
        jobs = [fold_job(index, fold) for index, fold in enumerate(files)]
        if len(jobs) == 1:  # the teacher exists: processes share its shards
            if not jobs[0].is_done():
                jobs[0].do()
        else:  # each fold is trained and labelled by one process
            list(run_jobs(jobs))
        advance(total - sum(shown))
    return finish(files)


def begin(files: Sequence[FoldFiles]) -> None:
    """Remove the manifest of another cache, so that old and new files are never mixed."""
    path = files[0].directory / MANIFEST
    manifest = Manifest.read_if_whole(path)
    if manifest is None or manifest.fingerprint != _fingerprint(files):
        path.unlink(missing_ok=True)


def finish(files: Sequence[FoldFiles]) -> CachedTeacher:
    """Write the manifest of complete folds, and open the cache."""
    directory = files[0].directory
    folds = []
    for fold_files in files:
        if (fold := fold_files.opened()) is None:
            raise InputError(
                f"Files of {fold_files.name} in {directory} were removed while the cache was made. "
                "Make it again; complete shards are kept."
            )
        folds.append(fold)
    first = folds[0].teacher
    for fold in folds:
        tasks = [shard.facts.get("tasks") for shard in (fold.teacher, first)]
        if tasks[0] != tasks[1]:
            raise InputError(
                f"{fold.teacher.path} has the tasks (and widths) {tasks[0]}, but {first.path} "
                f"has {tasks[1]}. Every fold's teacher must have the same tasks. Delete the wrong "
                "file and call again."
            )
    facts = {name: value for name, value in first.facts.items() if name != "teacher"} | {
        "folds": [
            {
                "teacher": fold.teacher.path.name,
                "shards": [shard.path.name for shard in fold.shards],
            }
            for fold in folds
        ],
    }
    shards = [shard for fold in folds for shard in (fold.teacher, *fold.shards)]
    fingerprint = _fingerprint(files)
    write_manifest(directory / MANIFEST, "examples", fingerprint, facts, shards, EXAMPLE_KEYS)
    return CachedTeacher.open(directory)


def _fingerprint(files: Sequence[FoldFiles]) -> str:
    return hashlib.sha256("".join(fold.fingerprint for fold in files).encode()).hexdigest()
