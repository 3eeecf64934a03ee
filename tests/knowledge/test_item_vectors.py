"""Item vectors: each text is encoded once, also after interruptions."""

import contextlib

import numpy as np
import pandas as pd
import pytest
from planted_teachers import LengthEncoder

from tfrs_distill.errors import InputError
from tfrs_distill.knowledge import cache_item_vectors, item_vectors
from tfrs_distill.knowledge.item_vectors import ItemVectors
from tfrs_distill.knowledge.maintenance import verify
from tfrs_distill.knowledge.shard import Shard
from tfrs_distill.progress import SilentProgress

TEXTS = ["Heat", "Babe", "Up", "Jaws II", "Brazil", "M"]


def expected(texts):
    return np.float32([[len(t), ord(t[0]), len(t) * ord(t[0]) / 3] for t in texts])


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def shards_in(folder):
    return {n: content for n, content in files_in(folder).items() if n.endswith(".safetensors")}


@pytest.mark.parametrize("rows_per_shard", [1, 2, 4, 100])
def test_vectors_are_in_the_order_of_the_texts(tmp_path, rows_per_shard):
    encoder = LengthEncoder()
    for texts in (TEXTS, TEXTS[::-1], [TEXTS[3], TEXTS[0], TEXTS[3]]):
        found = cache_item_vectors(encoder, texts, tmp_path, rows_per_shard=rows_per_shard)
        assert isinstance(found, ItemVectors)
        assert (found.shape, found.dtype, len(found)) == ((len(texts), 3), np.float32, len(texts))
        np.testing.assert_array_equal(np.asarray(found), expected(texts))
        np.testing.assert_array_equal(found[np.array([2, 0])], expected([texts[2], texts[0]]))
    size = rows_per_shard
    assert encoder.read == [TEXTS[at : at + size] for at in range(0, len(TEXTS), size)]


def test_equal_texts_are_encoded_once(tmp_path):
    encoder = LengthEncoder()
    found = cache_item_vectors(encoder, ["Up", "Heat", "Up", "Up"], tmp_path)
    assert encoder.read == [["Up", "Heat"]]
    np.testing.assert_array_equal(np.asarray(found), expected(["Up", "Heat", "Up", "Up"]))


def test_only_new_texts_are_encoded_and_old_files_are_unchanged(tmp_path):
    cache_item_vectors(LengthEncoder(), TEXTS, tmp_path, rows_per_shard=4)
    before = shards_in(tmp_path)
    stamps = {name: (tmp_path / name).stat().st_mtime_ns for name in before}
    encoder, texts = LengthEncoder(), ["Alien", *TEXTS[::-1], "Z"]
    found = cache_item_vectors(encoder, texts, tmp_path, rows_per_shard=4)
    assert encoder.read == [["Alien", "Z"]]
    np.testing.assert_array_equal(np.asarray(found), expected(texts))
    after = shards_in(tmp_path)
    assert len(after) == len(before) + 1
    assert {name: after[name] for name in before} == before
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in before} == stamps
    assert verify(tmp_path)["problems"] == []


@pytest.mark.parametrize("other", [{"encoder": LengthEncoder("other")}, {"dtype": "float16"}])
def test_another_encoder_or_dtype_has_a_separate_store(tmp_path, other):
    cache_item_vectors(LengthEncoder(), TEXTS, tmp_path)
    before = files_in(tmp_path)
    encoder = other.get("encoder", LengthEncoder())
    cache_item_vectors(encoder, TEXTS, tmp_path, dtype=other.get("dtype", "float32"))
    assert encoder.read == [TEXTS]
    after = files_in(tmp_path)
    assert {name: after[name] for name in before} == before
    assert len(after) == 2 * len(before)
    again = LengthEncoder()
    cache_item_vectors(again, TEXTS, tmp_path)
    assert again.read == []


@pytest.mark.parametrize(("dtype", "step"), [("int8", 1 / 127 / 2), ("float16", 2.0**-11)])
def test_quantized_vectors_are_within_their_error_bound(tmp_path, dtype, step):
    found = cache_item_vectors(LengthEncoder(), TEXTS, tmp_path, dtype=dtype, rows_per_shard=4)
    values = expected(TEXTS)
    bound = np.abs(values).max(axis=1, keepdims=True) * step * (1 + 1e-4)
    assert found.stored.dtype == dtype
    for vectors, rows in ((np.asarray(found), range(6)), (found[np.array([4, 1])], [4, 1])):
        assert vectors.dtype == np.float32
        assert (np.abs(vectors - values[rows]) <= bound[rows]).all()
    assert not np.array_equal(np.asarray(found), values)


def test_after_an_interrupt_only_missing_files_are_made(tmp_path):
    class Stopped(LengthEncoder):
        def encode(self, texts):
            if len(self.read) == 2:
                raise KeyboardInterrupt
            return super().encode(texts)

    with pytest.raises(KeyboardInterrupt):
        cache_item_vectors(Stopped(), TEXTS, tmp_path, rows_per_shard=2)
    assert len(shards_in(tmp_path)) == 2
    encoder = LengthEncoder()
    found = cache_item_vectors(encoder, TEXTS, tmp_path, rows_per_shard=2)
    assert encoder.read == [TEXTS[4:]]
    np.testing.assert_array_equal(np.asarray(found), expected(TEXTS))
    cache_item_vectors(LengthEncoder(), TEXTS, tmp_path / "peace", rows_per_shard=2)
    assert files_in(tmp_path / "peace") == {
        name: (tmp_path / name).read_bytes() for name in files_in(tmp_path / "peace")
    }


