"""One fold of a cache: its teacher's file, and shards with its examples."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfrs_distill.errors import InputError
from tfrs_distill.files import locked
from tfrs_distill.knowledge.jobs import Job, shard_job
from tfrs_distill.knowledge.shard import FORMAT, SUFFIX, Shard

EXAMPLE_KEYS = "example_keys"  # uint64 [num_rows]: which examples a shard's rows are about


@dataclass(frozen=True)
class Fold:
    """The outputs of one teacher, on disk.

    Args:
        teacher: facts about the teacher and, if it is factorised, its item embeddings.
        shards: the outputs for the fold's examples.
    """

    teacher: Shard
    shards: list[Shard]

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms in which the outputs can be joined."""
        return tuple(self.teacher.facts["forms"])


@dataclass(frozen=True)
class FoldKnowledge:
    """The outputs of one fold's teacher, before they are on disk.

    Args:
        teacher: the teacher's fingerprint; shards of another teacher are made again.
        facts: JSON about the outputs: `forms`, `temperatures` and more.
        shared: arrays that do not belong to examples, such as item embeddings.
        of_rows: `of_rows(rows) -> arrays`, with one row per example, and `EXAMPLE_KEYS`.
    """

    teacher: str
    facts: dict[str, Any]
    shared: dict[str, np.ndarray]
    of_rows: Callable[[np.ndarray], dict[str, np.ndarray]]


class ShardFile(NamedTuple):
    """The path of a fold's shard, the fingerprint of its content, and its examples."""

    path: Path
    fingerprint: str
    rows: np.ndarray


class FoldFiles:
    """The files of a fold, named by the fingerprint of their content.

    Args:
        directory: folder of the cache.
        rows: indices of the fold's examples.
        made_from: everything that affects the teacher's training, the examples and the stored
            outputs; JSON.
        index: index of the fold.
        num_folds: number of folds in the cache.
        rows_per_shard: examples per shard.
    """

    def __init__(
        self,
        directory: Path,
        rows: np.ndarray,
        made_from: list[Any],
        index: int,
        num_folds: int,
        rows_per_shard: int,
    ) -> None:
        self.directory, self.rows = directory, rows
        self.rows_per_shard = rows_per_shard
        key = json.dumps([FORMAT, *made_from, index, num_folds], sort_keys=True)
        self.fingerprint = hashlib.sha256(key.encode() + rows.tobytes()).hexdigest()
        self.name = f"fold-{index:05d}-of-{num_folds:05d}"
        self.teacher_path = self._path("teacher", self.fingerprint)

    @property
    def num_shards(self) -> int:
        """Number of shards for its examples."""
        return -(-len(self.rows) // self.rows_per_shard)

    def shard_files(self, teacher: str) -> list[ShardFile]:
        """Return the shards, for the teacher of this fingerprint."""
        files, size = [], self.rows_per_shard
        for index in range(self.num_shards):
            key = json.dumps([self.fingerprint, teacher, index])
            fingerprint = hashlib.sha256(key.encode()).hexdigest()
            name = f"shard-{index:05d}-of-{self.num_shards:05d}"
            rows = self.rows[index * size : (index + 1) * size]
            files.append(ShardFile(self._path(name, fingerprint), fingerprint, rows))
        return files

    def opened(self) -> Fold | None:
        """Return the fold if it is complete on disk; raise an InputError if a file is damaged."""
        if (teacher := self._teacher()) is None:
            return None
        files = self.shard_files(teacher.facts["teacher"])
        shards = [Shard.open(file.path) for file in files if file.path.exists()]
        if [shard.fingerprint for shard in shards] != [file.fingerprint for file in files]:
            return None
        return Fold(teacher, shards)

    def is_done(self) -> bool:
        """Return whether the fold is complete on disk."""
        return self.opened() is not None

    def jobs(self, knowledge: FoldKnowledge) -> list[Job]:
        """Write the teacher's file; return the jobs that write the shards."""
        self.keep_teacher(knowledge)

        def arrays(rows: np.ndarray) -> dict[str, np.ndarray]:
            try:
                return knowledge.of_rows(rows)
            except InputError:  # this teacher's earlier shards cannot be used either
                self._remove(knowledge.teacher)
                raise

        return [
            shard_job(path, fingerprint, lambda rows=rows: arrays(rows))  # type: ignore[misc]
            for path, fingerprint, rows in self.shard_files(knowledge.teacher)
        ]

    def keep_teacher(self, knowledge: FoldKnowledge) -> None:
        """Write the teacher's file, and remove shards of an earlier teacher."""
        with locked(self.teacher_path):
            if (kept := self._teacher()) is not None:
                if kept.facts["teacher"] == knowledge.teacher:
                    return
                self._remove(kept.facts["teacher"])
            facts = {"teacher": knowledge.teacher} | knowledge.facts
            Shard.write(self.teacher_path, self._key_of(knowledge.teacher), knowledge.shared, facts)

    def _teacher(self) -> Shard | None:
        """Return the teacher's file if it is on disk and belongs to this fold."""
        if not self.teacher_path.exists():
            return None
        shard = Shard.open(self.teacher_path)
        is_of_fold = shard.fingerprint == self._key_of(shard.facts.get("teacher", ""))
        return shard if is_of_fold else None

    def _key_of(self, teacher: str) -> str:
        return hashlib.sha256((self.fingerprint + teacher).encode()).hexdigest()

    def _remove(self, teacher: str) -> None:
        """Remove every file of one teacher."""
        for path in [self.teacher_path, *(file.path for file in self.shard_files(teacher))]:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def _path(self, name: str, fingerprint: str) -> Path:
        return self.directory / f"{self.name}-{name}-{fingerprint[:16]}{SUFFIX}"
