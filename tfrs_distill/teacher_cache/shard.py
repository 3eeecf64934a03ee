"""One shard of a teacher cache: what one teacher said about some of the examples."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.atomic import whole_folder
from tfrs_distill.checksums import file_sha256
from tfrs_distill.errors import InputError

FORMAT = 2  # raised when a change makes older caches unreadable


@dataclass(frozen=True)
class Shard:
    """Arrays of one teacher, memory-mapped from a folder of `.npy` files and a `shard.json`.

    Args:
        fingerprint: sha256 of everything that decided the arrays' content.
        arrays: by name; `example_keys` uint64 [num_rows] says which examples the others' rows are
            about.
    """

    fingerprint: str
    arrays: dict[str, np.ndarray]

    @classmethod
    def write(cls, folder: Path, fingerprint: str, arrays: dict[str, np.ndarray]) -> Shard:
        """Write the arrays to `folder`, whole or not at all, and open them."""
        with whole_folder(folder) as partial:
            manifest: dict[str, Any] = {"format": FORMAT, "fingerprint": fingerprint, "files": {}}
            for name, array in arrays.items():
                path = partial / f"{name}.npy"
                np.save(path, array, allow_pickle=False)
                manifest["files"][path.name] = {
                    "bytes": path.stat().st_size,
                    "sha256": file_sha256(path),
                }
            (partial / "shard.json").write_text(json.dumps(manifest, indent=2) + "\n")
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Shard:
        """Memory-map a shard after checking that every file is there and has its size.

        Raises:
            InputError: a file is missing, truncated, or not of this format.
        """
        manifest = _manifest(folder)
        arrays = {}
        for name, facts in manifest["files"].items():
            path = folder / name
            there = path.stat().st_size if path.exists() else None
            if there != facts["bytes"]:
                came = "missing" if there is None else f"{there} bytes long"
                raise InputError(
                    f"The teacher cache file {path} is {came}, but its manifest says "
                    f"{facts['bytes']} bytes. Delete the folder {folder} and make it again."
                )
            arrays[path.stem] = np.load(path, mmap_mode="r", allow_pickle=False)
        return cls(manifest["fingerprint"], arrays)

    @staticmethod
    def verify(folder: Path) -> None:
        """Read every byte and compare checksums.

        Raises:
            InputError: a file differs from what was written; names it.
        """
        Shard.open(folder)
        for name, facts in _manifest(folder)["files"].items():
            if file_sha256(folder / name) != facts["sha256"]:
                raise InputError(
                    f"The teacher cache file {folder / name} is not what was written: its sha256 "
                    f"differs. Delete the folder {folder} and make it again."
                )


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "shard.json"
    try:
        manifest = json.loads(path.read_text())
        format_, _, _ = manifest["format"], manifest["fingerprint"], manifest["files"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{folder} is not a teacher cache shard, or is damaged: {path.name} cannot be read "
            f"({type(error).__name__}). Delete the folder and make it again."
        ) from error
    if format_ != FORMAT:
        raise InputError(
            f"The teacher cache {folder} has format {format_}, this version reads format {FORMAT}. "
            "Delete the folder and make it again."
        )
    return dict(manifest)
