"""One shard on disk: whole or not at all, and every kind of damage is named."""

import contextlib
import json
import resource

import numpy as np
import pytest

from tfrs_distill.checksums import file_sha256
from tfrs_distill.errors import InputError
from tfrs_distill.teacher_cache.shard import Shard

ARRAYS = {"rows": np.arange(3), "item_embeddings": np.linspace(0, 1, 8, dtype=np.float32)}


@contextlib.contextmanager
def disk_full_after(num_bytes):
    """No file may grow beyond `num_bytes`: writing more fails in the system call."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def folder(tmp_path):
    Shard.write(tmp_path / "shard", "abc", ARRAYS)
    return tmp_path / "shard"


def assert_holds(shard, arrays=ARRAYS, fingerprint="abc"):
    assert shard.fingerprint == fingerprint
    assert shard.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(shard.arrays[name], array)
        assert shard.arrays[name].dtype == array.dtype


def test_what_was_written_is_read(folder):
    assert_holds(Shard.open(folder))
    Shard.verify(folder)


def test_arrays_are_memory_mapped_and_cannot_be_changed(folder):
    array = Shard.open(folder).arrays["item_embeddings"]
    assert isinstance(array, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1.0


def test_writing_again_replaces_all_of_it(folder):
    other = {"rows": np.arange(2)}
    assert_holds(Shard.write(folder, "def", other), other, "def")
    assert not (folder / "item_embeddings.npy").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["shard"]


def test_a_truncated_file_is_named(folder):
    path = folder / "item_embeddings.npy"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match=r"item_embeddings\.npy is 156 bytes long.*says 160 bytes"):
        Shard.open(folder)


def test_a_missing_file_is_named(folder):
    (folder / "rows.npy").unlink()
    with pytest.raises(InputError, match=r"rows\.npy is missing.*Delete the folder"):
        Shard.open(folder)


def test_a_flipped_bit_is_found_by_verify(folder):
    path = folder / "item_embeddings.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    Shard.open(folder)  # sizes fit
    with pytest.raises(InputError, match=r"item_embeddings\.npy is not what was written.*sha256"):
        Shard.verify(folder)


@pytest.mark.parametrize(
    "manifest",
    ["", "{", "[]", '{"format": 1}', '{"format": 1, "fingerprint": "a", "files": []}', None],
)
def test_a_damaged_manifest_is_named(folder, manifest):
    if manifest is None:
        (folder / "shard.json").unlink()
    else:
        (folder / "shard.json").write_text(manifest)
    with pytest.raises(
        InputError, match=r"is not a teacher cache shard, or is damaged: shard\.json"
    ):
        Shard.open(folder)


def test_another_format_is_refused(folder):
    manifest = json.loads((folder / "shard.json").read_text()) | {"format": 99}
    (folder / "shard.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="has format 99, this version reads format 2"):
        Shard.open(folder)


def test_a_full_disk_leaves_nothing(tmp_path):
    arrays = ARRAYS | {"large": np.zeros(100_000)}
    with disk_full_after(50_000), pytest.raises(OSError):
        Shard.write(tmp_path / "shard", "abc", arrays)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_shard_before_as_it_was(folder):
    with disk_full_after(50_000), pytest.raises(OSError):
        Shard.write(folder, "def", {"large": np.zeros(100_000)})
    assert_holds(Shard.open(folder))
    assert [path.name for path in folder.parent.iterdir()] == ["shard"]


def test_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert file_sha256(tmp_path / "file") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
