"""A stage is reused only if its note and its files are unchanged."""

import json

import pytest

from tfrs_distill.pipeline.stage import NOTE, Stage, Stages, forget_other_trainings
from tfrs_distill.progress import SilentProgress


class Work:
    """Writes two files and returns a result; counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, folder):
        self.calls += 1
        (folder / "model.keras").write_bytes(b"weights")
        (folder / "shard.safetensors").write_bytes(b"checks itself")
        return {"ndcg": 0.25, "by_k": {10: 0.5, 9: 0.4}}, "done"

    def run(self, folder):
        stages = Stages(folder, 0, SilentProgress())
        stages.run([Stage("teacher", self, lambda: {"epochs": (1, 2)})])
        return stages.results["teacher"]


def flipped(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.fixture
def work(tmp_path):
    work = Work()
    work.run(tmp_path)
    return work


def test_a_stage_with_the_same_inputs_is_not_run_again(work, tmp_path):
    assert work.run(tmp_path) == {"ndcg": 0.25, "by_k": {"10": 0.5, "9": 0.4}}
    assert work.calls == 1


def test_a_flipped_bit_of_a_file_runs_the_stage_again(work, tmp_path):
    path = tmp_path / "teacher" / "model.keras"
    flipped(path, 3)
    work.run(tmp_path)
    assert (work.calls, path.read_bytes()) == (2, b"weights")


def test_a_changed_number_in_the_note_is_not_used(work, tmp_path):
    path = tmp_path / "teacher" / NOTE
    path.write_text(path.read_text().replace("0.25", "0.35"))
    assert work.run(tmp_path)["ndcg"] == 0.25
    assert work.calls == 2


def test_a_flipped_bit_of_the_note_gives_the_same_result(work, tmp_path):
    path = tmp_path / "teacher" / NOTE
    content = path.read_bytes()
    for bit in range(0, 8 * len(content), 97):
        flipped(path, bit)
        assert work.run(tmp_path)["ndcg"] == 0.25
        path.write_bytes(content)
    assert work.calls > 30


def test_a_file_with_its_own_checksum_is_not_read(work, tmp_path):
    note = json.loads((tmp_path / "teacher" / NOTE).read_text())
    assert note["files"]["shard.safetensors"] == len(b"checks itself")
    assert len(note["files"]["model.keras"]) == 64


def test_a_damaged_marker_starts_another_training(tmp_path):
    folder = tmp_path / "teacher"
    folder.mkdir()
    forget_other_trainings(folder, "abc")
    (folder / "state").write_bytes(b"1")
    forget_other_trainings(folder, "abc")
    assert (folder / "state").exists()
    (folder / "made_from").write_bytes(b"ab\xff")
    forget_other_trainings(folder, "abc")
    assert not (folder / "state").exists()
