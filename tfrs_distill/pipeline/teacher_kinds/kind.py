"""The interface of every kind of teacher in a run: train, open, and train for a fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tfrs_distill.errors import InputError
from tfrs_distill.knowledge import cache_item_vectors
from tfrs_distill.models.tasks import RankingTask
from tfrs_distill.progress import Progress
from tfrs_distill.teachers import fit_temperature, held_out_windows

Facts = dict[str, Any]
TEXTS_PER_SHARD = 1024  # lost in an interruption
KERAS_FILES = "teacher-"  # followed by a number: the Keras files of a teacher, in its folder


@dataclass(frozen=True)
class TeacherContext:
    """The inputs of a run's teachers.

    Args:
        recipe: the run.
        data: its data: `RetrievalData` or `RankingData`.
        tasks: of a row student; empty for retrieval.
        progress: receives every piece of work.
        item_vectors: folder of the encoder's vectors of the item texts.
    """

    recipe: Any
    data: Any
    tasks: Sequence[RankingTask]
    progress: Progress
    item_vectors: Path

    @property
    def k(self) -> int:
        """The k of the validation metric used for choices."""
        return self.recipe.evaluation.k

    @property
    def splits(self) -> Any:
        """The splits of the data."""
        return self.data.splits

    def text_vectors(self, encoder: Any) -> np.ndarray:
        """Return an encoder's vectors of the item texts, float32 [num_items, text_dim].

        Each text is encoded once, also by later teachers with other settings and after an
        interruption.
        """
        texts = self.data.catalogue.texts
        return np.asarray(
            cache_item_vectors(
                encoder,
                texts,
                self.item_vectors,
                rows_per_shard=TEXTS_PER_SHARD,
                progress=self.progress,
            )
        )

    def temperature_of(self, teacher: Any) -> float:
        """Return the temperature that calibrates a teacher on validation."""
        max_history = self.recipe.data.max_history
        held_out = held_out_windows(self.splits.validation, max_history=max_history)
        return fit_temperature(teacher, held_out).temperature

    def seed_of_fold(self, fold: int) -> int:
        """Return a seed for each fold's teacher."""
        return self.recipe.seed + 1000 * (fold + 1)


class TeacherKind(Protocol):
    """One kind of teacher, created for one `TeacherContext`.

    Examples are `Windows` for retrieval and `RankingExamples` for rows; a teacher has
    `logits(batch, candidate_ids)` for either, or `row_logits(examples)` for rows.
    """

    def settings(self) -> Any:
        """Return everything outside the data and the recipe that determines the teacher, as JSON.

        Raises:
            InputError: a file or an encoder that the teacher needs cannot be used.
        """

    def train(self, folder: Path) -> Facts:
        """Train on the training examples and write to `folder` what `open` needs.

        Returns:
            JSON: `parameters` and `bytes` (None if unknown), `line`, a summary, and, if the teacher
            trains in epochs, `curves`.
        """

    def open(self, folder: Path) -> Any:
        """Return the teacher that `train` wrote to `folder`."""

    def train_fold(self, examples: Any, fold: int, whole: Path, folder: Path) -> Any:
        """Return the same teacher, trained on these examples only.

        Args:
            examples: the training examples of the other folds.
            fold: the fold that it will label.
            whole: the folder of the teacher of all examples, whose choices are kept.
            folder: for its files; an interrupted training resumes from them.
        """


class UpdatedKind(TeacherKind, Protocol):
    """A kind of teacher that can continue from an earlier run, with more data."""

    def extend(self, earlier: Path, folder: Path) -> None:
        """Write to `folder` what `open` needs for an earlier teacher with this run's items.

        It is not trained further. The earlier run's items come first in this run's catalogue; for
        the others the teacher uses what is available without training, such as their texts.

        Args:
            earlier: the earlier teacher's folder.
            folder: empty.

        Raises:
            InputError: a teacher with the recipe's settings cannot be extended.
        """

    def train_further(self, earlier: Path, folder: Path, max_epochs: int) -> Facts:
        """Continue training the result of `extend` in `earlier` on the training examples.

        It writes and returns the same as `train`.

        Args:
            earlier: a folder that `extend` filled.
            folder: for its files.
            max_epochs: maximum number of passes over the training examples.
        """


def updated(name: str, kind: TeacherKind) -> UpdatedKind:
    """Return the kind, if it can continue from an earlier run.

    Raises:
        InputError: it cannot.
    """
    if not hasattr(kind, "extend"):
        raise InputError(
            f"A teacher of the kind {name} cannot continue from an earlier run. Train it anew, by "
            "`tfrs-distill run`."
        )
    found: UpdatedKind = kind  # type: ignore[assignment]
    return found
