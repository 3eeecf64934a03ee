"""Who is writing which file: locks that the operating system takes back from a dead process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

try:
    import fcntl
except ImportError:  # Windows: files are still written whole, but work is not shared
    fcntl = None  # type: ignore[assignment]

Task = TypeVar("Task")


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of `path` while the block runs; yields whether it is held.

    Advisory and by `flock` on a hidden file beside `path`, which the last holder removes. Where
    there is no `fcntl`, nothing is locked and the block runs.

    Args:
        path: the file about to be written; its folder is made if it does not exist.
        wait: until another process lets go or dies; else yield False at once where one holds it.
    """
    if fcntl is None:
        yield True
        return
    beside = lock_of(path)
    beside.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(beside, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(handle)
            yield False
            return
        except BaseException:
            os.close(handle)
            raise
        if _is_at(handle, beside):
            break
        os.close(handle)  # the holder before us removed the file that we waited for
    try:
        yield True
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        os.close(handle)


def lock_of(path: Path) -> Path:
    """The hidden file beside `path` that stands for its lock."""
    return path.with_name(f".{path.name}.lock")


def each_once(
    tasks: Iterable[Task],
    path_of: Callable[[Task], Path],
    is_done: Callable[[Task], bool],
    do: Callable[[Task], None],
) -> Iterator[Task]:
    """Do every task that is not done, sharing them with other processes; yields each when done.

    A task that another process works on is left to it and looked at again at the end: done by
    then, or, where that process died, done here.

    Args:
        tasks: in the order to try them.
        path_of: `path_of(task)`, the path whose lock stands for the task.
        is_done: whether another process, or an earlier run, has done it.
        do: does it, whole or not at all.
    """
    others = []
    for task in tasks:
        mine = True
        if not is_done(task):
            with locked(path_of(task), wait=False) as mine:
                if mine and not is_done(task):
                    do(task)
        if mine:
            yield task
        else:
            others.append(task)
    for task in others:
        with locked(path_of(task)):
            if not is_done(task):
                do(task)
        yield task


def _is_at(handle: int, path: Path) -> bool:
    """Whether an open file is the one that stands at `path` now."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
