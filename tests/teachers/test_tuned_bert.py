"""A tuned BERT's two files: they are read as written, and a changed bit is detected."""

import numpy as np
import pytest

from tfrs_distill.errors import InputError
from tfrs_distill.teachers.bert import tuned_bert
from tfrs_distill.teachers.bert.tuned_bert import read_tuned_bert, write_tuned_bert

ARGUMENTS = {"max_length": 32, "tasks": [["like", {}]]}
WEIGHTS = {"layer": np.float32([[1, 2], [3, 4]]), "offset": np.float32([5])}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tuned_bert, "base_fingerprint", lambda encoder: "base")
    write_tuned_bert(tmp_path / "saved", "text ranker", "base", ARGUMENTS, WEIGHTS)
    return tmp_path / "saved"


def read(folder):
    arguments, weights = read_tuned_bert(folder, "text ranker", None)
    return arguments, {name: weight.tolist() for name, weight in weights.items()}


def test_files_are_read_as_written(folder):
    assert read(folder) == (ARGUMENTS, {"layer": [[1, 2], [3, 4]], "offset": [5]})


@pytest.mark.parametrize("name", ["text_ranker.json", "text_ranker.safetensors"])
def test_a_flipped_bit_is_an_error_or_has_no_effect(folder, name):
    """White space between the values has no meaning."""
    path, expected, seen = folder / name, read(folder), 0
    content = path.read_bytes()
    for bit in range(0, 8 * len(content), 5):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            assert read(folder) == expected
        except InputError as error:
            assert str(folder) in str(error)
            seen += 1
    assert seen > 0.8 * len(range(0, 8 * len(content), 5))
