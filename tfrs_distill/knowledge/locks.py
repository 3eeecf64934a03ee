"""Who is writing which file: locks that the operating system takes back from a dead process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of `path` while the block runs; yields whether it is held.

    Advisory, on a hidden file beside `path` that its holder removes as the last thing it does. That
    is safe: where another locked the removed file meanwhile, filelock lets go of it and tries
    again.

    Args:
        path: the file about to be written; its folder is made if it does not exist.
        wait: until another process lets go or dies; else yield False at once where one holds it.
    """
    beside = lock_of(path)
    beside.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(beside)
    with contextlib.suppress(Timeout):
        lock.acquire(timeout=-1 if wait else 0, poll_interval=0.02)
    try:
        yield lock.is_locked
    finally:
        if lock.is_locked:
            with contextlib.suppress(OSError):  # Windows does not remove an open file; `prune` does
                beside.unlink()
            lock.release()


def lock_of(path: Path) -> Path:
    """The hidden file beside `path` that stands for its lock."""
    return path.with_name(f".{path.name}.lock")
