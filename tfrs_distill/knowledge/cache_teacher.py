"""One trained teacher's outputs for every training window, on disk."""

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
    """Label every training example with a teacher once, and store its outputs on disk.

    If the directory has a cache of the same teacher and windows, it is opened. After an
    interruption, complete shards are kept and only the missing ones are computed. Several processes
    may call this for one directory at the same time: they share the shards. A teacher is
    over-confident on examples that it was trained on: see `cross_fit`.

    Args:
        teacher: a factorised `Teacher` (embeddings and top-K logits are stored), or an object with
            `logits(batch, candidate_ids)` and `fingerprint()` (only top-K logits are stored).
        windows: training windows.
        directory: folder of the cache.
        top_k: number of items whose logits are stored at each position; the rest is summed. By
            default 50, or all items but one in a smaller catalogue. Without embeddings the top-K is
            all that is stored, so store more (the recipe `movielens-100k`: 350 of 1,682).
        temperatures: temperatures at which the rest is summed.
        dtype: dtype of the embeddings: `"float32"`, `"float16"`, or `"int8"` with a scale per row.
        rows_per_shard: examples per file. A file is the unit that is written at once and lost in an
            interruption; every reader keeps all files open.
        progress: shows a bar over shards.

    Raises:
        InputError: the teacher has no fingerprint, or returns NaN or infinite values at a label; or
            an existing file is damaged.
    """
    settings = LabelSettings(top_k, tuple(temperatures), dtype, rows_per_shard)
    to_label = WindowsToLabel(windows, settings)
    files = files_of(directory, to_label, fingerprint_of(teacher))
    return make_cache(lambda _: teacher, files, to_label, progress)
