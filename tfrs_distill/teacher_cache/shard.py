"""One shard of a teacher cache: a file that holds arrays and says what decided their content."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.atomic import whole_file
from tfrs_distill.errors import InputError

FORMAT = 4  # raised when a change makes older caches unreadable
SUFFIX = ".safetensors"
KEY = "tfrs_distill"  # of the header's metadata
TYPES = {
    np.dtype(name): code
    for name, code in {
        "<f4": "F32", "<f2": "F16", "<i8": "I64", "<u8": "U64", "<i4": "I32", "<u2": "U16",
        "i1": "I8", "u1": "U8",
    }.items()
}  # fmt: skip
PIECE = 1 << 20  # bytes read at a time


@dataclass(frozen=True)
class Shard:
    """Memory-mapped arrays of one file, in the safetensors layout that other tools read too.

    The header's metadata holds the format, the fingerprint, facts about the arrays and the sha256
    of their bytes, so a shard can be checked before any manifest names it. Equal arrays and facts
    give equal bytes.

    Args:
        path: the file.
        fingerprint: sha256 of everything that decided the arrays' content.
        content: sha256 of the arrays' bytes, as the header says it.
        facts: JSON about the arrays.
        arrays: by name.
    """

    path: Path
    fingerprint: str
    content: str
    facts: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @classmethod
    def write(
        cls,
        path: Path,
        fingerprint: str,
        arrays: dict[str, np.ndarray],
        facts: dict[str, Any] | None = None,
    ) -> Shard:
        """Write the arrays to `path`, whole or not at all, and open them."""
        inside, place, digest = {}, 0, hashlib.sha256()
        ordered = sorted(arrays.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
        plain = [(name, np.ascontiguousarray(array)) for name, array in ordered]
        for name, array in plain:
            inside[name] = {
                "dtype": TYPES[array.dtype],
                "shape": array.shape,
                "data_offsets": [place, place := place + array.nbytes],
            }
            digest.update(array.reshape(-1).view(np.uint8).data)
        about = {
            "format": FORMAT,
            "fingerprint": fingerprint,
            "facts": facts or {},
            "sha256": digest.hexdigest(),
        }
        metadata = {KEY: json.dumps(about, sort_keys=True)}
        header = json.dumps({"__metadata__": metadata} | inside).encode()
        header += b" " * (-len(header) % 8)
        with whole_file(path) as file:
            file.write(struct.pack("<Q", len(header)) + header)
            for _, array in plain:
                file.write(array.reshape(-1).view(np.uint8).data)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Shard:
        """Memory-map a shard after checking that it is one and has its length.

        Raises:
            InputError: the file is missing, truncated, or not of this format.
        """
        about, inside, start = _header(path)
        size, expected = path.stat().st_size, start + _bytes_of(inside)
        if size != expected:
            raise InputError(
                f"The teacher cache file {path} is {size} bytes long, but its header says "
                f"{expected}. {REMEDY}"
            )
        data = np.memmap(path, mode="r")[start:]
        arrays = {
            name: data[slice(*facts["data_offsets"])]
            .view(_dtype(facts["dtype"]))
            .reshape(facts["shape"])
            for name, facts in inside.items()
        }
        return cls(path, about["fingerprint"], about["sha256"], about["facts"], arrays)


REMEDY = "Delete the file and make the cache again; whole shards are kept."


def checked_sha256(path: Path) -> str:
    """Read every byte of a shard and return the file's sha256.

    Raises:
        InputError: it is not a shard, or its arrays are not what was written; names it.
    """
    about, inside, start = _header(path)
    whole, data, left = hashlib.sha256(), hashlib.sha256(), _bytes_of(inside)
    with path.open("rb") as file:
        whole.update(file.read(start))
        while piece := file.read(PIECE):
            whole.update(piece)
            data.update(piece)
            left -= len(piece)
    if left or data.hexdigest() != about["sha256"]:
        raise InputError(
            f"The teacher cache file {path} is not what was written: its sha256 differs. {REMEDY}"
        )
    return whole.hexdigest()


def _header(path: Path) -> tuple[dict[str, Any], dict[str, Any], int]:
    """What a shard says of itself, its arrays' places, and where their bytes begin."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > path.stat().st_size:
                raise ValueError("no header")
            header = json.loads(file.read(length))
        about = json.loads(header.pop("__metadata__")[KEY])
        format_ = about["format"]
        _, _, _ = about["fingerprint"], about["facts"], about["sha256"]
        _bytes_of(header)
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
    return about, header, 8 + length


def _bytes_of(inside: dict[str, Any]) -> int:
    """How many bytes the arrays take; raises what `_header` catches where places do not fit."""
    for facts in inside.values():
        begin, end = facts["data_offsets"]
        if end - begin != math.prod(facts["shape"]) * _dtype(facts["dtype"]).itemsize:
            raise ValueError("places and shapes differ")
    return max((facts["data_offsets"][1] for facts in inside.values()), default=0)


def _dtype(code: str) -> np.dtype:
    return {code: dtype for dtype, code in TYPES.items()}[code]
