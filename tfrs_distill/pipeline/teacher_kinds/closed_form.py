"""Base class of closed-form teachers: solved with settings chosen on validation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from tfrs_distill.data.splits import Splits
from tfrs_distill.data.windows import Windows
from tfrs_distill.evaluation.baselines import HistoryScorer
from tfrs_distill.files import write_json
from tfrs_distill.pipeline.teacher_kinds.kind import Facts, TeacherContext
from tfrs_distill.teachers import Calibrated
from tfrs_distill.teachers.history_teacher import HistoryTeacher

CHOICES = "choices.json"


class ClosedForm:
    """A closed-form teacher, calibrated.

    A subclass defines its name, the choice of its settings, and the result.
    """

    title: ClassVar[str]
    solve: ClassVar[Callable[..., HistoryTeacher]]

    def __init__(self, context: TeacherContext) -> None:
        self.context = context

    @staticmethod
    def choose(splits: Splits, k: int, *, reads_order: bool) -> HistoryScorer:
        """Return the scorer with the best NDCG@k on validation; its teacher is the teacher.

        Without `reads_order` it has no decay.
        """
        raise NotImplementedError

    def settings(self) -> Any:
        """Return nothing: only the data determines it."""
        return {}

    def train(self, folder: Path) -> Facts:
        """Choose the settings by validation NDCG, and the temperature by the labels' likelihood."""
        context = self.context
        reads_order = context.recipe.data.reads_order
        teacher = self.choose(context.splits, context.k, reads_order=reads_order).teacher
        return self._facts(teacher, folder)

    def _facts(self, teacher: HistoryTeacher, folder: Path) -> Facts:
        """Find the temperature, and write it to `folder` with the settings."""
        temperature = self.context.temperature_of(teacher)
        write_json(folder / CHOICES, {"settings": teacher.settings, "temperature": temperature})
        return {
            "parameters": teacher.num_parameters,
            "bytes": 4 * teacher.num_parameters,
            "line": f"{self.title} with {described(teacher.settings)} at temperature "
            f"{temperature:.3g}",
        }

    def open(self, folder: Path) -> Calibrated:
        """Solve it again: faster than reading its weights."""
        return self._solved(self.context.splits.train, folder)

    def train_fold(self, windows: Windows, fold: int, whole: Path, folder: Path) -> Calibrated:
        """Solve it on these windows, with the full teacher's settings and temperature."""
        return self._solved(windows, whole)

    def extend(self, earlier: Path, folder: Path) -> None:
        """Keep the settings and the temperature: solving again includes the new items."""
        shutil.copy2(earlier / CHOICES, folder / CHOICES)

    def train_further(self, earlier: Path, folder: Path, max_epochs: int) -> Facts:
        """Solve it with the earlier settings, and find the temperature again."""
        return self._facts(self._solved(self.context.splits.train, earlier).teacher, folder)

    def _solved(self, windows: Windows, folder: Path) -> Calibrated:
        chosen = json.loads((folder / CHOICES).read_text())
        return Calibrated(type(self).solve(windows, **chosen["settings"]), chosen["temperature"])


def described(settings: Mapping[str, Any]) -> str:
    """Return the settings as text for a report.

    Example:
    >>> described({"l2": 1000.0, "decay": 8.0, "embedding_dim": 256})
    'l2 1000, decay 8, embedding dim 256'
    >>> described({"decay": None})
    'no decay'
    """
    return ", ".join(
        f"no {name}" if value is None else f"{name.replace('_', ' ')} {value:g}"
        for name, value in settings.items()
    )
