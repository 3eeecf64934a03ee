"""The manifest of a cache: its shards, with size and sha256."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tfrs_distill.errors import InputError
from tfrs_distill.files import content_sha256, locked, whole_file
from tfrs_distill.knowledge.shard import FORMAT, Shard, checked_sha256


@dataclass(frozen=True)
class Manifest:
    """Written last: a cache is complete when its manifest exists.

    Args:
        kind: `"examples"` for outputs for windows, `"items"` for item vectors.
        fingerprint: sha256 of everything that affects the content.
        facts: JSON about the cache.
        shards: by file name, `bytes` and `sha256` of the file, `fingerprint` and `content` of the
            `Shard`.
        num_rows: number of examples or texts.
        format: version of the file format.
    """

    kind: str
    fingerprint: str
    facts: dict[str, Any]
    shards: dict[str, dict[str, Any]]
    num_rows: int
    format: int = FORMAT

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a manifest.

        Raises:
            InputError: it is missing, damaged, or has another format.
        """
        try:
            content = json.loads(path.read_text())
            format_ = content.get("format", "2 or older")
            if format_ == FORMAT:
                sha256 = content.pop("sha256")
                manifest = cls(**content)
                if content_sha256(asdict(manifest)) != sha256:
                    raise ValueError("sha256")
                for facts in manifest.shards.values():
                    _ = [facts[name] for name in ("bytes", "sha256", "fingerprint", "content")]
                return manifest
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path.parent} is not a complete teacher cache: its {path.name} cannot be read "
                f"({type(error).__name__}). Make the cache again; complete shards are kept."
            ) from error
        raise InputError(
            f"The teacher cache {path.parent} has format {format_}, this version reads format "
            f"{FORMAT}. Delete the folder and make the cache again."
        )

    @classmethod
    def read_if_whole(cls, path: Path) -> Manifest | None:
        """Return the manifest, or None if it cannot be read."""
        try:
            return cls.read(path)
        except InputError:
            return None

    def write(self, path: Path) -> None:
        """Write it atomically; equal content has equal bytes."""
        content = asdict(self) | {"sha256": content_sha256(asdict(self))}
        with whole_file(path, "w") as file:
            file.write(json.dumps(content, indent=1, sort_keys=True) + "\n")

    def open_shard(self, directory: Path, name: str) -> Shard:
        """Memory-map one of its shards after checking size and fingerprint.

        Raises:
            InputError: the file is missing, truncated, or of another cache.
        """
        problem = self.problem_of(directory, name)
        if problem:
            raise InputError(
                f"The teacher cache file {directory / name} is {problem}. Delete it if it exists "
                "and make the cache again; complete shards are kept."
            )
        return Shard.open(directory / name)

    def problem_of(self, directory: Path, name: str) -> str | None:
        """Return the problem of a shard, without reading all of it, or None."""
        path, facts = directory / name, self.shards[name]
        if not path.is_file():
            return "missing"
        if (size := path.stat().st_size) != facts["bytes"]:
            return f"{size} bytes long, but the manifest says {facts['bytes']}"
        try:
            shard = Shard.open(path)
        except InputError:
            return "not a shard, or its header is damaged"
        if (shard.fingerprint, shard.content) != (facts["fingerprint"], facts["content"]):
            return "of another cache"
        return None


def write_manifest(
    path: Path,
    kind: str,
    fingerprint: str,
    facts: Mapping[str, Any],
    shards: Sequence[Shard],
    keys: str,
) -> Manifest:
    """Read every byte of the shards once and write their manifest.

    Entries of shards with the same size and content are copied from an earlier manifest. `keys` is
    the name of the array with one row per example or text, in shards that have one.

    Raises:
        InputError: a shard has changed; the message names it.
    """
    with locked(path):
        before = Manifest.read_if_whole(path)
        known = {} if before is None else before.shards
        entries = {}
        for shard in shards:
            name = shard.path.name
            entry = {
                "bytes": shard.path.stat().st_size,
                "fingerprint": shard.fingerprint,
                "content": shard.content,
            }
            checked = known.get(name, {}).get("sha256")
            if entry | {"sha256": checked} != known.get(name):
                checked = checked_sha256(shard.path)
            entries[name] = entry | {"sha256": checked}
        num_rows = sum(len(shard.arrays[keys]) for shard in shards if keys in shard.arrays)
        manifest = Manifest(kind, fingerprint, dict(facts), entries, num_rows)
        if manifest != before:
            manifest.write(path)
    return manifest
