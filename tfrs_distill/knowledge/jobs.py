"""Jobs that are done once, atomically, and shared by several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfrs_distill.files import locked
from tfrs_distill.knowledge.shard import Shard


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Args:
        path: the path of the job's lock; if the job writes one file, that file.
        is_done: returns whether another process, or an earlier run, has done the job.
        do: does the job, atomically.
        size: number of steps in a progress bar.
    """

    path: Path
    is_done: Callable[[], bool]
    do: Callable[[], object]
    size: int = 1


def run_jobs(jobs: Iterable[Job]) -> Iterator[Job]:
    """Do every job that is not done, shared with other processes; yields each when done.

    A job that another process is working on is checked again at the end: it is done by then, or, if
    that process died, it is done here.
    """
    others = []
    for job in jobs:
        is_done_here = True
        if not job.is_done():
            with locked(job.path, wait=False) as is_done_here:
                if is_done_here and not job.is_done():
                    job.do()
        if is_done_here:
            yield job
        else:
            others.append(job)
    for job in others:
        with locked(job.path):
            if not job.is_done():
                job.do()
        yield job


def shard_job(
    path: Path, fingerprint: str, arrays: Callable[[], dict[str, np.ndarray]], size: int = 1
) -> Job:
    """Return the job that writes one shard.

    `is_done` raises an InputError if the file exists but is damaged.
    """
    return Job(
        path,
        lambda: path.exists() and Shard.open(path).fingerprint == fingerprint,
        lambda: Shard.write(path, fingerprint, arrays()),
        size,
    )
