"""One shard of a teacher cache: a file of arrays, with the fingerprint of its inputs."""

from __future__ import annotations

import hashlib
import json
import struct
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.errors import InputError
from tfrs_distill.files import file_sha256, whole_file

FORMAT = 6  # raised when a change makes older caches unreadable
SUFFIX = ".safetensors"
KEY, HEADER_SHA256 = "tfrs_distill", "sha256"  # of the header's metadata
NO_SHA256 = "0" * 64  # placeholder while the header's sha256 is computed
TYPES = {
    np.dtype(name): code
    for name, code in {
        "<f4": "F32", "<f2": "F16", "<i8": "I64", "<u8": "U64", "<i4": "I32", "<u2": "U16",
        "i1": "I8", "u1": "U8",
    }.items()
}  # fmt: skip


class ShardArray:
    """One array of a shard, memory-mapped; its bytes are checked once, at the first read.

    `numpy.asarray(array)` returns read-only values, and an index returns copies of rows; `dtype`,
    `shape` and `len` read nothing.

    Args:
        path: the shard's file.
        name: name of the array.
        mapped: the memory-mapped array.
        sha256: checksum of its bytes, from the header.
    """

    def __init__(self, path: Path, name: str, mapped: np.ndarray, sha256: str) -> None:
        self.path, self.name = path, name
        self.dtype, self.shape = mapped.dtype, mapped.shape
        self._mapped, self._sha256 = np.asarray(mapped), sha256
        self._checked, self._lock = False, threading.Lock()

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Return copies of the rows at these indices."""
        return self.values()[rows]

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        values = self.values()
        return values if dtype is None else values.astype(dtype)  # type: ignore[call-overload]

    def values(self) -> np.ndarray:
        """Return the array, read-only; after the first call only the used parts are read.

        Raises:
            InputError: its bytes have changed.
        """
        with self._lock:  # concurrent threads read it once
            if not self._checked:
                if _sha256_of(self._mapped) != self._sha256:
                    raise InputError(
                        f"The teacher cache file {self.path} has changed: its "
                        f"sha256 differs (array {self.name!r}). {REMEDY}"
                    )
                self._checked = True
        return self._mapped


@dataclass(frozen=True)
class Shard:
    """Memory-mapped arrays of one file, in the safetensors format, which other tools can read.

    The header's metadata has the format, the fingerprint, facts about the arrays, the sha256 of
    each array's bytes, and the sha256 of the header itself: one checksum for the whole file. The
    header is checked when a shard is opened, an array when it is first read. Equal arrays and facts
    have equal bytes.

    Args:
        path: the file.
        fingerprint: sha256 of everything that affects the arrays' content.
        content: sha256 of the header, and so of the whole file.
        facts: JSON about the arrays.
        arrays: by name.
    """

    path: Path
    fingerprint: str
    content: str
    facts: dict[str, Any]
    arrays: dict[str, ShardArray]

    @classmethod
    def write(
        cls,
        path: Path,
        fingerprint: str,
        arrays: dict[str, np.ndarray],
        facts: dict[str, Any] | None = None,
    ) -> Shard:
        """Write the arrays to `path` atomically, and open them."""
        inside, sha256, place = {}, {}, 0
        ordered = sorted(arrays.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
        plain = [(name, np.ascontiguousarray(array)) for name, array in ordered]
        for name, array in plain:
            inside[name] = {
                "dtype": TYPES[array.dtype],
                "shape": array.shape,
                "data_offsets": [place, place := place + array.nbytes],
            }
            sha256[name] = _sha256_of(array)
        about = {
            "format": FORMAT,
            "fingerprint": fingerprint,
            "facts": facts or {},
            "arrays": sha256,
        }
        metadata = {
            HEADER_SHA256: NO_SHA256,
            KEY: json.dumps(about, sort_keys=True),
        }  # the sha256 is first
        header = json.dumps({"__metadata__": metadata} | inside).encode()
        header += b" " * (-len(header) % 8)
        header = struct.pack("<Q", len(header)) + header
        header_sha256 = hashlib.sha256(header).hexdigest()
        with whole_file(path) as file:
            file.write(header.replace(NO_SHA256.encode(), header_sha256.encode(), 1))
            for _, array in plain:
                file.write(array.reshape(-1).view(np.uint8).data)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Shard:
        """Memory-map a shard after checking its header and its length.

        Raises:
            InputError: the file is missing, truncated, of another format, or its header has
                changed.
        """
        content, about, inside, start = _header(path)
        ends = [facts["data_offsets"][1] for facts in inside.values()]
        size, expected = path.stat().st_size, start + max(ends, default=0)
        if size != expected:
            raise InputError(
                f"The teacher cache file {path} is {size} bytes long, but its header says "
                f"{expected}. {REMEDY}"
            )
        data = np.memmap(path, mode="r")[start:]
        types = {code: dtype for dtype, code in TYPES.items()}
        arrays = {
            name: ShardArray(
                path,
                name,
                data[slice(*facts["data_offsets"])]
                .view(types[facts["dtype"]])
                .reshape(facts["shape"]),
                about["arrays"][name],
            )
            for name, facts in inside.items()
        }
        return cls(path, about["fingerprint"], content, about["facts"], arrays)


REMEDY = "Delete the file and make the cache again; complete shards are kept."


def checked_sha256(path: Path) -> str:
    """Read every byte of a shard and return the file's sha256.

    Raises:
        InputError: it is not a shard, or has changed; the message names it.
    """
    for array in Shard.open(path).arrays.values():
        array.values()
    return file_sha256(path)


def check_rows_per_shard(rows_per_shard: int) -> None:
    """Raise a ValueError if the number is below 1."""
    if rows_per_shard < 1:
        raise ValueError(f"`rows_per_shard` must be at least 1. Received: {rows_per_shard!r}.")


def _header(path: Path) -> tuple[str, dict[str, Any], dict[str, Any], int]:
    """Return a shard's checksum, metadata, the locations of its arrays, and their start."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
            (length,) = struct.unpack("<Q", start)
            if length > path.stat().st_size:
                raise ValueError("no header")
            start += file.read(length)
        header = json.loads(start[8:])
        metadata = header.pop("__metadata__")
        about = json.loads(metadata[KEY])
        format_ = about["format"]
        header_sha256 = metadata[HEADER_SHA256] if format_ == FORMAT else ""
        without_sha256 = start.replace(header_sha256.encode(), NO_SHA256.encode(), 1)
    except FileNotFoundError as error:
        raise InputError(f"The teacher cache file {path} is missing. {REMEDY}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise InputError(
            f"{path} is not a teacher cache shard, or is damaged: its header cannot be read "
            f"({type(error).__name__}). {REMEDY}"
        ) from error
    if format_ != FORMAT:
        raise InputError(
            f"The teacher cache file {path} has format {format_}, this version reads format "
            f"{FORMAT}. {REMEDY}"
        )
    if hashlib.sha256(without_sha256).hexdigest() != header_sha256:
        raise InputError(
            f"The teacher cache file {path} has changed: its sha256 differs (header). {REMEDY}"
        )
    return header_sha256, about, header, 8 + length


def _sha256_of(array: np.ndarray) -> str:
    return hashlib.sha256(array.reshape(-1).view(np.uint8).data).hexdigest()
