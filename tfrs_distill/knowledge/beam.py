"""Labelling of windows by an Apache Beam pipeline: one element is one shard."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError, MissingExtraError
from tfrs_distill.knowledge.cached_teacher import CachedTeacher
from tfrs_distill.knowledge.fold import ShardFile
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
    apache_beam = None  # type: ignore[assignment]

_DoFn: Any = object if apache_beam is None else apache_beam.DoFn


def label_with_beam(
    make_teacher: Callable[[], Any],
    windows: Windows,
    directory: str | os.PathLike[str],
    *,
    top_k: int | None = None,
    temperatures: tuple[float, ...] = (1.0,),
    dtype: str = "float32",
    rows_per_shard: int = ROWS_PER_SHARD,
    pipeline_options: Any = None,
) -> CachedTeacher:
    """Label every training example on any Beam runner, with the files of `cache_teacher`.

    Args:
        make_teacher: `make_teacher() -> teacher`, picklable; called here once and once in each
            worker process. It must return the same teacher everywhere: load it, do not train it.
        windows: training windows.
        directory: a folder that every worker can write under this path: local, or mounted.
        top_k: as for `cache_teacher`.
        temperatures: as for `cache_teacher`.
        dtype: as for `cache_teacher`.
        rows_per_shard: as for `cache_teacher`; also the unit of work of a worker.
        pipeline_options: Beam's `PipelineOptions`: the runner, its workers, anything it takes.

    Raises:
        MissingExtraError: Apache Beam is not installed.
        InputError: as `cache_teacher`; errors on a worker are raised as the runner reports them.
    """
    if apache_beam is None:
        raise MissingExtraError("apache-beam", "beam", "Making a cache with Apache Beam")
    settings = LabelSettings(top_k, tuple(temperatures), dtype, rows_per_shard)
    to_label = WindowsToLabel(windows, settings)
    settings = to_label.settings
    teacher = make_teacher()
    fingerprint = fingerprint_of(teacher)
    (files,) = files_of(Path(directory).absolute(), to_label, fingerprint)
    begin([files])
    if not files.is_done():
        files.keep_teacher(to_label.knowledge(teacher, files.rows))
        known = windows.user_attributes
        elements = [
            (
                shard,
                {
                    "users": windows.users[shard.rows],
                    "history": windows.history[shard.rows],
                    "labels": windows.labels[shard.rows],
                    "user_attributes": None if known is None else known[shard.rows],
                },
                to_label.keys[shard.rows],
            )
            for shard in files.shard_files(fingerprint)
        ]
        none = replace(windows.subset(np.zeros(0, np.int64)), weights=None, user_attributes=None)
        with apache_beam.Pipeline(options=pipeline_options) as pipeline:
            (
                pipeline
                | "Shards" >> apache_beam.Create(elements, reshuffle=True)
                | "Write" >> apache_beam.ParDo(_Label(make_teacher, fingerprint, none, settings))
            )
    return finish([files])


class _Label(_DoFn):  # type: ignore[misc]
    """Write the shard of each element, with one teacher per process.

    The element contains the examples; `none` has the catalogue and settings, and no example.
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
        teacher = self.make_teacher()
        if fingerprint_of(teacher) != self.fingerprint:
            raise InputError(
                f"A worker made a {type(teacher).__name__} with another fingerprint than the "
                "caller's. The function must return the same teacher everywhere: load a trained "
                "one from disk."
            )
        self.labeller = Labeller(teacher, self.none.catalogue.num_items, self.settings)

    def process(self, element: tuple[ShardFile, dict[str, Any], np.ndarray]) -> Iterable[str]:
        """Write one shard if it does not exist yet; yield its name."""
        (path, fingerprint, rows), examples, keys = element
        windows = replace(self.none, **examples)
        arrays = partial(self.labeller.keyed, windows, rows, keys)
        for done in run_jobs([shard_job(path, fingerprint, arrays)]):
            yield done.path.name
