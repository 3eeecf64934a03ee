"""The teacher of a run whose answers stand in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError
from tfrs_distill.files import file_sha256
from tfrs_distill.pipeline.teacher_kinds.kind import Facts, Setting
from tfrs_distill.teachers import ArrayTeacher


class Array:
    """`ArrayTeacher.read`: what any model said about the users, in one file.

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
        self._read()
        size = self.path.stat().st_size
        return {"parameters": None, "bytes": size, "line": f"the answers in {self.path.name}"}

    def open(self, folder: Path) -> ArrayTeacher:
        """Read the file."""
        return self._read()

    def train_fold(self, windows: Windows, fold: int, whole: Path, folder: Path) -> ArrayTeacher:
        """The same answers: an array is not trained here."""
        return self._read()

    def _read(self) -> ArrayTeacher:
        catalogue = self.setting.splits.catalogue
        return ArrayTeacher.read(
            self.path, catalogue=catalogue, user_ids=self.setting.data.user_ids
        )
