"""Atomic writes of files and folders, their locks, and the sha256 of their content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

COMPRESSED = (".gz", ".bz2", ".zst", ".lz4")  # endings that follow the ending of the file type


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file for writing that is moved to `path` only if the block succeeds.

    An exception (a full disk, an interrupt) leaves `path` as it was and removes the partial file.
    A killed process can leave a hidden `.partial` file behind, never a half-written `path`.

    Args:
        path: the file to write; its folder is made if it does not exist.
        mode: "wb" or "w" (text is UTF-8).

    Example:
    >>> import tempfile, pathlib
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
    >>> with whole_file(target, "w") as file:
    ...     _ = file.write("whole")
    >>> target.read_text()
    'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    encoding = None if "b" in mode else "utf-8"
    try:
        with os.fdopen(handle, mode, encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o666 & ~_umask())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
        raise


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write a value as a JSON file, atomically; NumPy scalars become numbers."""
    with whole_file(path, "w") as file:
        json.dump(value, file, indent=2, default=lambda scalar: scalar.item())
        file.write("\n")


def save_arrays(file: IO[bytes], arrays: Mapping[str, Any]) -> None:
    """Write arrays to an open `.npz` file."""
    np.savez(file, **arrays)


@contextlib.contextmanager
def whole_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder that is moved to `path` only if the block succeeds.

    An existing folder at `path` is replaced; until then it is unchanged.

    Args:
        path: the folder to write; its parent is made if it does not exist.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial"))
    try:
        yield partial
        os.chmod(partial, 0o777 & ~_umask())
        if path.exists():
            old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".old"))
            os.replace(path, old)
            try:
                os.replace(partial, path)
            except BaseException:
                os.replace(old, path)
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of `path` while the block runs; yield whether it is held.

    The lock is advisory, on a hidden file next to `path`, which its holder removes at the end. This
    is safe: if another process has locked the removed file in the meantime, filelock releases it
    and tries again. The operating system releases the lock of a dead process.

    Args:
        path: the file to be written; its folder is made if it does not exist.
        wait: whether to wait until another process releases the lock or dies; if not, yield False
            at once if another process holds it.
    """
    from filelock import FileLock, Timeout

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
    """The hidden lock file next to `path`."""
    return path.with_name(f".{path.name}.lock")


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Return the sha256 of one file, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def files_sha256(paths: Iterable[Path]) -> str:
    """Return the sha256 of several files' names and contents, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name}\0{file_sha256(path)}\0".encode())
    return digest.hexdigest()


def content_sha256(facts: Any, arrays: Mapping[str, np.ndarray] | None = None) -> str:
    """Return the sha256 of JSON values, and of arrays with names, types and shapes, in any order.

    A file that stores this checksum of its content can detect a changed bit when it is read.

    Args:
        facts: any JSON values.
        arrays: by name.

    Example:
    >>> content_sha256({"a": 1, "b": 2}) == content_sha256({"b": 2, "a": 1})
    True
    >>> content_sha256({}, {"a": np.zeros(2)}) == content_sha256({}, {"a": np.zeros((2, 1))})
    False
    """
    as_read = json.loads(json.dumps(facts))  # where all keys are strings
    digest = hashlib.sha256(json.dumps(as_read, sort_keys=True).encode())
    for name, array in sorted((arrays or {}).items()):
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode() + array.tobytes())
    return digest.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def name_without_endings(path: str | os.PathLike[str]) -> str:
    """Return the name of a data set in a file: the file's name without endings.

    Example:
    >>> name_without_endings("data/orders.2024.csv.gz")
    'orders.2024'
    """
    name = Path(path).name
    ending = Path(name).suffix
    return Path(name.removesuffix(ending) if ending in COMPRESSED else name).stem
