"""One fold of a cache: its teacher's file, and its examples' in shards of bounded rows."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError
from tfrs_distill.knowledge.label import EMBEDDINGS, TOP_K, Labeller, LabelSettings
from tfrs_distill.knowledge.locks import each_once, locked
from tfrs_distill.knowledge.shard import FORMAT, SUFFIX, Shard

EXAMPLE_KEYS = "example_keys"  # uint64 [num_rows]: which examples a shard's rows are about


@dataclass(frozen=True)
class Fold:
    """What one teacher said, on disk.

    Args:
        teacher: facts about the teacher and, where it is factorised, its item embeddings.
        shards: what it said about the fold's examples.
    """

    teacher: Shard
    shards: list[Shard]

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms in which it can be joined."""
        return tuple(self.teacher.facts["forms"])


@dataclass(frozen=True)
class Part:
    """One shard to be: where it goes, what decides it, and the examples it is about."""

    path: Path
    fingerprint: str
    rows: np.ndarray

    def is_done(self) -> bool:
        """Whether the shard is on disk; raises an InputError where it is damaged."""
        return self.path.exists() and Shard.open(self.path).fingerprint == self.fingerprint

    def write(self, labeller: Labeller, windows: Windows, keys: np.ndarray) -> None:
        """Ask the teacher about the part's own windows and write what it says."""
        answers = labeller.label(windows, self.rows)
        Shard.write(self.path, self.fingerprint, {EXAMPLE_KEYS: keys} | answers)


class FoldPlan:
    """The files that a fold will have, named by everything that decides their content.

    Args:
        directory: of the cache.
        rows: the fold's examples, indices among the windows.
        made_from: fingerprints of what trains the teacher and of the windows.
        index: of the fold.
        num_folds: of the cache.
        settings: what is kept.
    """

    def __init__(
        self,
        directory: Path,
        rows: np.ndarray,
        made_from: list[str],
        index: int,
        num_folds: int,
        settings: LabelSettings,
    ) -> None:
        self.directory, self.rows, self.settings = directory, rows, settings
        key = json.dumps([FORMAT, *made_from, index, num_folds, asdict(settings)], sort_keys=True)
        self.fingerprint = hashlib.sha256(key.encode() + rows.tobytes()).hexdigest()
        self.name = f"fold-{index:05d}-of-{num_folds:05d}"
        self.teacher_path = self._path("teacher", self.fingerprint)

    @property
    def num_parts(self) -> int:
        """How many shards its examples fill."""
        return -(-len(self.rows) // self.settings.rows_per_shard)

    def parts(self, teacher: str) -> list[Part]:
        """Its shards, for the teacher of this fingerprint."""
        parts, size = [], self.settings.rows_per_shard
        for index in range(self.num_parts):
            key = json.dumps([self.fingerprint, teacher, index])
            fingerprint = hashlib.sha256(key.encode()).hexdigest()
            name = f"shard-{index:05d}-of-{self.num_parts:05d}"
            rows = self.rows[index * size : (index + 1) * size]
            parts.append(Part(self._path(name, fingerprint), fingerprint, rows))
        return parts

    def opened(self) -> Fold | None:
        """The fold, if all of it is on disk; raises an InputError where a file is damaged."""
        if (teacher := self._teacher()) is None:
            return None
        parts = self.parts(teacher.facts["teacher"])
        if not all(part.is_done() for part in parts):
            return None
        return Fold(teacher, [Shard.open(part.path) for part in parts])

    def is_done(self) -> bool:
        """Whether all of it is on disk."""
        return self.opened() is not None

    def keep_teacher(self, labeller: Labeller) -> None:
        """Write the teacher's file; shards of another teacher that was here before are removed."""
        with locked(self.teacher_path):
            if (kept := self._teacher()) is not None:
                before = kept.facts["teacher"]
                if before == labeller.fingerprint:
                    return
                self._remove(before)
            facts: dict[str, Any] = {
                "teacher": labeller.fingerprint,
                "forms": [EMBEDDINGS, TOP_K] if labeller.factorised else [TOP_K],
                "temperatures": [float(value) for value in self.settings.temperatures],
            }
            key = self._key_of(labeller.fingerprint)
            Shard.write(self.teacher_path, key, labeller.item_arrays, facts)

    def label(self, labeller: Labeller, windows: Windows, keys: np.ndarray) -> Iterator[Part]:
        """Write the shards that are missing, sharing them with other processes; yields each.

        Args:
            labeller: the fold's teacher.
            windows: all of them.
            keys: their example keys.
        """
        self.keep_teacher(labeller)

        def write(part: Part) -> None:
            try:
                part.write(labeller, windows.subset(part.rows), keys[part.rows])
            except InputError:  # what this teacher said before is worth as little
                self._remove(labeller.fingerprint)
                raise

        yield from each_once(
            self.parts(labeller.fingerprint), lambda part: part.path, Part.is_done, write
        )

    def _teacher(self) -> Shard | None:
        """The teacher's file, if it is on disk and this fold's."""
        if not self.teacher_path.exists():
            return None
        shard = Shard.open(self.teacher_path)
        ours = shard.fingerprint == self._key_of(shard.facts.get("teacher", ""))
        return shard if ours else None

    def _key_of(self, teacher: str) -> str:
        return hashlib.sha256((self.fingerprint + teacher).encode()).hexdigest()

    def _remove(self, teacher: str) -> None:
        """Take away everything of one teacher."""
        for path in [self.teacher_path, *(part.path for part in self.parts(teacher))]:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def _path(self, name: str, fingerprint: str) -> Path:
        return self.directory / f"{self.name}-{name}-{fingerprint[:16]}{SUFFIX}"
