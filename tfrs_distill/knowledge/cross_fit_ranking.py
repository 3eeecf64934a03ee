"""A ranking teacher's knowledge of its own training rows, from folds that never saw them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from tfrs_distill import columns
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError
from tfrs_distill.knowledge.locks import each_once
from tfrs_distill.knowledge.shard import FORMAT, SUFFIX, Shard
from tfrs_distill.progress import Progress, SilentProgress

ROWS = "rows"  # int64 [num_rows]: the rows of the examples that a fold is about
USER, ROW = "user", "row"


class AnswersRanking(Protocol):
    """A trained ranking teacher: anything that has logits for rows."""

    def answers(self, examples: RankingExamples) -> dict[str, np.ndarray]:
        """Logits by task, [num_rows, width] or [num_rows]; a row of NaN says nothing."""


def cross_fit_ranking(
    train: Callable[[RankingExamples, int], AnswersRanking],
    examples: RankingExamples,
    directory: str | os.PathLike[str],
    *,
    fingerprint: str,
    num_folds: int = 4,
    by: str = USER,
    seed: int = 0,
    progress: Progress | None = None,
) -> RankingExamples:
    """Hear about every row from a teacher that never trained on it, and keep that on disk.

    Rows are dealt into `num_folds` folds; for each, a teacher is trained on the other folds' rows
    and asked about this fold's. A teacher that is asked about rows it trained on is over-confident
    there, and a student that imitates it learns the labels' noise.

    A fold's answers are one file, written whole. A fold that is on disk is read, not trained
    again: a kill costs the folds that were being trained and no other. Several processes that call
    this for one directory share the folds.

    Reference: [Dao et al., 2021](https://arxiv.org/abs/2104.09732).

    Args:
        train: `train(examples, fold) -> teacher`, trained on just these rows; the teacher has
            `answers(examples) -> {task: logits}`.
        examples: the training rows.
        directory: folder of the answers.
        fingerprint: text that names everything that decides how `train` trains (its configuration,
            its seed); answers made under another one are not used.
        num_folds: at least 2, and at most the number of users or rows.
        by: `"user"` keeps a user's rows in one fold; `"row"` deals rows one by one, for data in
            which a row has no user that matters.
        seed: of dealing.
        progress: shows a bar over folds.

    Returns:
        The examples with the teachers' logits.

    Raises:
        InputError: `num_folds` is out of range; a teacher answers for other rows, or with a number
            that is not finite; a file is damaged or of other rows: it is named.
        ValueError: `by` is neither of the two.

    Example:
    >>> import tempfile
    >>> class Mean:  # knows the mean label of what it was trained on
    ...     def __init__(self, seen): self.mean = seen.labels["like"].mean()
    ...     def answers(self, asked): return {"like": np.full(len(asked), self.mean)}
    >>> examples = RankingExamples(
    ...     {}, {"like": np.array([1.0, 1.0, 0.0])}, np.array([7, 7, 8]), queries=np.arange(3))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     heard = cross_fit_ranking(
    ...         lambda seen, fold: Mean(seen), examples, folder, fingerprint="mean", num_folds=2)
    >>> heard.teacher_logits["like"][:, 0].tolist()
    [0.0, 0.0, 1.0]
    """
    plans = _plans(examples, Path(directory), fingerprint, num_folds, by, seed)
    with (progress or SilentProgress()).bar("folds", num_folds) as advance:

        def hear(plan: FoldOfRows) -> None:
            others = np.ones(len(examples), bool)
            others[plan.rows] = False
            teacher = train(examples.subset(others), plan.index)
            plan.write(teacher, examples.subset(plan.rows))

        for plan in each_once(plans, lambda plan: plan.path, FoldOfRows.is_done, hear):
            advance(note=f"fold {plan.index + 1}")
    return examples.with_teacher(_joined(plans, len(examples)))


@dataclass(frozen=True)
class FoldOfRows:
    """One fold: which rows, and the file of what its teacher said about them.

    Args:
        index: of the fold.
        rows: int64, the rows that its teacher is asked about, ascending.
        path: the file.
        fingerprint: sha256 of everything that decides the answers.
    """

    index: int
    rows: np.ndarray
    path: Path
    fingerprint: str

    def is_done(self) -> bool:
        """Whether the file is there; raises an InputError where it is damaged or another's."""
        return self.path.exists() and self.read() is not None

    def write(self, teacher: AnswersRanking, examples: RankingExamples) -> None:
        """Ask the teacher about the fold's own rows and keep what it says."""
        said = teacher.answers(examples)
        if not said:
            raise InputError(f"The teacher of fold {self.index} answers for no task.")
        try:
            checked = examples.with_teacher(said).teacher_logits
        except InputError as error:
            raise InputError(f"The teacher of fold {self.index}: {error}") from error
        arrays = {columns.teacher_logits(task): checked[task] for task in said}
        facts = {"tasks": sorted(said)}
        Shard.write(self.path, self.fingerprint, {ROWS: self.rows} | arrays, facts)

    def read(self) -> dict[str, np.ndarray]:
        """The logits by task, float32 [num_rows, width].

        Raises:
            InputError: the file is missing, damaged, or of other rows or another teacher.
        """
        shard = Shard.open(self.path)
        if shard.fingerprint != self.fingerprint:
            raise InputError(
                f"{self.path} holds answers of another teacher or about other rows: its "
                "fingerprint is not the one its name says. Delete the file and call again; the "
                "other folds are kept."
            )
        return {
            task: np.array(shard.arrays[columns.teacher_logits(task)])
            for task in shard.facts["tasks"]
        }


def _plans(
    examples: RankingExamples,
    directory: Path,
    fingerprint: str,
    num_folds: int,
    by: str,
    seed: int,
) -> list[FoldOfRows]:
    """The folds, named by everything that decides what is in them."""
    if by not in (USER, ROW):
        raise ValueError(f"`by` must be {USER!r} or {ROW!r}. Received: by={by!r}.")
    owners = examples.users if by == USER else np.arange(len(examples))
    dealt, owner = np.unique(owners, return_inverse=True)
    if not 2 <= num_folds <= len(dealt):
        raise InputError(
            f"`num_folds` must be within 2 and the number of {by}s, {len(dealt)}. Received: "
            f"num_folds={num_folds!r}."
        )
    fold = np.random.default_rng(seed).permutation(np.arange(len(dealt)) % num_folds)[owner]
    made_from = [FORMAT, "ranking", fingerprint, examples.fingerprint(), num_folds, by, seed]
    plans = []
    for index in range(num_folds):
        key = hashlib.sha256(json.dumps([*made_from, index]).encode()).hexdigest()
        name = f"ranking-fold-{index:05d}-of-{num_folds:05d}-{key[:16]}{SUFFIX}"
        rows = np.flatnonzero(fold == index).astype(np.int64)
        plans.append(FoldOfRows(index, rows, directory / name, key))
    return plans


def _joined(plans: list[FoldOfRows], num_rows: int) -> dict[str, np.ndarray]:
    """What all folds said, in the order of the rows; one fold at a time is in memory twice."""
    joined: dict[str, np.ndarray] = {}
    for plan in plans:
        answers = plan.read()
        if plan is plans[0]:
            joined = {
                task: np.empty((num_rows, logits.shape[1]), np.float32)
                for task, logits in answers.items()
            }
        found, widths = (
            {task: logits.shape[1] for task, logits in said.items()} for said in (answers, joined)
        )
        if found != widths:
            raise InputError(
                f"{plan.path} answers for the tasks (and widths) {found}, but {plans[0].path} for "
                f"{widths}. `train` must give teachers of the same tasks for every fold. Delete "
                "the file that is wrong and call again."
            )
        for task, logits in answers.items():
            joined[task][plan.rows] = logits
    return joined
