"""sha256 of files: what an asset, an artefact, a cache and a stage are told apart by."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


def file_sha256(path: str | os.PathLike[str]) -> str:
    """sha256 of one file, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def files_sha256(paths: Iterable[Path]) -> str:
    """sha256 of several files' names and contents, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name}\0{file_sha256(path)}\0".encode())
    return digest.hexdigest()


def content_sha256(facts: Any, arrays: Mapping[str, np.ndarray] | None = None) -> str:
    """sha256 of JSON values, and of arrays with their names, types and shapes, in any order.

    A file of ours that is read back holds it of all else that it says, so that a changed bit is
    seen and not used.

    Args:
        facts: anything that JSON can hold.
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
