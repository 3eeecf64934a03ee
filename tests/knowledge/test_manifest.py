"""The manifest: which entries it reuses from an earlier one, and which shards it reads again."""

import hashlib

import numpy as np
import pytest

from tfrs_distill.errors import InputError
from tfrs_distill.knowledge import manifest as manifests
from tfrs_distill.knowledge.manifest import Manifest, write_manifest
from tfrs_distill.knowledge.shard import Shard


@pytest.fixture
def read(monkeypatch):
    """Names of the shards that were read completely."""
    read, check = [], manifests.checked_sha256

    def counted(path):
        read.append(path.name)
        return check(path)

    monkeypatch.setattr(manifests, "checked_sha256", counted)
    return read


def shard(folder, name, value=0, fingerprint="one"):
    return Shard.write(folder / name, fingerprint, {"keys": np.full(3, value, np.int32)})


def write(folder, shards):
    return write_manifest(folder / "cache.json", "items", "whole", {"dim": 3}, shards, "keys")


def test_it_names_every_shard_and_is_read_as_written(tmp_path):
    shards = [shard(tmp_path, "a"), Shard.write(tmp_path / "b", "two", {})]
    written = write(tmp_path, shards)
    assert Manifest.read(tmp_path / "cache.json") == written
    assert (written.kind, written.fingerprint, written.facts) == ("items", "whole", {"dim": 3})
    assert written.num_rows == 3  # the second has no such array
    assert list(written.shards) == ["a", "b"]
    for name, entry in written.shards.items():
        content = (tmp_path / name).read_bytes()
        assert entry["bytes"] == len(content)
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
    assert [written.shards[name]["fingerprint"] for name in "ab"] == ["one", "two"]


def test_only_new_shards_are_read_completely(tmp_path, read):
    shards = [shard(tmp_path, "a")]
    write(tmp_path, shards)
    write(tmp_path, [*shards, shard(tmp_path, "b")])
    assert read == ["a", "b"]


@pytest.mark.parametrize("change", [{"value": 1}, {"fingerprint": "two"}], ids=str)
def test_a_rewritten_shard_is_read_again(tmp_path, read, change):
    write(tmp_path, [shard(tmp_path, "a")])
    again = write(tmp_path, [shard(tmp_path, "a", **change)])
    assert read == ["a", "a"]
    assert again.shards["a"]["sha256"] == hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest()


def test_a_damaged_shard_gets_no_manifest(tmp_path):
    damaged = shard(tmp_path, "a")
    content = damaged.path.read_bytes()
    damaged.path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match="a has changed"):
        write(tmp_path, [damaged])
    assert not (tmp_path / "cache.json").exists()
