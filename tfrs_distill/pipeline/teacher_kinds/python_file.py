"""The teacher of a run that a function in the user's own Python file makes."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError
from tfrs_distill.files import file_sha256
from tfrs_distill.pipeline.teacher_kinds.kind import Facts, Setting


class PythonFile:
    """`FILE.py:FUNCTION`, where `FUNCTION(windows, seed)` gives a teacher trained on the windows.

    It is asked for the whole teacher, whenever a stage needs it, and for one a fold of users. Any
    teacher will do: a `KerasTeacher`, a `FunctionTeacher`, one of your own class.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        path, _, self.function_name = setting.recipe.teacher.source.rpartition(":")
        self.path = Path(path)

    def settings(self) -> Any:
        """The file's content and the function's name."""
        if not self.path.is_file() or self.path.suffix != ".py":
            raise InputError(
                "`teacher.source` of a python teacher must be FILE.py:FUNCTION, of a file that "
                f"exists. Received: {self.setting.recipe.teacher.source!r}."
            )
        self._function()
        return [self.function_name, file_sha256(self.path)]

    def train(self, folder: Path) -> Facts:
        """Ask the function once, to see that it gives a teacher."""
        teacher = self.open(folder)
        parameters = getattr(teacher, "num_parameters", None)
        line = f"made by {self.function_name} of {self.path.name}"
        return {"parameters": parameters, "bytes": None, "line": line}

    def open(self, folder: Path) -> Any:
        """What the function makes of all training windows."""
        return self._make(self.setting.splits.train, self.setting.recipe.seed)

    def train_fold(self, windows: Windows, fold: int, whole: Path, folder: Path) -> Any:
        """What the function makes of these windows."""
        return self._make(windows, self.setting.recipe.seed + 1000 * (fold + 1))

    def _make(self, windows: Windows, seed: int) -> Any:
        teacher = self._function()(windows, seed)
        missing = [name for name in ("logits", "fingerprint") if not hasattr(teacher, name)]
        if missing:
            raise InputError(
                f"{self.setting.recipe.teacher.source} must give a teacher, which answers "
                f"`logits(batch, candidate_ids)` and `fingerprint()`. Received: "
                f"{type(teacher).__name__} without {' and '.join(missing)}."
            )
        return teacher

    def _function(self) -> Callable[[Windows, int], Any]:
        name = f"tfrs_distill_teacher_{self.path.stem}"
        specification = importlib.util.spec_from_file_location(name, self.path)
        assert specification is not None and specification.loader is not None  # it ends in .py
        module = importlib.util.module_from_spec(specification)
        sys.modules[name] = module  # pickling and dataclasses look there
        try:
            specification.loader.exec_module(module)
        except Exception as error:
            raise InputError(
                f"{self.path} cannot be run: {type(error).__name__}: {error}."
            ) from error
        function: Callable[[Windows, int], Any] | None = getattr(module, self.function_name, None)
        if not callable(function):
            raise InputError(f"{self.path} has no function {self.function_name!r}.")
        return function
