"""The teacher of a run whose predictions are in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfrs_distill.errors import InputError
from tfrs_distill.files import file_sha256
from tfrs_distill.pipeline.teacher_kinds.kind import Facts, TeacherContext
from tfrs_distill.teachers import ArrayTeacher
from tfrs_distill.teachers.arrays.row_logits_from_arrays import RowArrays


class Array:
    """`ArrayTeacher.read`, or `RowArrays` for rows: any model's predictions in one file.

    The user must make sure that the model was not trained on the examples that it labels.
    """

    def __init__(self, context: TeacherContext) -> None:
        self.context = context
        self.path = Path(context.recipe.teacher.source)

    def settings(self) -> Any:
        """Return the fingerprint of the file's content."""
        if not self.path.is_file():
            raise InputError(
                f"`teacher.source` must be the file of an array teacher. {self.path} does not "
                "exist or is not a file."
            )
        return file_sha256(self.path)

    def train(self, folder: Path) -> Facts:
        """Read the file, to check that it is valid."""
        teacher = self.open(folder)
        if isinstance(teacher, RowArrays):
            for part in ("train", "validation", "test"):
                teacher.row_logits(getattr(self.context.splits, part))
        size = self.path.stat().st_size
        return {"parameters": None, "bytes": size, "line": f"the predictions in {self.path.name}"}

    def open(self, folder: Path) -> ArrayTeacher | RowArrays:
        """Read the file."""
        if self.context.tasks:
            return RowArrays(
                self.path, self.context.tasks, vocabularies=self.context.data.vocabularies
            )
        return ArrayTeacher.read(
            self.path,
            catalogue=self.context.data.catalogue,
            user_ids=self.context.data.interactions.user_ids,
        )

    def train_fold(
        self, examples: Any, fold: int, whole: Path, folder: Path
    ) -> ArrayTeacher | RowArrays:
        """Return the same predictions: an array is not trained here."""
        return self.open(folder)
