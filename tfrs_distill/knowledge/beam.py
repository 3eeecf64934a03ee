"""The same caches as Apache Beam pipelines: one element is one shard."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError, MissingExtraError
from tfrs_distill.knowledge.cached_teacher import CachedTeacher
from tfrs_distill.knowledge.fold import ShardFile
from tfrs_distill.knowledge.item_vectors import (
    TEXTS_PER_SHARD,
    Encoder,
    ItemStore,
    ItemVectors,
    TextsToEncode,
    keys_of,
)
from tfrs_distill.knowledge.jobs import run_jobs, shard_job
from tfrs_distill.knowledge.label_windows import (
    ROWS_PER_SHARD,
    Labeller,
    LabelSettings,
    WindowsToLabel,
    fingerprint_of,
)
from tfrs_distill.knowledge.make import begin, files_of, finish

try:
    import apache_beam
except ImportError:
    apache_beam = None

_DoFn: Any = object if apache_beam is None else apache_beam.DoFn


def label_with_beam(
    make_teacher: Callable[[], Any],
    windows: Windows,
    directory: str | os.PathLike[str],
    *,
    top_k: int = 50,
    temperatures: tuple[float, ...] = (1.0,),
    dtype: str = "float32",
    rows_per_shard: int = ROWS_PER_SHARD,
    pipeline_options: Any = None,
) -> CachedTeacher:
    """What `cache_teacher` does, on any Beam runner; the files are the same byte for byte.

    Args:
        make_teacher: `make_teacher() -> teacher`, picklable; called here once and once by each
            process of the workers. It must give the same teacher everywhere: load it, do not train
            it.
        windows: training windows.
        directory: a folder that every worker can write under this path: local, or mounted.
        top_k: as for `cache_teacher`.
        temperatures: as for `cache_teacher`.
        dtype: as for `cache_teacher`.
        rows_per_shard: as for `cache_teacher`; the work that goes to a worker at once.
        pipeline_options: Beam's `PipelineOptions`: the runner, its workers, anything it takes.

    Raises:
        MissingExtraError: Apache Beam is not installed.
        InputError: as `cache_teacher`; on a worker, whatever the runner makes of it.
    """
    _require_beam()
    settings = LabelSettings(top_k, tuple(temperatures), dtype, rows_per_shard)
    to_label = WindowsToLabel(windows, settings)
    teacher = make_teacher()
    fingerprint = fingerprint_of(teacher)
    (files,) = files_of(Path(directory).absolute(), to_label, fingerprint)
    begin([files])
    if not files.is_done():
        files.keep_teacher(to_label.knowledge(teacher, files.rows))
        elements = [
            (
                shard,
                windows.users[shard.rows],
                windows.history[shard.rows],
                windows.labels[shard.rows],
                to_label.keys[shard.rows],
            )
            for shard in files.shard_files(fingerprint)
        ]
        none = windows.subset(np.zeros(0, np.int64))
        _run(elements, _Label(make_teacher, fingerprint, none, settings), pipeline_options)
    return finish([files])


def encode_with_beam(
    make_encoder: Callable[[], Encoder],
    texts: Sequence[str],
    directory: str | os.PathLike[str],
    *,
    dtype: str = "float32",
    rows_per_shard: int = TEXTS_PER_SHARD,
    pipeline_options: Any = None,
) -> ItemVectors:
    """What `cache_item_vectors` does, on any Beam runner; the files are the same byte for byte.

    Args:
        make_encoder: `make_encoder() -> encoder`, picklable; called here once and once by each
            process of the workers.
        texts: one an item, in catalogue order.
        directory: a folder that every worker can write under this path: local, or mounted.
        dtype: as for `cache_item_vectors`.
        rows_per_shard: as for `cache_item_vectors`; the work that goes to a worker at once.
        pipeline_options: Beam's `PipelineOptions`: the runner, its workers, anything it takes.

    Raises:
        MissingExtraError: Apache Beam is not installed.
        InputError: as `cache_item_vectors`; on a worker, whatever the runner makes of it.
    """
    _require_beam()
    fingerprint = fingerprint_of(make_encoder())
    store, keys = ItemStore(Path(directory).absolute(), fingerprint, dtype), keys_of(texts)
    missing = store.missing(texts, keys, rows_per_shard)
    if missing:
        _run(missing, _Encode(make_encoder, fingerprint, dtype), pipeline_options)
    return store.finish(keys)


class _Label(_DoFn):  # type: ignore[misc]
    """Writes the shard of each element, with one teacher a process.

    The examples come with the element; `none` of them, what all windows share.
    """

    def __init__(
        self,
        make_teacher: Callable[[], Any],
        fingerprint: str,
        none: Windows,
        settings: LabelSettings,
    ) -> None:
        self.make_teacher, self.fingerprint = make_teacher, fingerprint
        self.none, self.settings = none, settings

    def setup(self) -> None:
        """Make the worker's teacher."""
        teacher = _same(self.make_teacher(), self.fingerprint)
        self.labeller = Labeller(teacher, self.none.catalogue.num_items, self.settings)

    def process(
        self, element: tuple[ShardFile, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    ) -> Iterable[str]:
        """Write one shard, unless it is there; gives its name."""
        (path, fingerprint, rows), users, history, labels, keys = element
        windows = replace(self.none, users=users, history=history, labels=labels)
        arrays = partial(self.labeller.keyed, windows, rows, keys)
        for done in run_jobs([shard_job(path, fingerprint, arrays)]):
            yield done.path.name


class _Encode(_DoFn):  # type: ignore[misc]
    """Writes the shard of each element, with one encoder a process."""

    def __init__(self, make_encoder: Callable[[], Encoder], fingerprint: str, dtype: str) -> None:
        self.make_encoder, self.fingerprint, self.dtype = make_encoder, fingerprint, dtype

    def setup(self) -> None:
        """Make the worker's encoder."""
        self.encoder = _same(self.make_encoder(), self.fingerprint)

    def process(self, element: TextsToEncode) -> Iterable[str]:
        """Write one shard, unless it is there; gives its name."""
        for done in run_jobs([element.job(self.encoder, self.dtype)]):
            yield done.path.name


def _same(made: Any, fingerprint: str) -> Any:
    """Raises an InputError where a worker made another teacher or encoder than the caller."""
    if fingerprint_of(made) != fingerprint:
        raise InputError(
            f"A worker made a {type(made).__name__} of another fingerprint than the caller did. "
            "The function must give the same everywhere: load a trained one from disk."
        )
    return made


def _run(elements: list[Any], work: Any, pipeline_options: Any) -> None:
    with apache_beam.Pipeline(options=pipeline_options) as pipeline:
        (
            pipeline
            | "Shards" >> apache_beam.Create(elements, reshuffle=True)
            | "Write" >> apache_beam.ParDo(work)
        )


def _require_beam() -> None:
    if apache_beam is None:
        raise MissingExtraError("apache-beam", "beam", "Making a cache with Apache Beam")
