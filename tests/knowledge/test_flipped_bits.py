"""One flipped bit anywhere in a cache is an error that names the file, never a wrong output."""

import numpy as np
import pytest
import tensorflow as tf
from planted_teachers import LengthEncoder, PlantedTeacher
from tiny_data import windows_from

from tfrs_distill.errors import InputError
from tfrs_distill.knowledge import CachedTeacher, cache_item_vectors, cache_teacher
from tfrs_distill.knowledge.manifest import Manifest
from tfrs_distill.knowledge.shard import Shard

NUM_ITEMS = 4
TEXTS = ["Heat", "Babe", "Up"]


@pytest.fixture
def windows():
    return windows_from([[1, 2, 3], [3, 4, 1]], num_items=NUM_ITEMS, max_history=2)


def made(windows, directory):
    return cache_teacher(PlantedTeacher(NUM_ITEMS, dim=2), windows, directory, top_k=2)


def output(cached, windows):
    """All outputs of a cached teacher, by name."""
    return {"items": cached.item_embeddings, "temperatures": np.array(cached.temperatures)} | {
        name: np.asarray(array)
        for form in ("embeddings", "top_k")
        for name, array in cached.join(windows, form=form).knowledge.items()
    }


def flipped(path, bits):
    """Write the file with each of these bits flipped in turn; restore it at the end."""
    content = path.read_bytes()
    for bit in bits:
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        yield bit
    path.write_bytes(content)


def bits_of(path, every=1):
    return range(0, 8 * path.stat().st_size, every)


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


EVERY = pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.nightly), 61])


@EVERY
def test_bits_of_a_shard(tmp_path, every):
    """Length, header, padding and arrays: opening or reading names the file."""
    arrays = {"keys": np.array([7, 8], np.uint64), "half": np.array([[0.5], [2.0]], np.float16)}
    path = tmp_path / "shard.safetensors"
    Shard.write(path, "abc", arrays, {"teacher": "t", "temperatures": [1.0, 2.0]})
    for bit in flipped(path, bits_of(path, every)):
        with pytest.raises(InputError, match="shard.safetensors"):
            for array in Shard.open(path).arrays.values():
                np.asarray(array)
            pytest.fail(f"bit {bit} went unseen")
    same(Shard.open(path).arrays, arrays)


@EVERY
def test_bits_of_a_manifest(tmp_path, windows, every):
    """White space between the values has no meaning: the manifest stays the same."""
    made(windows, tmp_path)
    path = tmp_path / "cache.json"
    expected = Manifest.read(path)
    seen = 0
    for _ in flipped(path, bits_of(path, every)):
        try:
            assert Manifest.read(path) == expected
        except InputError as error:
            assert "cache.json" in str(error) or "has format" in str(error)
            seen += 1
    assert seen > 0.8 * len(bits_of(path, every))


@pytest.mark.parametrize("again", [CachedTeacher.open, None], ids=["open", "cache_teacher"])
def test_bits_of_every_file_of_a_teachers_cache(tmp_path, windows, again):
    expected = output(made(windows, tmp_path), windows)
    faults = dict.fromkeys(sorted(tmp_path.iterdir()), 0)
    assert len(faults) == 3  # the teacher's shard, the examples' and the manifest
    for path in faults:
        for _ in flipped(path, bits_of(path, 997)):
            try:
                cached = again(tmp_path) if again else made(windows, tmp_path)
                same(output(cached, windows), expected)
            except InputError as error:
                assert str(tmp_path) in str(error)
                faults[path] += 1
    shards = [path for path in faults if path.suffix == ".safetensors"]
    assert {path: faults[path] for path in shards} == {
        path: len(bits_of(path, 997)) for path in shards
    }


def test_bits_of_item_vectors(tmp_path):
    def vectors():
        return np.asarray(cache_item_vectors(LengthEncoder(), TEXTS, tmp_path, dtype="int8"))

    expected = vectors()
    (path,) = tmp_path.glob("*.safetensors")
    for bit in flipped(path, bits_of(path, 31)):
        with pytest.raises(InputError, match=path.name):
            vectors()
            pytest.fail(f"bit {bit} went unseen")
    np.testing.assert_array_equal(vectors(), expected)


def test_a_batch_of_a_damaged_shard_names_the_file(tmp_path, windows):
    """Within `fit` TensorFlow reads the knowledge and passes the message on."""
    cached = made(windows, tmp_path)
    path = next(tmp_path.glob("*-shard-*"))
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{path.name} has chang"):
        list(CachedTeacher.open(tmp_path).join(windows, form="top_k").batches(2))
    assert cached.forms == ("embeddings", "top_k")


def test_an_array_is_checked_once_and_only_when_read(tmp_path, monkeypatch):
    from tfrs_distill.knowledge import shard as shards

    arrays = {"keys": np.arange(3), "values": np.ones((3, 2), np.float32)}
    Shard.write(tmp_path / "shard", "abc", arrays)
    summed, sha256_of = [], shards._sha256_of
    monkeypatch.setattr(shards, "_sha256_of", lambda array: summed.append(0) or sha256_of(array))
    opened = Shard.open(tmp_path / "shard")
    assert (len(opened.arrays["keys"]), opened.arrays["values"].shape, summed) == (3, (3, 2), [])
    for _ in range(3):
        opened.arrays["values"][np.array([2, 0])]
    assert len(summed) == 1


def test_a_shard_with_the_name_of_the_teachers_file_is_refused(tmp_path, windows):
    expected = output(made(windows, tmp_path), windows)
    (teacher,), (shard,) = tmp_path.glob("*-teacher-*"), tmp_path.glob("*-shard-*")
    content = teacher.read_bytes()
    teacher.write_bytes(shard.read_bytes())
    with pytest.raises(InputError, match=f"{teacher.name} is"):
        CachedTeacher.open(tmp_path)
    same(output(made(windows, tmp_path), windows), expected)
    assert teacher.read_bytes() == content
