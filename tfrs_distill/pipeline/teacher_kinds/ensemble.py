"""The teacher of a run that joins several kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.models.tasks import RankingTask
from tfrs_distill.pipeline.teacher_kinds.kind import Facts, Setting, TeacherKind
from tfrs_distill.teachers import Ensemble, average_answers


@dataclass(frozen=True)
class EnsembleOfRows:
    """The mean of teachers' probabilities of rows."""

    teachers: Sequence[Any]
    tasks: Sequence[RankingTask]

    def answers(self, examples: RankingExamples) -> dict[str, np.ndarray]:
        """Logits by task, float32 [num_rows, width]."""
        return average_answers([teacher.answers(examples) for teacher in self.teachers], self.tasks)


class EnsembleOf:
    """`Ensemble` of the recipe's members, each trained as it would be alone."""

    def __init__(self, setting: Setting, members: dict[str, TeacherKind]) -> None:
        self.setting, self.members = setting, members

    def settings(self) -> Any:
        """Every member's."""
        return {name: member.settings() for name, member in self.members.items()}

    def train(self, folder: Path) -> Facts:
        """Train the members one after another."""
        facts = {}
        for name, member in self.members.items():
            (folder / name).mkdir(exist_ok=True)
            facts[name] = member.train(folder / name)
        sizes = {
            key: None if None in values else sum(values)
            for key in ("parameters", "bytes")
            for values in [[found[key] for found in facts.values()]]
        }
        line = " + ".join(found["line"] for found in facts.values())
        return sizes | {"line": line, "members": facts}

    def open(self, folder: Path) -> Ensemble | EnsembleOfRows:
        """Their mean."""
        members = self.members.items()
        return self._mean([member.open(folder / name) for name, member in members])

    def train_fold(
        self, examples: Any, fold: int, whole: Path, folder: Path
    ) -> Ensemble | EnsembleOfRows:
        """The mean of the members' fold teachers."""
        teachers = []
        for name, member in self.members.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            teachers.append(member.train_fold(examples, fold, whole / name, folder / name))
        return self._mean(teachers)

    def _mean(self, teachers: Sequence[Any]) -> Ensemble | EnsembleOfRows:
        tasks = self.setting.tasks
        return EnsembleOfRows(teachers, tasks) if tasks else Ensemble(teachers)
