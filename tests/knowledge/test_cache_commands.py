"""`tfrs-distill cache inspect | verify | prune` on the command line."""

import json

import numpy as np
import pytest
from planted_teachers import PlantedTeacher
from tiny_data import random_windows

from tfrs_distill.cli import main
from tfrs_distill.knowledge import cache_teacher


@pytest.fixture
def cache(tmp_path):
    """A finished cache of two shards, and a partial file of a killed writer."""
    windows = random_windows(num_items=9)
    folder = tmp_path / "knowledge"
    cache_teacher(PlantedTeacher(9), windows, folder, top_k=3, rows_per_shard=len(windows) - 2)
    partial_of(folder).write_bytes(b"12345")
    return folder


def partial_of(folder):
    """The partial file that a killed writer of the teacher's file leaves."""
    return folder / f".{next(folder.glob('*teacher*.safetensors')).name}.1a2b.partial"


def run(capsys, *arguments):
    code = main(["cache", *map(str, arguments)])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_inspect_prints_the_content(cache, capsys):
    code, out, err = run(capsys, "inspect", cache)
    assert (code, err) == (0, "")
    assert f"cache.json: examples, {len(random_windows(num_items=9))} rows in 3 shards, " in out
    assert "forms: ['embeddings', 'top_k']" in out
    assert f"not in the cache: {partial_of(cache).name} (" in out


def test_verify_reports_an_intact_cache_or_the_damaged_file(cache, capsys):
    size = sum(file.stat().st_size for file in cache.glob("*.safetensors"))
    code, out, _ = run(capsys, "verify", cache)
    assert (code, out) == (0, f"intact: 3 files, {size / 1000:.2f} kB\n")
    shard = next(cache.glob("*shard-00001*"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    code, out, err = run(capsys, "verify", cache)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: 1 files of the cache {cache} are damaged: ")
    assert shard.name in err and err.count("\n") == 1


def test_prune_removes_only_unneeded_files(cache, capsys):
    before = {file.name for file in cache.iterdir()}
    code, out, _ = run(capsys, "prune", cache)
    assert code == 0
    assert out.splitlines()[-1] == "1 files, 5 B freed"
    gone = before - {file.name for file in cache.iterdir()}
    assert gone == {partial_of(cache).name}
    assert run(capsys, "prune", cache)[1] == "0 files, 0 B freed\n"


@pytest.mark.parametrize("action", ["inspect", "verify", "prune"])
def test_json_output(cache, capsys, action):
    code, out, _ = run(capsys, action, cache, "--json")
    assert code == 0
    result = json.loads(out)
    if action == "inspect":
        assert result["caches"][0]["rows"] == len(random_windows(num_items=9))
    elif action == "verify":
        assert result["problems"] == []
    else:
        assert result[0]["bytes"] == 5


@pytest.mark.parametrize("action", ["inspect", "verify", "prune"])
def test_a_folder_without_a_cache_is_a_one_line_error(tmp_path, capsys, action):
    np.save(tmp_path / "mine.npy", np.zeros(3))
    code, out, err = run(capsys, action, tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert (tmp_path / "mine.npy").exists()
