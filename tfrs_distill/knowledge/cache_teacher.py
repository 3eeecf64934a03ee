"""One trained teacher's knowledge of every training window, on disk."""

from __future__ import annotations

import os
from typing import Any

from tfrs_distill.data.windows import Windows
from tfrs_distill.knowledge.cached_teacher import CachedTeacher
from tfrs_distill.knowledge.label_windows import (
    ROWS_PER_SHARD,
    LabelSettings,
    WindowsToLabel,
    fingerprint_of,
)
from tfrs_distill.knowledge.make import files_of, make_cache
from tfrs_distill.progress import Progress


def cache_teacher(
    teacher: Any,
    windows: Windows,
    directory: str | os.PathLike[str],
    *,
    top_k: int | None = None,
    temperatures: tuple[float, ...] = (1.0,),
    dtype: str = "float32",
    rows_per_shard: int = ROWS_PER_SHARD,
    progress: Progress | None = None,
) -> CachedTeacher:
    """Label every training example with a teacher once, and keep its knowledge on disk.

    A cache that the same teacher made for the same windows is opened, not made again; after a kill
    the whole shards are kept and only the missing ones computed. Several processes may call this
    for one directory at once: they share the shards. A teacher's knowledge of examples it trained
    on is over-confident: see `cross_fit`.

    Args:
        teacher: a factorised `Teacher`, whose embeddings and top-K are kept; or anything with
            `logits(batch, candidate_ids)` and `fingerprint()`, whose top-K alone is.
        windows: training windows.
        directory: folder of the cache.
        top_k: items whose logits are kept at each position; the rest is summed. By default 50, or
            all items but one of fewer: enough next to embeddings. Of a teacher without embeddings
            nothing else is kept, so keep more (the recipe `movielens-100k` keeps 350 of 1,682).
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
    to_label = WindowsToLabel(windows, settings)
    files = files_of(directory, to_label, fingerprint_of(teacher))
    return make_cache(lambda _: teacher, files, to_label, progress)
