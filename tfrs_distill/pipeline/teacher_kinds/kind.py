"""What every kind of teacher does in a run: train, be opened again, teach a fold's sibling."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.splits import Splits
from tfrs_distill.data.windows import Windows
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.progress import Progress

Facts = dict[str, Any]
TEACHER_FILE = "teacher.keras"  # of a two-tower teacher, in its folder


@dataclass(frozen=True)
class Setting:
    """What the teachers of one run are made from.

    Args:
        recipe: the run.
        data: the interactions, whole; for raw user ids.
        splits: of the same interactions.
        progress: told of every piece of work.
    """

    recipe: Recipe
    data: Interactions
    splits: Splits
    progress: Progress

    @property
    def k(self) -> int:
        """The k of the validation metric that chooses."""
        return self.recipe.evaluation.k


class TeacherKind(Protocol):
    """One kind of teacher, made for one `Setting`."""

    def settings(self) -> Any:
        """Everything outside the data that decides the teacher, as JSON; checks the inputs.

        Raises:
            InputError: a file or an encoder that the teacher needs cannot be used.
        """

    def train(self, folder: Path) -> Facts:
        """Train on the training windows and leave in `folder` what `open` needs.

        Returns:
            JSON: `parameters` and `bytes` (None where nobody knows them), `line`, which says it in
            a sentence's part, and, where the teacher trains in epochs, `curves`.
        """

    def open(self, folder: Path) -> Any:
        """The teacher that `train` left in `folder`."""

    def train_fold(self, windows: Windows, fold: int, whole: Path, folder: Path) -> Any:
        """The same teacher on these windows alone.

        Args:
            windows: the training windows of the other folds' users.
            fold: the fold that it will speak about.
            whole: the folder of the whole teacher, whose choices are kept.
            folder: a folder of its own; what it leaves there is taken up after an interrupt.
        """
