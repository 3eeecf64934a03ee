"""The numbered folders of `saved_models/<name>`, as TensorFlow Serving wants them."""

from __future__ import annotations

import os
from pathlib import Path


def next_version(folder: str | os.PathLike[str]) -> Path:
    """The version folder after the newest in `saved_models/<name>`: 1 where there is none.

    Example:
    >>> next_version("no/such/folder").as_posix()
    'no/such/folder/1'
    """
    return Path(folder) / str(max(versions_in(Path(folder)), default=0) + 1)


def versions_in(folder: Path) -> list[int]:
    """The versions in a folder, oldest first; none where there is no such folder."""
    if not folder.is_dir():
        return []
    numbers = (entry.name for entry in folder.iterdir() if entry.is_dir())
    return sorted(int(name) for name in numbers if name.isascii() and name.isdigit())
