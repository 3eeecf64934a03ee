"""One shard on disk: it is written atomically, and every kind of damage is named."""

import contextlib
import hashlib
import json
import os
import resource
import struct

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from tfrs_distill.errors import InputError
from tfrs_distill.files import file_sha256
from tfrs_distill.knowledge.shard import Shard, checked_sha256

ARRAYS = {
    "ids": np.arange(6, dtype=np.int32).reshape(2, 3),
    "odd": np.array([1, -2, 3], np.int8),
    "keys": np.array([2**64 - 1, 1], np.uint64),
    "half": np.array([[0.5], [-2.0]], np.float16),
    "item_embeddings": np.linspace(0, 1, 8, dtype=np.float32),
    "none": np.zeros((0, 5), np.float32),
}
FACTS = {"forms": ["top_k"], "temperatures": [1.0]}


@contextlib.contextmanager
def disk_full_after(num_bytes):
    """No file can grow beyond `num_bytes`: writing more fails in the system call."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def path(tmp_path):
    Shard.write(tmp_path / "shard.safetensors", "abc", ARRAYS, FACTS)
    return tmp_path / "shard.safetensors"


def assert_holds(shard, arrays=ARRAYS, fingerprint="abc"):
    assert shard.fingerprint == fingerprint
    assert shard.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(shard.arrays[name], array)
        assert shard.arrays[name].dtype == array.dtype
        assert shard.arrays[name].shape == array.shape


def changed(path, place, by=1):
    """Change one byte of the file; a `place` below 0 counts from the end."""
    content = bytearray(path.read_bytes())
    content[place] ^= by
    path.write_bytes(content)


def test_what_was_written_is_read(path):
    shard = Shard.open(path)
    assert_holds(shard)
    assert shard.facts == FACTS


def test_the_safetensors_library_reads_it_too(path):
    for name, array in safetensors.numpy.load_file(path).items():
        np.testing.assert_array_equal(array, ARRAYS[name])
        assert array.dtype == ARRAYS[name].dtype
    with safetensors.safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()["tfrs_distill"])
    assert (about["format"], about["fingerprint"], about["facts"]) == (6, "abc", FACTS)


def test_the_same_arrays_give_the_same_bytes_in_any_order(path, tmp_path):
    backwards = dict(reversed(ARRAYS.items()))
    Shard.write(tmp_path / "b", "abc", backwards, dict(reversed(FACTS.items())))
    assert (tmp_path / "b").read_bytes() == path.read_bytes()


def test_non_contiguous_arrays_are_written_by_their_values(tmp_path):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    for index, view in enumerate((array.T, array[:, ::2], np.asfortranarray(array))):
        assert_holds(Shard.write(tmp_path / str(index), "abc", {"view": view}), {"view": view})


def test_a_shard_can_hold_facts_alone(tmp_path):
    shard = Shard.write(tmp_path / "shard", "abc", {}, FACTS)
    assert (shard.arrays, shard.facts) == ({}, FACTS)
    assert checked_sha256(tmp_path / "shard") == file_sha256(tmp_path / "shard")


def test_arrays_are_memory_mapped_and_cannot_be_changed(path):
    array = Shard.open(path).arrays["item_embeddings"]
    assert isinstance(array.values().base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        array.values()[0] = 1.0


def test_a_shard_in_use_is_one_open_file(path):
    def open_files():
        return len(os.listdir("/proc/self/fd"))

    if not os.path.exists("/proc/self/fd"):
        pytest.skip("open files cannot be counted here")
    before = open_files()
    shards = [Shard.open(path) for _ in range(10)]
    assert open_files() - before <= 10
    del shards


def test_writing_again_replaces_all_of_it(path):
    other = {"rows": np.arange(2)}
    assert_holds(Shard.write(path, "def", other), other, "def")
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_a_checked_shard_returns_its_files_sha256(path):
    assert checked_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("missing", [1, 40])
def test_a_truncated_file_is_named(path, missing):
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-missing])
    words = rf"shard\.safetensors is {size - missing} bytes long.*says {size}\. Delete the file"
    for read in (Shard.open, checked_sha256):
        with pytest.raises(InputError, match=words):
            read(path)


def test_a_longer_file_is_named(path):
    path.write_bytes(path.read_bytes() + b"\0")
    for read in (Shard.open, checked_sha256):
        with pytest.raises(InputError, match="bytes long"):
            read(path)


def test_a_missing_file_is_named(path):
    path.unlink()
    for read in (Shard.open, checked_sha256):
        with pytest.raises(InputError, match=r"shard\.safetensors is missing.*Delete the file"):
            read(path)


@pytest.mark.parametrize("place", [-1, -20, -60])
def test_a_flipped_bit_of_the_arrays_is_found(path, place):
    changed(path, place)
    Shard.open(path)  # sizes fit
    with pytest.raises(InputError, match=r"has changed: its sha256 differs"):
        checked_sha256(path)


def test_a_flipped_bit_of_the_header_changes_the_files_sha256_or_is_found(path):
    """Names and locations of arrays, and facts: every byte counts."""
    whole = checked_sha256(path)
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    for place in range(0, 8 + length, 7):
        changed(path, place)
        with contextlib.suppress(InputError):
            assert checked_sha256(path) != whole
        changed(path, place)
    assert checked_sha256(path) == whole


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        b"\xff" * 100,
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 37) + b'{"__metadata__": {"tfrs_distill": ""}}',
    ],
)
def test_a_file_that_is_not_a_shard_is_named(path, content):
    path.write_bytes(content)
    for read in (Shard.open, checked_sha256):
        with pytest.raises(InputError, match="is not a teacher cache shard, or is damaged"):
            read(path)


def test_a_file_of_another_tool_is_not_a_shard(path):
    safetensors.numpy.save_file({"rows": np.arange(3)}, path)
    with pytest.raises(InputError, match="is not a teacher cache shard"):
        Shard.open(path)


def test_locations_that_do_not_fit_the_shapes_are_refused(path):
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"shape": [2, 3]', b'"shape": [2, 2]'))
    with pytest.raises(InputError, match=r"has changed: its sha256 differs \(header\)"):
        Shard.open(path)


def test_another_format_is_refused(path):
    content = path.read_bytes()
    path.write_bytes(content.replace(rb"\"format\": 6", rb"\"format\": 9"))
    with pytest.raises(InputError, match="has format 9, this version reads format 6"):
        Shard.open(path)


def test_a_full_disk_leaves_nothing(tmp_path):
    arrays = ARRAYS | {"large": np.zeros(100_000, np.float32)}
    with disk_full_after(50_000), pytest.raises(OSError):
        Shard.write(tmp_path / "shard", "abc", arrays)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_earlier_shard_unchanged(path):
    with disk_full_after(50_000), pytest.raises(OSError):
        Shard.write(path, "def", {"large": np.zeros(100_000, np.float32)})
    assert_holds(Shard.open(path))
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert file_sha256(tmp_path / "file") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
