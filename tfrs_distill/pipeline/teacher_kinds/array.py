"""The teacher of a run whose predictions stand in a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError
from tfrs_distill.files import file_sha256
from tfrs_distill.pipeline.teacher_kinds.kind import Facts, Setting
from tfrs_distill.teachers import ArrayTeacher, read_row_logits


@dataclass(frozen=True)
class PredictionsOfRows:
    """Predictions of a user and an item, found in the file for any rows.

    Args:
        path: see `read_row_logits`.
        setting: of the run.
    """

    path: Path
    setting: Setting

    def row_logits(self, examples: RankingExamples) -> dict[str, np.ndarray]:
        """Logits by task, float32 [num_rows, width]."""
        return read_row_logits(
            self.path, examples, self.setting.tasks, vocabularies=self.setting.data.vocabularies
        )


class Array:
    """`ArrayTeacher.read`, or of rows `read_row_logits`: any model's predictions in one file.

    Whether it has seen the examples that it labels is for its maker to know.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.path = Path(setting.recipe.teacher.source)

    def settings(self) -> Any:
        """The file's content."""
        if not self.path.is_file():
            raise InputError(
                f"`teacher.source` must be the file of an array teacher. {self.path} does not "
                "exist or is no file."
            )
        return file_sha256(self.path)

    def train(self, folder: Path) -> Facts:
        """Read the file, to see that it can be used."""
        teacher = self.open(folder)
        if isinstance(teacher, PredictionsOfRows):
            for part in ("train", "validation", "test"):
                teacher.row_logits(getattr(self.setting.splits, part))
        size = self.path.stat().st_size
        return {"parameters": None, "bytes": size, "line": f"the predictions in {self.path.name}"}

    def open(self, folder: Path) -> ArrayTeacher | PredictionsOfRows:
        """Read the file."""
        if self.setting.tasks:
            return PredictionsOfRows(self.path, self.setting)
        return ArrayTeacher.read(
            self.path,
            catalogue=self.setting.data.catalogue,
            user_ids=self.setting.data.interactions.user_ids,
        )

    def train_fold(
        self, examples: Any, fold: int, whole: Path, folder: Path
    ) -> ArrayTeacher | PredictionsOfRows:
        """The same predictions: an array is not trained here."""
        return self.open(folder)
