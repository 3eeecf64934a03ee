"""What every kind of teacher does in a run: train, be opened again, be trained for a fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tfrs_distill.errors import InputError
from tfrs_distill.models.tasks import RankingTask
from tfrs_distill.progress import Progress
from tfrs_distill.teachers import fit_temperature, held_out_windows

Facts = dict[str, Any]
KERAS_FILES = "teacher-"  # and a number: the Keras files that a teacher is made of, in its folder


@dataclass(frozen=True)
class TeacherContext:
    """What the teachers of one run are made from.

    Args:
        recipe: the run.
        data: its data: `RetrievalData` or `RankingData`.
        tasks: of a student of rows; empty for retrieval.
        progress: receives every piece of work.
    """

    recipe: Any
    data: Any
    tasks: Sequence[RankingTask]
    progress: Progress

    @property
    def k(self) -> int:
        """The k of the validation metric that chooses."""
        return self.recipe.evaluation.k

    @property
    def splits(self) -> Any:
        """Of the data."""
        return self.data.splits

    def temperature_of(self, teacher: Any) -> float:
        """The temperature at which a teacher is as sure of what validation holds as it is right."""
        max_history = self.recipe.data.max_history
        held_out = held_out_windows(self.splits.validation, max_history=max_history)
        return fit_temperature(teacher, held_out).temperature

    def seed_of_fold(self, fold: int) -> int:
        """A seed for each fold's teacher."""
        return self.recipe.seed + 1000 * (fold + 1)


class TeacherKind(Protocol):
    """One kind of teacher, made for one `TeacherContext`.

    Examples are `Windows` for retrieval and `RankingExamples` for rows; a teacher has
    `logits(batch, candidate_ids)` of either, or `row_logits(examples)` of rows.
    """

    def settings(self) -> Any:
        """Everything outside the data and the recipe that decides the teacher, as JSON.

        Raises:
            InputError: a file or an encoder that the teacher needs cannot be used.
        """

    def train(self, folder: Path) -> Facts:
        """Train on the training examples and leave in `folder` what `open` needs.

        Returns:
            JSON: `parameters` and `bytes` (None where nobody knows them), `line`, which sums it up
            and, where the teacher trains in epochs, `curves`.
        """

    def open(self, folder: Path) -> Any:
        """The teacher that `train` left in `folder`."""

    def train_fold(self, examples: Any, fold: int, whole: Path, folder: Path) -> Any:
        """The same teacher, trained on these examples alone.

        Args:
            examples: the training examples of the other folds.
            fold: the fold that it will label.
            whole: the folder of the whole teacher, whose choices are kept.
            folder: its files; what it leaves there is taken up after an interrupt.
        """


class UpdatedKind(TeacherKind, Protocol):
    """A kind of teacher that can go on from what an earlier run left, with more data."""

    def extend(self, earlier: Path, folder: Path) -> None:
        """Leave in `folder` what `open` needs for an earlier teacher over this run's items.

        It is not trained further. The earlier run's items come first in this run's catalogue; of
        the others the teacher knows what can be known without training, such as their texts.

        Args:
            earlier: the earlier teacher's folder.
            folder: empty.

        Raises:
            InputError: a teacher with the recipe's settings cannot be extended.
        """

    def train_on(self, earlier: Path, folder: Path, max_epochs: int) -> Facts:
        """Train what `extend` left in `earlier` on the training examples; as `train`.

        Args:
            earlier: a folder that `extend` filled.
            folder: its files.
            max_epochs: passes over the training examples at most.
        """


def updated(name: str, kind: TeacherKind) -> UpdatedKind:
    """The kind, where it can go on from an earlier run.

    Raises:
        InputError: it cannot.
    """
    if not hasattr(kind, "extend"):
        raise InputError(
            f"A teacher of the kind {name} cannot go on from an earlier run: it has to be trained "
            "anew, by `tfrs-distill run`."
        )
    found: UpdatedKind = kind  # type: ignore[assignment]
    return found
