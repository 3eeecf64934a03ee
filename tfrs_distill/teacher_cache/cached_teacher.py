"""A teacher that answers from disk, and the two ways to make one."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.atomic import whole_file
from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError
from tfrs_distill.progress import Progress, SilentProgress
from tfrs_distill.teacher_cache.label import label_windows
from tfrs_distill.teacher_cache.shard import Shard
from tfrs_distill.teachers.teacher import Teacher
from tfrs_distill.towers.rows import row_mask

EMBEDDINGS, TOP_K = "embeddings", "top_k"


class CachedTeacher:
    """A `Teacher` that answers from shards, one a fold of users.

    Every shard brings its own teacher's item embeddings. Together they are one factorised teacher:
    a query embedding stands in its fold's block of a vector that is 0 elsewhere, a candidate's
    embedding is the blocks of all folds side by side, and their dot product is exactly the fold
    teacher's logit.

    Args:
        shards: the shards of one cache, in fold order.
        windows_fingerprint: the training windows the shards are about.
        temperatures: the temperatures at which tails were summed.
    """

    def __init__(
        self, shards: Sequence[Shard], windows_fingerprint: str, temperatures: tuple[float, ...]
    ) -> None:
        self.shards, self.windows_fingerprint = list(shards), windows_fingerprint
        self.temperatures = temperatures
        self.item_embeddings = np.concatenate(
            [shard.arrays["item_embeddings"] for shard in self.shards], axis=-1
        )

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> CachedTeacher:
        """Open a whole cache from disk.

        Raises:
            InputError: it was not finished, or a file of it is missing or truncated.
        """
        directory = Path(directory)
        try:
            facts = json.loads((directory / "cache.json").read_text())
            names = list(facts["shards"])
            temperatures = tuple(float(value) for value in facts["temperatures"])
            windows_fingerprint = str(facts["windows_fingerprint"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{directory} is not a finished teacher cache: its cache.json cannot be read "
                f"({type(error).__name__}). Make the cache again; whole shards are kept."
            ) from error
        shards = [Shard.open(directory / name) for name in names]
        return cls(shards, windows_fingerprint, temperatures)

    @property
    def num_folds(self) -> int:
        """How many teachers speak, each for the users it never saw; 1 without cross-fitting."""
        return len(self.shards)

    def join(self, windows: Windows, *, form: str = EMBEDDINGS) -> Windows:
        """The same windows with what the teacher said about each as further columns.

        Args:
            windows: the windows the cache was made for.
            form: `"embeddings"` gives query embeddings, whose logits are exact over any candidates;
                `"top_k"` gives the K best items' logits and the rest's log-sum-exp.

        Raises:
            InputError: the windows are others than those the cache was made for, or an example is
                not in it.
        """
        if windows.fingerprint() != self.windows_fingerprint:
            raise InputError(
                "The teacher cache was made for other training windows: the data, the split or "
                "`max_history` has changed. Make the cache again for these windows."
            )
        if form == EMBEDDINGS:
            names = [columns.TEACHER_QUERY_EMBEDDINGS]
        elif form == TOP_K:
            names = [columns.TEACHER_TOP_K_IDS, columns.TEACHER_TOP_K_LOGITS, columns.TEACHER_TAIL]
        else:
            raise ValueError(f"`form` must be 'embeddings' or 'top_k'. Received: form={form!r}.")
        fold = np.full(len(windows), -1, np.int32)
        for index, shard in enumerate(self.shards):
            fold[shard.arrays["rows"]] = index
        if (fold < 0).any():
            raise InputError(
                f"The teacher cache does not hold training example {int(np.argmin(fold))}. Delete "
                "the cache and make it again."
            )
        knowledge = {columns.TEACHER_FOLD: fold} | {
            name: self._gather(name, fold) for name in names
        }
        return replace(windows, knowledge=knowledge)

    def _gather(self, name: str, fold: np.ndarray) -> np.ndarray:
        first = self.shards[0].arrays[name]
        joined = np.empty((len(fold), *first.shape[1:]), first.dtype)
        for shard in self.shards:
            joined[shard.arrays["rows"]] = shard.arrays[name]
        return joined

    def encode_queries(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """Query embeddings, `[batch_size, max_history, num_folds * dim]`."""
        queries = tf.cast(batch[columns.TEACHER_QUERY_EMBEDDINGS], tf.float32)
        shape = tf.shape(queries)
        fold = tf.broadcast_to(batch[columns.TEACHER_FOLD][:, None], shape[:2])
        return self._into_blocks(queries, fold)

    def encode_candidates(self, items: tf.Tensor) -> tf.Tensor:
        """Candidate embeddings of item indices, `[num_candidates, num_folds * dim]`."""
        return tf.gather(tf.constant(self.item_embeddings, tf.float32), items)

    def logits(self, batch: dict[str, tf.Tensor], candidate_ids: tf.Tensor) -> tf.Tensor:
        """Scores at the labelled positions, float32 [num_rows, num_candidates].

        Raises:
            ValueError: the batch carries no knowledge.
        """
        if columns.TEACHER_QUERY_EMBEDDINGS not in batch:
            raise ValueError(
                "The batch carries no teacher knowledge: column "
                f"{columns.TEACHER_QUERY_EMBEDDINGS!r} is missing. Train on "
                "`cached_teacher.join(windows).batches(...)`."
            )
        labelled = row_mask(batch)
        queries = tf.boolean_mask(batch[columns.TEACHER_QUERY_EMBEDDINGS], labelled)
        fold = tf.broadcast_to(batch[columns.TEACHER_FOLD][:, None], tf.shape(labelled))
        blocks = self._into_blocks(tf.cast(queries, tf.float32), tf.boolean_mask(fold, labelled))
        return tf.matmul(blocks, self.encode_candidates(candidate_ids), transpose_b=True)

    def _into_blocks(self, queries: tf.Tensor, fold: tf.Tensor) -> tf.Tensor:
        if self.num_folds == 1:
            return queries
        blocks = tf.one_hot(fold, self.num_folds)[..., None] * queries[..., None, :]
        dim = queries.shape[-1]
        return tf.reshape(blocks, tf.concat([tf.shape(fold), [self.num_folds * dim]], axis=0))

    def fingerprint(self) -> str:
        """sha256 of the shards' fingerprints."""
        return hashlib.sha256("".join(s.fingerprint for s in self.shards).encode()).hexdigest()


def cache_teacher(
    teacher: Teacher,
    windows: Windows,
    directory: str | os.PathLike[str],
    *,
    top_k: int = 100,
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
    top_k: int = 100,
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
    windows_fingerprint = windows.fingerprint()
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
                shard = Shard.write(folder, digest, {"rows": rows} | arrays)
            shards.append(shard)
            advance(1)
    with whole_file(directory / "cache.json", "w") as file:
        facts = {
            "windows_fingerprint": windows_fingerprint,
            "temperatures": temperatures,
            "shards": [_shard_name(index, num_folds) for index in range(num_folds)],
        }
        json.dump(facts, file, indent=2)
    return CachedTeacher(shards, windows_fingerprint, temperatures)


def _shard_name(index: int, num_shards: int) -> str:
    return f"shard-{index:05d}-of-{num_shards:05d}"


def _open_if_current(folder: Path, fingerprint: str) -> Shard | None:
    """The shard if it is whole and made by the same teacher for the same examples."""
    if not folder.exists():
        return None
    shard = Shard.open(folder)
    return shard if shard.fingerprint == fingerprint else None
