"""Inspect, verify and prune a cache."""

import os

import numpy as np
import pytest
from planted_teachers import LengthEncoder, PlantedTeacher, RecordingTrainer
from tiny_data import random_windows

from tfrs_distill.errors import InputError
from tfrs_distill.files import lock_of, locked
from tfrs_distill.knowledge import (
    CachedTeacher,
    cache_item_vectors,
    cache_teacher,
    cross_fit,
)
from tfrs_distill.knowledge.maintenance import inspect, prune, verify

NUM_ITEMS = 9
TEXTS = [f"Film {number}" for number in range(7)]


@pytest.fixture
def windows():
    return random_windows(num_items=NUM_ITEMS)


@pytest.fixture
def cache(tmp_path, windows):
    """A directory with a teacher's knowledge and two stores of item vectors."""
    make(tmp_path, windows)
    cache_item_vectors(LengthEncoder(), TEXTS, tmp_path, rows_per_shard=3)
    cache_item_vectors(LengthEncoder(), TEXTS, tmp_path, dtype="int8")
    return tmp_path


def make(directory, windows, fingerprint="recipe 1"):
    return cross_fit(
        RecordingTrainer(NUM_ITEMS),
        windows,
        directory,
        fingerprint=fingerprint,
        num_folds=2,
        top_k=3,
        rows_per_shard=4,
    )


def shards_of(directory, kind="*"):
    return sorted(directory.glob(f"{kind}.safetensors"))


def problems(directory):
    return {found["file"]: found["problem"] for found in verify(directory)["problems"]}


# Inspect.


def test_inspect_returns_the_content_of_each_manifest(cache, windows):
    facts = inspect(cache)
    knowledge, *items = facts["caches"]
    files = shards_of(cache, "fold-*")
    size = sum(path.stat().st_size for path in files)
    assert knowledge["manifest"] == "cache.json" and knowledge["kind"] == "examples"
    assert (knowledge["rows"], knowledge["folds"]) == (len(windows), 2)
    assert (knowledge["shards"], knowledge["bytes"]) == (len(files), size)
    assert knowledge["forms"] == ["embeddings", "top_k"]
    assert knowledge["temperatures"] == [1.0]
    stores = {each["dtype"]: each for each in items}
    assert stores.keys() == {"float32", "int8"}
    assert {each["encoder"] for each in items} == {"lengths"}
    assert (stores["float32"]["rows"], stores["float32"]["shards"]) == (7, 3)
    assert (stores["int8"]["rows"], stores["int8"]["shards"]) == (7, 1)
    assert facts["leftovers"] == []


# Verify.


def test_an_intact_cache_has_no_problems_and_is_read_completely(cache):
    found = verify(cache)
    files = shards_of(cache)
    assert found == {
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
        "problems": [],
    }


def test_each_kind_of_damage_is_named_at_once(cache):
    missing, truncated, flipped, foreign, *_ = shards_of(cache, "fold-*-shard-*")
    first_item, *_ = shards_of(cache, "items-*")
    foreign_content = shards_of(cache, "items-*")[-1].read_bytes()
    size = truncated.stat().st_size
    missing.unlink()
    truncated.write_bytes(truncated.read_bytes()[:-1])
    for path in (flipped, first_item):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    padded = foreign_content[:-1].ljust(foreign.stat().st_size, b"\0")
    foreign.write_bytes(padded[: foreign.stat().st_size])
    assert problems(cache) == {
        missing.name: "missing",
        truncated.name: f"{size - 1} bytes long, but the manifest says {size}",
        flipped.name: "changed: its sha256 differs",
        foreign.name: "not a shard, or its header is damaged",
        first_item.name: "changed: its sha256 differs",
    }


def test_another_caches_file_under_a_shards_name_is_foreign(cache, windows, tmp_path):
    other = tmp_path / "other"
    make(other, windows, "recipe 2")
    ours, theirs = (shards_of(folder, "fold-00000-*-shard-00000-*")[0] for folder in (cache, other))
    ours.write_bytes(theirs.read_bytes())
    assert problems(cache) == {ours.name: "of another cache"}


def test_every_bit_of_a_header_and_a_manifest_is_checked(cache):
    path = shards_of(cache, "fold-*-teacher-*")[0]
    content = path.read_bytes()
    for place in (0, 20, 90, 200):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert set(problems(cache)) == {path.name}
    path.write_bytes(content)
    manifest = cache / "cache.json"
    text = manifest.read_text()
    for place in range(0, len(text), len(text) // 20):
        manifest.write_text(text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :])
        if manifest.read_text().split() != text.split():  # white space has no meaning
            assert "cache.json" in problems(cache)
    manifest.write_text(text)
    assert problems(cache) == {}


