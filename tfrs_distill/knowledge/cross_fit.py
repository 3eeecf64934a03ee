"""Knowledge of training examples from teachers that never trained on them."""

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
    """Label every training example with a teacher that never trained on its user.

    Users are assigned to `num_folds` folds; for each, a teacher is trained on the other folds'
    examples and labels this fold's. A teacher is over-confident about what it trained on, and a
    student that imitates it there learns the labels' noise. `.join(examples)` of the result gives
    the examples with the teachers' knowledge.

    A fold that is already on disk is not trained again, so an interrupted call resumes; several
    processes that call this for one directory share the folds. A fold that was interrupted between
    two of its shards needs its teacher again, so `train` is called again. Where that gives another
    teacher, the fold's earlier shards are not its and are made again. A `train` that keeps its
    trained teachers on disk, and loads the one it has, loses nothing.

    Reference: [Dao et al., 2021](https://arxiv.org/abs/2104.09732).

    Args:
        train: `train(examples, fold) -> teacher`, trained on just these examples. For windows a
            teacher is what `cache_teacher` takes; for rows what `td.teachers.row_logits` takes: it
            has `logits(batch, None)` or `row_logits(examples)`, by task, NaN = no knowledge.
        examples: training `Windows` or `RankingExamples`.
        directory: folder of the cache.
        fingerprint: text that names everything that decides how `train` trains (its configuration,
            its seed, its data's version); a fold made under another one is made again.
        num_folds: at least 2, and at most the number of users or rows.
        by: `"user"` keeps a user's rows in one fold; `"row"` assigns rows one by one, for data in
            which a row has no user that matters.
        seed: of dealing.
        top_k: of windows, as for `cache_teacher`; rows' logits are kept whole.
        temperatures: of windows, as for `cache_teacher`.
        dtype: of windows, as for `cache_teacher`.
        rows_per_shard: examples a file; None is 4,096 windows or 1,048,576 rows.
        progress: shows a bar over shards.

    Raises:
        InputError: `num_folds` is out of range; a teacher gives NaN, infinite values or another
            shape than it must; a file that is there already is damaged.
        ValueError: `by` is neither of the two, or rows are given a setting of windows.

    Example:
    >>> import tempfile
    >>> class Mean:  # knows the mean label of what it was trained on
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
    """Return the fold of every row, int [num_rows]; folds have equally many users or rows, to one.

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
    """Return the examples with what is kept of a teacher's knowledge of them."""
    if isinstance(examples, Windows):
        return WindowsToLabel(examples, LabelSettings(**given))
    wrong = [name for name in given if name != "rows_per_shard"]
    if wrong:
        raise ValueError(
            f"`{wrong[0]}` is of windows: the logits of ranking rows are kept whole. Received: "
            f"{wrong[0]}={given[wrong[0]]!r}. Leave it out."
        )
    return RowsToLabel(examples, **given)
