"""The two ways to make a cache: hear one teacher, or one a fold of users that it never saw."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError
from tfrs_distill.knowledge.cached_teacher import MANIFEST, CachedTeacher
from tfrs_distill.knowledge.fold import EXAMPLE_KEYS, FoldPlan
from tfrs_distill.knowledge.label import Labeller, LabelSettings, fingerprint_of
from tfrs_distill.knowledge.locks import each_once
from tfrs_distill.knowledge.manifest import Manifest, write_manifest
from tfrs_distill.progress import Progress, SilentProgress
from tfrs_distill.teachers.teacher import Teacher

ROWS_PER_SHARD = 4096  # windows: 135 MB at 50 positions of 64 numbers and 50 best items


def cache_teacher(
    teacher: Any,
    windows: Windows,
    directory: str | os.PathLike[str],
    *,
    top_k: int = 50,
    temperatures: tuple[float, ...] = (1.0,),
    dtype: str = "float32",
    rows_per_shard: int = ROWS_PER_SHARD,
    progress: Progress | None = None,
) -> CachedTeacher:
    """Hear a teacher once about every training example, and keep what it said on disk.

    A cache that the same teacher made for the same windows is opened, not made again; after a kill
    the whole shards are kept and only the missing ones computed. Several processes may call this
    for one directory at once: they share the shards. What a teacher says about examples it trained
    on is over-confident: see `cross_fit_teacher`.

    Args:
        teacher: a factorised `Teacher`, whose embeddings and top-K are kept; or anything with
            `logits(batch, candidate_ids)` and `fingerprint()`, whose top-K alone is.
        windows: training windows.
        directory: folder of the cache.
        top_k: items whose logits are kept at each position; the rest is summed.
        temperatures: temperatures at which the rest is summed.
        dtype: of the embeddings: `"float32"`, `"float16"`, or `"int8"` with a scale a row.
        rows_per_shard: examples a file. A file is written at once, is what a kill can lose, and is
            one open file of whoever reads the cache.
        progress: shows a bar over shards.

    Raises:
        InputError: the teacher has no fingerprint, or gives NaN or infinite values at a label; or
            a file that is there already is damaged.
    """
    settings = LabelSettings(top_k, tuple(temperatures), dtype, rows_per_shard)
    settings.check(windows.catalogue.num_items)
    plan = plan_of_one(fingerprint_of(teacher), windows, Path(directory), settings)
    return make_cache(lambda _, __: teacher, [plan], windows, progress)


def cross_fit_teacher(
    train_teacher: Callable[[Windows, int], Teacher],
    windows: Windows,
    directory: str | os.PathLike[str],
    *,
    fingerprint: str,
    num_folds: int = 4,
    top_k: int = 50,
    temperatures: tuple[float, ...] = (1.0,),
    dtype: str = "float32",
    rows_per_shard: int = ROWS_PER_SHARD,
    seed: int = 0,
    progress: Progress | None = None,
) -> CachedTeacher:
    """Hear about every training example from a teacher that never trained on its user.

    Users are dealt into `num_folds` folds; for each, a teacher is trained on the other folds'
    windows and asked about this fold's. A fold that is already on disk is not trained again, so an
    interrupted call resumes; several processes that call this for one directory share the folds.

    A fold that was interrupted between two of its shards needs its teacher again, so
    `train_teacher` is called again. Where that gives a teacher of another `fingerprint()`, the
    fold's earlier shards are not its and are made again. A `train_teacher` that keeps its trained
    teachers on disk, and loads the one it has, loses nothing.

    Reference: [Dao et al., 2021](https://arxiv.org/abs/2104.09732).

    Args:
        train_teacher: `train_teacher(windows, fold) -> teacher`, trained on just these windows;
            what `cache_teacher` takes.
        windows: training windows.
        directory: folder of the cache.
        fingerprint: text that names everything that decides how `train_teacher` trains (its
            configuration, its data's version); a fold made under another one is made again.
        num_folds: at least 2 and at most the number of users.
        top_k: items whose logits are kept at each position; the rest is summed.
        temperatures: temperatures at which the rest is summed.
        dtype: as for `cache_teacher`.
        rows_per_shard: as for `cache_teacher`.
        seed: of dealing users into folds.
        progress: shows a bar over shards.

    Raises:
        InputError: `num_folds` is out of range, or as `cache_teacher`.
    """
    settings = LabelSettings(top_k, tuple(temperatures), dtype, rows_per_shard)
    settings.check(windows.catalogue.num_items)
    users = np.unique(windows.users)
    if not 2 <= num_folds <= len(users):
        raise InputError(
            f"`num_folds` must be within 2 and the number of users, {len(users)}. Received: "
            f"num_folds={num_folds!r}."
        )
    fold_of_user = np.random.default_rng(seed).permutation(np.arange(len(users)) % num_folds)
    fold = fold_of_user[np.searchsorted(users, windows.users)]
    made_from = [fingerprint, windows.fingerprint()]
    plans = [
        FoldPlan(
            Path(directory), np.flatnonzero(fold == index), made_from, index, num_folds, settings
        )
        for index in range(num_folds)
    ]

    def train(rows: np.ndarray, index: int) -> Teacher:
        others = np.ones(len(windows), bool)
        others[rows] = False
        return train_teacher(windows.subset(others), index)

    return make_cache(train, plans, windows, progress)


def plan_of_one(
    fingerprint: str, windows: Windows, directory: Path, settings: LabelSettings
) -> FoldPlan:
    """Everybody in one fold, heard from the teacher of this fingerprint."""
    everybody = np.arange(len(windows))
    return FoldPlan(directory, everybody, [fingerprint, windows.fingerprint()], 0, 1, settings)


def make_cache(
    teacher_of: Callable[[np.ndarray, int], Any],
    plans: Sequence[FoldPlan],
    windows: Windows,
    progress: Progress | None,
) -> CachedTeacher:
    """Open or make the folds, and name them all in the manifest.

    Args:
        teacher_of: `teacher_of(rows, index)`: the teacher of a fold, trained on other rows.
        plans: of the folds.
        windows: all of them.
        progress: shows a bar over shards.
    """
    directory, keys = plans[0].directory, windows.example_keys()
    heard: list[FoldPlan] = []
    begin(plans)
    with (progress or SilentProgress()).bar("shards", sum(p.num_parts for p in plans)) as advance:

        def label(plan: FoldPlan) -> None:
            teacher = teacher_of(plan.rows, plans.index(plan))
            labeller = Labeller(teacher, windows.catalogue.num_items, plan.settings)
            for _ in plan.label(labeller, windows, keys):
                advance()
            heard.append(plan)

        if len(plans) == 1:  # the teacher is at hand: processes share its shards
            if not plans[0].is_done():
                label(plans[0])
        else:  # a process trains a fold's teacher and asks it alone
            list(each_once(plans, lambda plan: directory / plan.name, FoldPlan.is_done, label))
        advance(sum(plan.num_parts for plan in plans if plan not in heard))
    return finish(plans)


def begin(plans: Sequence[FoldPlan]) -> None:
    """Take away a manifest of another cache, so that old and new never pass for one."""
    path = plans[0].directory / MANIFEST
    manifest = Manifest.read_if_whole(path)
    if manifest is None or manifest.fingerprint != _fingerprint(plans):
        path.unlink(missing_ok=True)


def finish(plans: Sequence[FoldPlan]) -> CachedTeacher:
    """Write the manifest of folds that are whole, and open the cache."""
    directory = plans[0].directory
    folds = []
    for plan in plans:
        if (fold := plan.opened()) is None:
            raise InputError(
                f"Files of {plan.name} in {directory} went away while the cache was made. Make it "
                "again; whole shards are kept."
            )
        folds.append(fold)
    facts = {
        "forms": list(folds[0].forms),
        "temperatures": folds[0].teacher.facts["temperatures"],
        "folds": [
            {
                "teacher": fold.teacher.path.name,
                "shards": [shard.path.name for shard in fold.shards],
            }
            for fold in folds
        ],
    }
    shards = [shard for fold in folds for shard in (fold.teacher, *fold.shards)]
    fingerprint = _fingerprint(plans)
    write_manifest(directory / MANIFEST, "examples", fingerprint, facts, shards, EXAMPLE_KEYS)
    return CachedTeacher.open(directory)


def _fingerprint(plans: Sequence[FoldPlan]) -> str:
    return hashlib.sha256("".join(plan.fingerprint for plan in plans).encode()).hexdigest()