def test_an_unfinished_cache_is_reported_and_its_shards_are_still_checked(cache):
    (cache / "cache.json").unlink()
    for path in cache.glob("items-*.json"):
        path.unlink()
    assert problems(cache) == {"cache.json": "missing: the cache was not finished"}
    path = shards_of(cache)[0]
    path.write_bytes(path.read_bytes()[:-1])
    assert problems(cache)[path.name] == "changed: its sha256 differs (unfinished)"


def test_unrelated_files_are_no_problem(cache):
    (cache / "done.json").write_text("{}")
    (cache / "model.safetensors").write_bytes(b"not ours")
    assert problems(cache) == {}
    assert inspect(cache)["leftovers"] == [] == prune(cache)
    assert (cache / "done.json").exists() and (cache / "model.safetensors").exists()


# Prune.


def test_only_superseded_and_partial_files_are_removed(cache, windows):
    old = {path.name: path.stat().st_size for path in shards_of(cache, "fold-*")}
    make(cache, windows, "recipe 2")
    shard = shards_of(cache, "items-*")[0]
    dead = [
        cache / f".{shard.name}.ab12_x.partial",
        cache / ".cache.json.q.partial",
        lock_of(shard),
        cache / ".fold-00000-of-00002.lock",
    ]
    strangers = [cache / "notes.txt", cache / ".notes.lock", cache / ".x.safetensors.1.partial"]
    for path in dead + strangers:
        path.write_bytes(b"12345")
    (cache / "items-folder.safetensors").mkdir()
    kept = {path for path in cache.iterdir() if path.name not in old and path not in dead}
    leftovers = {each["file"]: each for each in inspect(cache)["leftovers"]}
    removed = {each["file"]: each for each in prune(cache)}
    assert removed == leftovers
    assert {n: e["bytes"] for n, e in removed.items()} == old | {p.name: 5 for p in dead}
    assert {e["why"] for n, e in removed.items() if n in old} == {"superseded"}
    assert [removed[path.name]["why"] for path in dead] == ["partial", "partial", "lock", "lock"]
    assert set(cache.iterdir()) == kept
    assert prune(cache) == [] and problems(cache) == {}
    CachedTeacher.open(cache).join(windows)


def test_files_of_an_active_writer_are_kept(cache, windows):
    make(cache, windows, "recipe 2")
    path = cache / f"fold-00000-of-00001-shard-00000-of-00001-{'a' * 16}.safetensors"
    partial = cache / f".{path.name}.xy.partial"
    partial.write_bytes(b"")
    path.write_bytes(b"")
    with locked(path):
        removed = {each["file"] for each in prune(cache)}
        assert partial.exists() and path.exists() and lock_of(path).exists()
    assert len(removed) > 2
    assert {each["file"] for each in prune(cache)} == {partial.name, path.name}


def test_complete_shards_of_an_unfinished_cache_are_kept(cache):
    (cache / "cache.json").unlink()
    for path in cache.glob("items-*.json"):
        path.unlink()
    before = set(cache.iterdir())
    left = inspect(cache)["leftovers"]
    assert {each["why"] for each in left} == {"unfinished"} and len(left) == len(before)
    assert prune(cache) == []
    assert set(cache.iterdir()) == before


def test_a_damaged_manifest_stops_pruning(cache):
    """Otherwise all files that it names would look superseded."""
    path = cache / "cache.json"
    path.write_text(path.read_text()[:-5])
    before = set(cache.iterdir())
    for look in (prune, inspect):
        with pytest.raises(InputError, match="its cache.json cannot be read"):
            look(cache)
    assert set(cache.iterdir()) == before


@pytest.mark.parametrize("look", [inspect, verify, prune])
def test_a_directory_without_a_cache_is_refused(tmp_path, look):
    (tmp_path / "file.json").write_text("{}")
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "file.json"):
        with pytest.raises(InputError, match="is not a teacher cache: it has no cache.json"):
            look(path)
    assert os.listdir(tmp_path) == ["file.json"]


def test_inspect_a_cache_of_a_teacher_with_logits_alone(tmp_path, windows):
    class Scores:
        def logits(self, batch, candidate_ids):
            return PlantedTeacher(NUM_ITEMS).logits(batch, candidate_ids)

        def fingerprint(self):
            return "scores"

    cache_teacher(Scores(), windows, tmp_path, top_k=3, temperatures=(1.0, 4.0))
    (facts,) = inspect(tmp_path)["caches"]
    assert facts["forms"] == ["top_k"] and facts["temperatures"] == [1.0, 4.0]
    assert np.all(np.asarray(facts["rows"]) == len(windows))
