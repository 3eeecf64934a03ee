"""Vectors of item texts on disk: each text is encoded only once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from tfrs_distill.columns import plain_texts
from tfrs_distill.data.example_rows import RowsOfParts
from tfrs_distill.errors import InputError
from tfrs_distill.knowledge.jobs import Job, run_jobs, shard_job
from tfrs_distill.knowledge.label_windows import fingerprint_of
from tfrs_distill.knowledge.manifest import Manifest, write_manifest
from tfrs_distill.knowledge.quantise import check_dtype, quantise
from tfrs_distill.knowledge.shard import FORMAT, SUFFIX, Shard, check_rows_per_shard
from tfrs_distill.progress import Progress, SilentProgress

KEYS, VECTORS, SCALES = "text_keys", "vectors", "scales"
TEXTS_PER_SHARD = 16384


class Encoder(Protocol):
    """An encoder of texts: a `TextEncoder`, or any object with these two methods."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return vectors of texts, float [num_texts, dim], in the order given."""

    def fingerprint(self) -> str:
        """Return a text that changes with everything that affects the vectors."""


class ItemVectors:
    """Vectors in the order of the given texts, read from disk when indexed.

    `vectors[rows]` and `numpy.asarray(vectors)` are float32, also if stored in another dtype.

    Args:
        stored: the vectors on disk, `[num_texts, dim]`.
        scales: for 8-bit vectors, float32 [num_texts].
    """

    dtype = np.dtype(np.float32)

    def __init__(self, stored: RowsOfParts, scales: RowsOfParts | None) -> None:
        self.stored, self.scales = stored, scales
        self.shape = stored.shape

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of these rows, float32 [num_rows, dim]."""
        values = self.stored[rows].astype(np.float32, copy=False)
        return values if self.scales is None else values * self.scales[rows][:, None]

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        values = self[np.arange(len(self))]
        return values if dtype is None else values.astype(dtype)  # type: ignore[call-overload]


def cache_item_vectors(
    encoder: Encoder,
    texts: Sequence[str],
    directory: str | os.PathLike[str],
    *,
    dtype: str = "float32",
    rows_per_shard: int = TEXTS_PER_SHARD,
    progress: Progress | None = None,
) -> ItemVectors:
    """Encode texts to vectors and store them; texts in the cache are not encoded again.

    Vectors are identified by their text, not by the item's index: new texts are written to new
    files, and old files do not change. Each encoder and each dtype has its own files in the
    directory. After an interruption complete files are kept; several processes may call this at the
    same time and share the work.

    Args:
        encoder: has `encode(texts) -> [num_texts, dim]` and `fingerprint() -> str`.
        texts: one per item, in catalogue order; equal texts are encoded once.
        directory: folder of the cache; it may also contain teacher caches.
        dtype: `"float32"`, `"float16"`, or `"int8"` with a scale per row.
        rows_per_shard: texts per file: the unit that is encoded at once and lost in an
            interruption.
        progress: shows a bar over texts.

    Raises:
        InputError: the encoder has no fingerprint or returns invalid vectors, there are no texts,
            or an existing file is damaged.

    Example:
    >>> class Lengths:
    ...     def encode(self, texts):
    ...         print("reads", texts)
    ...         return np.array([[len(text), 1] for text in texts])
    ...     def fingerprint(self): return "lengths"
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> vectors = cache_item_vectors(Lengths(), ["Heat", "Babe II"], folder)
    reads ['Heat', 'Babe II']
    >>> vectors = cache_item_vectors(Lengths(), ["Babe II", "Up", "Heat"], folder)
    reads ['Up']
    >>> np.asarray(vectors).tolist()
    [[7.0, 1.0], [2.0, 1.0], [4.0, 1.0]]
    """
    store = ItemStore(Path(directory), encoder, dtype)
    texts = plain_texts("texts", texts)
    keys = keys_of(texts)
    jobs = store.jobs(texts, keys, rows_per_shard)
    with (progress or SilentProgress()).bar("item texts", len(texts)) as advance:
        advance(len(texts) - sum(job.size for job in jobs))
        for job in run_jobs(jobs):
            advance(job.size)
    return store.finish(keys)


class ItemStore:
    """The files of one encoder's vectors in one dtype.

    Args:
        directory: folder of the cache.
        encoder: the encoder of the vectors.
        dtype: dtype of the vectors on disk.
    """

    def __init__(self, directory: Path, encoder: Encoder, dtype: str) -> None:
        check_dtype(dtype)
        fingerprint = fingerprint_of(encoder)
        self.directory, self.encoder, self.dtype = directory, encoder, dtype
        self.facts = {"encoder": fingerprint, "dtype": dtype}
        key = json.dumps([FORMAT, "items", fingerprint, dtype])
        self.fingerprint = hashlib.sha256(key.encode()).hexdigest()
        self.name = f"items-{self.fingerprint[:16]}"
        self.manifest_path = directory / f"{self.name}.json"

    def shards(self) -> Iterator[Shard]:
        """Yield its shards on disk, also those of an interrupted writer, opened but not read.

        Raises:
            InputError: a shard is truncated or of another store; the message names it.
        """
        manifest = Manifest.read_if_whole(self.manifest_path)
        for path in sorted(self.directory.glob(f"{self.name}-*{SUFFIX}")):
            if manifest is not None and path.name in manifest.shards:
                yield manifest.open_shard(self.directory, path.name)
                continue
            shard = Shard.open(path)
            if shard.fingerprint != self._fingerprint_of(_keys_in(shard)):
                raise InputError(
                    f"The teacher cache file {path} belongs to another encoder. Delete it and "
                    "make the cache again."
                )
            yield shard

    def jobs(self, texts: Sequence[str], keys: np.ndarray, rows_per_shard: int) -> list[Job]:
        """Return the jobs that encode texts that are in no shard, each once, in the given order."""
        check_rows_per_shard(rows_per_shard)
        if not len(texts):
            raise InputError("There are no texts to encode. Give one per item.")
        first = np.sort(np.unique(keys[:, 0], return_index=True)[1])
        held = [np.zeros((0, 2), np.uint64), *(_keys_in(shard) for shard in self.shards())]
        missing = first[_rows_of(keys[first], np.concatenate(held)) < 0]
        jobs = []
        for start in range(0, len(missing), rows_per_shard):
            rows = missing[start : start + rows_per_shard]
            fingerprint = self._fingerprint_of(keys[rows])
            path = self.directory / f"{self.name}-{fingerprint[:16]}{SUFFIX}"
            arrays = partial(self._encode, [texts[row] for row in rows], keys[rows])
            jobs.append(shard_job(path, fingerprint, arrays, size=len(rows)))
        return jobs

    def _encode(self, texts: list[str], keys: np.ndarray) -> dict[str, np.ndarray]:
        """Return the arrays of one shard."""
        vectors = np.asarray(self.encoder.encode(texts))
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise InputError(
                "An encoder must return one vector per text, [num_texts, dim]. Received: "
                f"{vectors.shape} for {len(texts)} texts."
            )
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            raise InputError(
                "The encoder returns NaN or infinite values, first for the text "
                f"{texts[int(np.argmin(finite))][:80]!r}. They were not written."
            )
        stored, scales = quantise(vectors, self.dtype)
        arrays = {KEYS: keys, VECTORS: stored}
        return arrays if scales is None else arrays | {SCALES: scales}

    def finish(self, keys: np.ndarray) -> ItemVectors:
        """Check every new shard, write the manifest and open the vectors of these texts."""
        shards = list(self.shards())
        widths = {int(shard.arrays[VECTORS].shape[1]) for shard in shards}
        if len(widths) > 1:
            raise InputError(
                f"The encoder returned vectors of several widths, {sorted(widths)}, under one "
                "fingerprint. Give each encoder a different fingerprint."
            )
        write_manifest(self.manifest_path, "items", self.fingerprint, self.facts, shards, KEYS)
        held = [_keys_in(shard) for shard in shards]
        part = np.repeat(np.arange(len(held), dtype=np.int32), [len(keys) for keys in held])
        place = np.concatenate([np.arange(len(keys), dtype=np.int32) for keys in held])
        row = _rows_of(keys, np.concatenate(held))
        if (row < 0).any():
            raise InputError(
                f"The teacher cache {self.directory} does not have the vector of text "
                f"{int(np.argmin(row))}: a file was removed while it was made, or another text has "
                "the same first 64 bits of its BLAKE2b digest. Make it again."
            )
        part, place = part[row], place[row]
        stored = RowsOfParts([shard.arrays[VECTORS] for shard in shards], part, place)
        if SCALES not in shards[0].arrays:
            return ItemVectors(stored, None)
        scales = RowsOfParts([shard.arrays[SCALES] for shard in shards], part, place)
        return ItemVectors(stored, scales)

    def _fingerprint_of(self, keys: np.ndarray) -> str:
        return hashlib.sha256(self.fingerprint.encode() + keys.tobytes()).hexdigest()


def keys_of(texts: Sequence[str]) -> np.ndarray:
    """Return the key of each text: 128 bits of its BLAKE2b digest, uint64 [num_texts, 2]."""
    digests = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts]
    return np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)


def _rows_of(keys: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Return the row of each key among the stored ones, -1 if missing: int [num_keys]."""
    if not len(held):
        return np.full(len(keys), -1)
    order, in_order = np.argsort(held[:, 0]), np.argsort(keys[:, 0])  # sorted needles are fast
    place = np.empty(len(keys), np.int64)
    place[in_order] = np.searchsorted(held[order, 0], keys[in_order, 0])
    row = order[np.minimum(place, len(held) - 1)]
    return np.where((held[row] == keys).all(axis=1), row, -1)


def _keys_in(shard: Shard) -> np.ndarray:
    return np.asarray(shard.arrays[KEYS])