def test_files_of_a_killed_writer_are_reused_for_other_texts(tmp_path):
    cache_item_vectors(LengthEncoder(), TEXTS, tmp_path, rows_per_shard=2)
    next(tmp_path.glob("items-*.json")).unlink()
    encoder = LengthEncoder()
    cache_item_vectors(encoder, ["new", *TEXTS], tmp_path, rows_per_shard=2)
    assert encoder.read == [["new"]]


def test_one_progress_bar_over_the_texts(tmp_path):
    seen = []

    class Listener(SilentProgress):
        @contextlib.contextmanager
        def bar(self, description, total):
            seen.append((description, total))
            yield lambda steps=1, note="": seen.append(steps)

    cache_item_vectors(LengthEncoder(), TEXTS[:2], tmp_path)
    texts = [*TEXTS, TEXTS[0]]
    cache_item_vectors(LengthEncoder(), texts, tmp_path, rows_per_shard=3, progress=Listener())
    assert seen == [("item texts", 7), 3, 3, 1]  # two exist already and one occurs twice


@pytest.mark.parametrize("damage", ["truncated", "flipped", "foreign"])
@pytest.mark.parametrize("finished", [True, False])
def test_a_damaged_file_is_named_and_recomputed_after_deletion(tmp_path, damage, finished):
    cache_item_vectors(LengthEncoder(), TEXTS, tmp_path, rows_per_shard=2)
    path = sorted(tmp_path.glob("items-*.safetensors"))[1]
    content = path.read_bytes()
    if not finished:
        next(tmp_path.glob("items-*.json")).unlink()
    if damage == "truncated":
        path.write_bytes(content[:-4])
    elif damage == "flipped":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        cache_item_vectors(LengthEncoder("b"), TEXTS, tmp_path / "b", rows_per_shard=2)
        path.write_bytes(next((tmp_path / "b").glob("items-*.safetensors")).read_bytes())
    if damage == "flipped" and finished:  # opening reads no arrays: `verify` does
        assert [p["file"] for p in verify(tmp_path)["problems"]] == [path.name]
    else:
        with pytest.raises(InputError, match=path.name):
            cache_item_vectors(LengthEncoder(), TEXTS, tmp_path, rows_per_shard=2)
    path.unlink()
    encoder = LengthEncoder()
    cache_item_vectors(encoder, TEXTS, tmp_path, rows_per_shard=2)
    assert sum(map(len, encoder.read)) == 2
    assert path.read_bytes() == content
    assert verify(tmp_path)["problems"] == []


class Wrong(LengthEncoder):
    def __init__(self, vectors):
        super().__init__()
        self.vectors = vectors

    def encode(self, texts):
        return self.vectors


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        (np.zeros((3, 4)), r"one vector per text.*Received: \(3, 4\) for 2 texts"),
        (np.zeros(2), r"one vector per text.*Received: \(2,\) for 2 texts"),
        ([[1.0], [np.nan]], "NaN or infinite values, first for the text 'Up'"),
    ],
)
def test_invalid_vectors_are_refused(tmp_path, vectors, words):
    with pytest.raises(InputError, match=words):
        cache_item_vectors(Wrong(vectors), ["Heat", "Up"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_fingerprint_for_two_encoders_is_detected(tmp_path):
    cache_item_vectors(LengthEncoder(), ["Heat"], tmp_path)
    with pytest.raises(InputError, match=r"several widths, \[3, 5\], under one fingerprint"):
        cache_item_vectors(Wrong(np.zeros((1, 5))), ["Up"], tmp_path)


def test_arguments_are_checked(tmp_path):
    class Nameless:
        encode = LengthEncoder().encode

    with pytest.raises(InputError, match="A Nameless cannot be cached: it has no `fingerprint"):
        cache_item_vectors(Nameless(), TEXTS, tmp_path)
    with pytest.raises(InputError, match="There are no texts to encode"):
        cache_item_vectors(LengthEncoder(), [], tmp_path)
    with pytest.raises(ValueError, match="`dtype` must be one of .* Received: dtype='int4'"):
        cache_item_vectors(LengthEncoder(), TEXTS, tmp_path, dtype="int4")
    with pytest.raises(ValueError, match="`rows_per_shard` must be at least 1. Received: 0"):
        cache_item_vectors(LengthEncoder(), TEXTS, tmp_path, rows_per_shard=0)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_without_new_texts(tmp_path, monkeypatch):
    cache_item_vectors(LengthEncoder(), TEXTS, tmp_path)
    monkeypatch.setattr(Shard, "write", None)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    cache_item_vectors(LengthEncoder(), TEXTS[:3], tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_key_is_found_by_all_of_its_bits():
    held = np.array([[7, 3], [1, 3], [5, 5]], np.uint64)
    requested = np.array([[5, 5], [1, 2], [9, 9], [1, 3], [0, 3], [7, 3]], np.uint64)
    assert item_vectors._rows_of(requested, held).tolist() == [2, -1, -1, 1, -1, 0]
    assert item_vectors._rows_of(requested[:2], held[:0]).tolist() == [-1, -1]


def test_two_texts_with_equal_key_prefixes_never_share_a_vector(tmp_path, monkeypatch):
    keys = np.array([[1, 2], [1, 3]], np.uint64)
    monkeypatch.setattr(item_vectors, "keys_of", lambda texts: keys)
    with pytest.raises(InputError, match="does not have the vector of text 1: .*first 64 bits"):
        cache_item_vectors(LengthEncoder(), ["Heat", "Up"], tmp_path)


def test_texts_of_a_shuffled_series_are_read_by_position(tmp_path):
    shuffled = pd.Series(TEXTS, index=np.arange(len(TEXTS))[::-1])
    found = cache_item_vectors(LengthEncoder(), shuffled, tmp_path, rows_per_shard=2)
    np.testing.assert_array_equal(np.asarray(found), expected(TEXTS))
