"""The teacher of a run that a function in the user's own Python file returns."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from tfrs_distill.errors import InputError
from tfrs_distill.files import file_sha256
from tfrs_distill.pipeline.python_function import function_of_file
from tfrs_distill.pipeline.teacher_kinds.kind import Facts, TeacherContext


class PythonFile:
    """`FILE.py:FUNCTION`, where `FUNCTION(examples, seed)` returns a teacher trained on them.

    It is called once for the teacher of all examples, when a stage needs it, and once per fold.
    Examples are `Windows`, or `RankingExamples` if the student predicts labels of rows. Any teacher
    works: a `KerasTeacher`, a `FunctionTeacher`, or a user's class.
    """

    def __init__(self, context: TeacherContext) -> None:
        self.context = context
        path, _, self.function_name = context.recipe.teacher.source.rpartition(":")
        self.path = Path(path)

    def settings(self) -> Any:
        """Return the file's content and the function's name."""
        if not self.path.is_file() or self.path.suffix != ".py":
            raise InputError(
                "`teacher.source` of a python teacher must be FILE.py:FUNCTION, of a file that "
                f"exists. Received: {self.context.recipe.teacher.source!r}."
            )
        function_of_file(self.path, self.function_name)
        return [self.function_name, file_sha256(self.path)]

    def train(self, folder: Path) -> Facts:
        """Call the function once, to check that it returns a teacher."""
        teacher = self.open(folder)
        parameters = getattr(teacher, "num_parameters", None)
        line = f"made by {self.function_name} of {self.path.name}"
        return {"parameters": parameters, "bytes": None, "line": line}

    def open(self, folder: Path) -> Any:
        """Return the function's teacher of all training examples."""
        return self._whole

    @cached_property
    def _whole(self) -> Any:
        return self._make(self.context.data.rows_of_teacher, self.context.recipe.seed)

    def train_fold(self, examples: Any, fold: int, whole: Path, folder: Path) -> Any:
        """Return the function's teacher of these examples."""
        return self._make(examples, self.context.seed_of_fold(fold))

    def _make(self, examples: Any, seed: int) -> Any:
        teacher = function_of_file(self.path, self.function_name)(examples, seed)
        missing = [name for name in ("logits", "fingerprint") if not hasattr(teacher, name)]
        if missing and not (self.context.tasks and hasattr(teacher, "row_logits")):
            of_rows = ", or of rows `row_logits(examples)`" if self.context.tasks else ""
            raise InputError(
                f"{self.context.recipe.teacher.source} must return a teacher, which has "
                f"`logits(batch, candidate_ids)` and `fingerprint()`{of_rows}. Received: "
                f"{type(teacher).__name__} without {' and '.join(missing)}."
            )
        return teacher
