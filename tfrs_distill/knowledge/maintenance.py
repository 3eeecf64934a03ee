"""Inspect a cache, verify all its bytes, and remove files that it no longer needs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfrs_distill.errors import InputError
from tfrs_distill.files import locked
from tfrs_distill.knowledge.cached_teacher import MANIFEST
from tfrs_distill.knowledge.manifest import Manifest
from tfrs_distill.knowledge.shard import SUFFIX, checked_sha256

FOLD = r"fold-\d{5}-of-\d{5}"
FOLD_SHARD = re.compile(
    rf"{FOLD}-(teacher|shard-\d{{5}}-of-\d{{5}})-[0-9a-f]{{16}}{re.escape(SUFFIX)}"
)
ITEM_SHARD = re.compile(rf"items-[0-9a-f]{{16}}-[0-9a-f]{{16}}{re.escape(SUFFIX)}")
ITEM_MANIFEST = re.compile(r"items-[0-9a-f]{16}\.json")
HIDDEN = re.compile(r"\.(?P<name>.+?)\.(lock|[^.]+\.partial)")  # of a writer, maybe dead


def inspect(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """List the contents of a cache directory, without reading the arrays.

    Args:
        directory: folder of teacher caches, item vectors or both.

    Returns:
        `caches`, a dict for each manifest: `manifest`, `kind`, `fingerprint`, `shards`, `rows`,
        `bytes` and the manifest's facts; and `leftovers`, dicts of `file`, `bytes` and `why`.

    Raises:
        InputError: the directory is not a cache, or a manifest is damaged.
    """
    directory = _cache_directory(directory)
    caches = []
    for path in _manifests(directory):
        manifest = Manifest.read(path)
        sizes = [facts["bytes"] for facts in manifest.shards.values()]
        facts = {name: value for name, value in manifest.facts.items() if name != "folds"}
        if "folds" in manifest.facts:
            facts["folds"] = len(manifest.facts["folds"])
        caches.append(
            {
                "manifest": path.name,
                "kind": manifest.kind,
                "fingerprint": manifest.fingerprint,
                "shards": len(sizes),
                "rows": manifest.num_rows,
                "bytes": sum(sizes),
            }
            | facts
        )
    return {"caches": caches, "leftovers": [_facts(*found) for found in _leftovers(directory)]}


def verify(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Read every byte of a cache and compare checksums.

    Args:
        directory: folder of teacher caches, item vectors or both.

    Returns:
        `files` and `bytes` that were read, and `problems`: dicts of `file` and `problem`, one for
        each file that is missing, truncated, changed or of another cache, and for a manifest that
        is damaged or missing. Without problems the cache is valid.

    Raises:
        InputError: the directory is not a cache.
    """
    directory = _cache_directory(directory)
    problems, names, size = [], set(), 0
    manifests = _manifests(directory)
    for path in manifests:
        try:
            manifest = Manifest.read(path)
        except InputError as error:
            problems.append({"file": path.name, "problem": str(error)})
            continue
        for name, facts in manifest.shards.items():
            names.add(name)
            problem = manifest.problem_of(directory, name)
            if problem is None:
                size += facts["bytes"]
                problem = _problem_of_bytes(directory / name, facts["sha256"])
            if problem is not None:
                problems.append({"file": name, "problem": problem})
    for path, why in _leftovers(directory):
        if FOLD_SHARD.fullmatch(path.name) or ITEM_SHARD.fullmatch(path.name):
            names.add(path.name)
            size += path.stat().st_size
            problem = _problem_of_bytes(path, None)
            if problem is not None:
                problems.append({"file": path.name, "problem": f"{problem} ({why})"})
    if not manifests:
        problems.append({"file": MANIFEST, "problem": "missing: the cache was not finished"})
    return {"files": len(names), "bytes": size, "problems": problems}


def prune(directory: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Remove files that a complete cache no longer needs, and no other files.

    Superseded shards are removed, and partial files and locks of dead writers. Files of live
    writers are kept, and so are the complete shards of an incomplete cache: the next call that
    makes it continues with them.

    Args:
        directory: folder of teacher caches, item vectors or both.

    Returns:
        The removed files: dicts of `file`, `bytes` and `why`.

    Raises:
        InputError: the directory is not a cache, or a manifest is damaged.
    """
    directory = _cache_directory(directory)
    for path in _manifests(directory):
        Manifest.read(path)
    removed = []
    for path, why, facts in [(*found, _facts(*found)) for found in _leftovers(directory)]:
        hidden = HIDDEN.fullmatch(path.name)
        with locked(path.with_name(hidden["name"] if hidden else path.name), wait=False) as free:
            if not free or why == UNFINISHED:
                continue
            removed.append(facts)
            # A lock's file is removed on its release; a second removal could hit a new one.
            if why != "lock":
                path.unlink(missing_ok=True)
    return removed


SUPERSEDED, UNFINISHED = "superseded", "unfinished"


def _leftovers(directory: Path) -> Iterator[tuple[Path, str]]:
    """Yield the cache's files that are in no manifest, and the reason."""
    manifests = [m for path in _manifests(directory) if (m := Manifest.read_if_whole(path))]
    named = {name for manifest in manifests for name in manifest.shards}
    superseded = any(manifest.kind == "examples" for manifest in manifests)
    for path in sorted(directory.iterdir()):
        name = path.name
        if not path.is_file() or name in named:
            continue
        hidden = HIDDEN.fullmatch(name)
        if hidden and (_is_of_a_cache(hidden["name"]) or re.fullmatch(FOLD, hidden["name"])):
            yield path, "partial" if name.endswith(".partial") else "lock"
        elif FOLD_SHARD.fullmatch(name):
            yield path, SUPERSEDED if superseded else UNFINISHED
        elif ITEM_SHARD.fullmatch(name):
            yield path, UNFINISHED


def _is_of_a_cache(name: str) -> bool:
    patterns = (FOLD_SHARD, ITEM_SHARD, ITEM_MANIFEST)
    return name == MANIFEST or any(pattern.fullmatch(name) for pattern in patterns)


def _manifests(directory: Path) -> list[Path]:
    return sorted(
        path
        for path in directory.glob("*.json")
        if path.name == MANIFEST or ITEM_MANIFEST.fullmatch(path.name)
    )


def _cache_directory(directory: str | os.PathLike[str]) -> Path:
    """Return the directory as a path; raise an InputError if it has no files of a cache."""
    directory = Path(directory)
    if not directory.is_dir() or not any(_is_of_a_cache(path.name) for path in directory.iterdir()):
        raise InputError(
            f"{directory} is not a teacher cache: it has no {MANIFEST}, no items-*.json and no "
            "shards. Give the folder of the cache."
        )
    return directory


def _problem_of_bytes(path: Path, sha256: str | None) -> str | None:
    try:
        found = checked_sha256(path)
    except InputError:
        found = ""
    return None if found == (sha256 or found) and found else "changed: its sha256 differs"


def _facts(path: Path, why: str) -> dict[str, Any]:
    return {"file": path.name, "bytes": path.stat().st_size if path.exists() else 0, "why": why}
