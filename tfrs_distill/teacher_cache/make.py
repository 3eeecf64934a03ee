"""The two ways to make a cache: hear one teacher, or one a fold of users that it never saw."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tfrs_distill.atomic import whole_file
from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError
from tfrs_distill.progress import Progress, SilentProgress
from tfrs_distill.teacher_cache.cached_teacher import CachedTeacher
from tfrs_distill.teacher_cache.label import label_windows
from tfrs_distill.teacher_cache.shard import Shard
from tfrs_distill.teachers.teacher import Teacher


def cache_teacher(
    teacher: Teacher,
    windows: Windows,
    directory: str | os.PathLike[str],
    *,
    top_k: int = 50,
    temperatures: tuple[float, ...] = (1.0,),
) -> CachedTeacher:
    """Hear a teacher once about every training example, and keep what it said on disk.

    A cache that the same teacher made for the same windows is opened, not made again. What a
    teacher says about examples it trained on is over-confident: see `cross_fit_teacher`.

    Args:
        teacher: any factorised `Teacher`.
        windows: training windows.
        directory: folder of the cache.
        top_k: items whose logits are kept an example; the rest is summed.
        temperatures: temperatures at which the rest is summed.
    """

    def trained(_: Windows, __: int) -> Teacher:
        return teacher

    everybody = np.zeros(len(windows), np.int32)
    return _cache(
        trained,
        teacher.fingerprint(),
        windows,
        everybody,
        Path(directory),
        top_k,
        temperatures,
        SilentProgress(),
    )


def cross_fit_teacher(
    train_teacher: Callable[[Windows, int], Teacher],
    windows: Windows,
    directory: str | os.PathLike[str],
    *,
    fingerprint: str,
    num_folds: int = 4,
    top_k: int = 50,
    temperatures: tuple[float, ...] = (1.0,),
    seed: int = 0,
    progress: Progress | None = None,
) -> CachedTeacher:
    """Hear about every training example from a teacher that never trained on its user.

    Users are dealt into `num_folds` folds; for each, a teacher is trained on the other folds'
    windows and asked about this fold's. A fold that is already on disk is not trained again, so an
    interrupted call resumes.

    Reference: [Dao et al., 2021](https://arxiv.org/abs/2104.09732).

    Args:
        train_teacher: `train_teacher(windows, fold) -> Teacher`, trained on just these windows.
        windows: training windows.
        directory: folder of the cache.
        fingerprint: text that names everything that decides how `train_teacher` trains (its
            configuration, its data's version); a fold made under another one is made again.
        num_folds: at least 2 and at most the number of users.
        top_k: items whose logits are kept an example; the rest is summed.
        temperatures: temperatures at which the rest is summed.
        seed: of dealing users into folds.
        progress: shows a bar over folds.

    Raises:
        InputError: `num_folds` is out of range.
    """
    users = np.unique(windows.users)
    if not 2 <= num_folds <= len(users):
        raise InputError(
            f"`num_folds` must be within 2 and the number of users, {len(users)}. Received: "
            f"num_folds={num_folds!r}."
        )
    fold_of_user = np.random.default_rng(seed).permutation(np.arange(len(users)) % num_folds)
    fold = fold_of_user[np.searchsorted(users, windows.users)].astype(np.int32)
    return _cache(
        train_teacher,
        fingerprint,
        windows,
        fold,
        Path(directory),
        top_k,
        temperatures,
        progress or SilentProgress(),
    )


def _cache(
    train_teacher: Callable[[Windows, int], Teacher],
    fingerprint: str,
    windows: Windows,
    fold: np.ndarray,
    directory: Path,
    top_k: int,
    temperatures: tuple[float, ...],
    progress: Progress,
) -> CachedTeacher:
    """Open or make one shard a fold."""
    if not 1 <= top_k < windows.catalogue.num_items:
        raise InputError(
            f"`top_k` must be within 1 and {windows.catalogue.num_items - 1}, one less than the "
            f"number of items. Received: top_k={top_k!r}."
        )
    if not temperatures or not all(0 < value < math.inf for value in temperatures):
        raise InputError(
            "`temperatures` must hold at least one number, each finite and greater than 0. "
            f"Received: temperatures={temperatures!r}."
        )
    num_folds = int(fold.max()) + 1
    windows_fingerprint, keys = windows.fingerprint(), windows.example_keys()
    shards = []
    with progress.bar("folds", num_folds) as advance:
        for index in range(num_folds):
            rows = np.flatnonzero(fold == index)
            key = json.dumps([fingerprint, windows_fingerprint, index, top_k, temperatures])
            digest = hashlib.sha256(key.encode() + rows.tobytes()).hexdigest()
            folder = directory / _shard_name(index, num_folds)
            shard = _open_if_current(folder, digest)
            if shard is None:
                (directory / "cache.json").unlink(missing_ok=True)  # old and new shards do not mix
                others = windows.subset(fold != index) if num_folds > 1 else windows
                teacher = train_teacher(others, index)
                arrays = label_windows(teacher, windows.subset(rows), top_k, temperatures)
                shard = Shard.write(folder, digest, {"example_keys": keys[rows]} | arrays)
            shards.append(shard)
            advance(1)
    with whole_file(directory / "cache.json", "w") as file:
        facts = {
            "temperatures": temperatures,
            "shards": [_shard_name(index, num_folds) for index in range(num_folds)],
        }
        json.dump(facts, file, indent=2)
    return CachedTeacher(shards, temperatures)


def _shard_name(index: int, num_shards: int) -> str:
    return f"shard-{index:05d}-of-{num_shards:05d}"


def _open_if_current(folder: Path, fingerprint: str) -> Shard | None:
    """The shard if it is whole and made by the same teacher for the same examples."""
    if not folder.exists():
        return None
    shard = Shard.open(folder)
    return shard if shard.fingerprint == fingerprint else None
