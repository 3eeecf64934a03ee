"""Cross-fitting: outputs for training examples from teachers not trained on them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError
from tfrs_distill.knowledge.cached_teacher import CachedTeacher
from tfrs_distill.knowledge.label_rows import RowsToLabel
from tfrs_distill.knowledge.label_windows import LabelSettings, WindowsToLabel
from tfrs_distill.knowledge.make import ToLabel, files_of, make_cache
from tfrs_distill.progress import Progress

Examples = TypeVar("Examples", Windows, RankingExamples)
USER, ROW = "user", "row"


def cross_fit(
    train: Callable[[Examples, int], Any],
    examples: Examples,
    directory: str | os.PathLike[str],
    *,
    fingerprint: str,
    num_folds: int = 4,
    by: str = USER,
    seed: int = 0,
    top_k: int | None = None,
    temperatures: tuple[float, ...] | None = None,
    dtype: str | None = None,
    rows_per_shard: int | None = None,
    progress: Progress | None = None,
) -> CachedTeacher:
    """Label every training example with a teacher that was not trained on its user.

    Users are assigned to `num_folds` folds. For each fold a teacher is trained on the examples of
    the other folds and labels those of this fold. A teacher is over-confident on its own training
    examples, and a student that imitates it there learns the noise of the labels. `.join(examples)`
    of the result returns the examples with the teachers' outputs.

    Folds that are complete on disk are not trained again, so an interrupted call resumes; several
    processes that call this for one directory share the folds. A fold interrupted between two of
    its shards needs its teacher, so `train` is called again. If that returns another teacher, the
    fold's earlier shards are discarded and made again. To avoid this, let `train` save its trained
    teachers on disk and load an existing one.

    Reference: [Dao et al., 2021](https://arxiv.org/abs/2104.09732).

    Args:
        train: `train(examples, fold) -> teacher`, trained on exactly these examples. For windows
            the teacher is as for `cache_teacher`; for rows as for `td.teachers.row_logits`: it has
            `logits(batch, None)` or `row_logits(examples)`, by task, NaN = no output.
        examples: training `Windows` or `RankingExamples`.
        directory: folder of the cache.
        fingerprint: text that changes with everything that affects `train` (its configuration, its
            seed, the version of its data); folds with another fingerprint are made again.
        num_folds: at least 2, and at most the number of users or rows.
        by: `"user"` keeps all rows of a user in one fold; `"row"` assigns rows individually, for
            data without meaningful users.
        seed: seed of the assignment.
        top_k: for windows, as for `cache_teacher`; logits of rows are stored completely.
        temperatures: for windows, as for `cache_teacher`.
        dtype: for windows, as for `cache_teacher`.
        rows_per_shard: examples per file; None is 4,096 windows or 1,048,576 rows.
        progress: shows a bar over shards.

    Raises:
        InputError: `num_folds` is out of range; a teacher returns NaN, infinite values or the wrong
            shape; an existing file is damaged.
        ValueError: `by` is neither of the two, or a setting for windows is given for rows.

    Example:
    >>> import tempfile
    >>> class Mean:  # predicts the mean label of its training rows
    ...     def __init__(self, seen): self.mean = seen.labels["like"].mean()
    ...     def row_logits(self, examples): return {"like": np.full(len(examples), self.mean)}
    >>> rows = RankingExamples(
    ...     {}, {"like": np.array([1.0, 1.0, 0.0])}, np.array([7, 7, 8]), queries=np.arange(3))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     knowledge = cross_fit(
    ...         lambda seen, fold: Mean(seen), rows, folder, fingerprint="mean", num_folds=2)
    ...     knowledge.join(rows).teacher_logits["like"][:, 0].tolist()
    [0.0, 0.0, 1.0]
    """
    given = {
        "top_k": top_k,
        "temperatures": None if temperatures is None else tuple(temperatures),
        "dtype": dtype,
        "rows_per_shard": rows_per_shard,
    }
    to_label = _to_label(examples, {name: v for name, v in given.items() if v is not None})
    fold_of_row = assign_folds(examples, num_folds, by, seed)
    files = files_of(directory, to_label, fingerprint, fold_of_row)
    return make_cache(
        lambda fold: train(examples.subset(fold_of_row != fold), fold), files, to_label, progress
    )


def assign_folds(
    examples: Windows | RankingExamples, num_folds: int, by: str, seed: int
) -> np.ndarray:
    """Return the fold of every row, int [num_rows]; fold sizes (users or rows) differ by at most 1.

    Raises:
        InputError: `num_folds` is out of range.
        ValueError: `by` is neither `"user"` nor `"row"`.
    """
    if by not in (USER, ROW):
        raise ValueError(f"`by` must be {USER!r} or {ROW!r}. Received: by={by!r}.")
    owners = examples.users if by == USER else np.arange(len(examples))
    unique, owner = np.unique(owners, return_inverse=True)
    if not 2 <= num_folds <= len(unique):
        raise InputError(
            f"`num_folds` must be within 2 and the number of {by}s, {len(unique)}. Received: "
            f"num_folds={num_folds!r}."
        )
    fold: np.ndarray = np.random.default_rng(seed).permutation(np.arange(len(unique)) % num_folds)
    return fold[owner]


def _to_label(examples: Windows | RankingExamples, given: dict[str, Any]) -> ToLabel:
    """Return the examples with the settings of what is stored."""
    if isinstance(examples, Windows):
        return WindowsToLabel(examples, LabelSettings(**given))
    wrong = [name for name in given if name != "rows_per_shard"]
    if wrong:
        raise ValueError(
            f"`{wrong[0]}` is a setting for windows: logits of rows are stored completely. "
            f"Received: {wrong[0]}={given[wrong[0]]!r}. Remove it."
        )
    return RowsToLabel(examples, **given)
