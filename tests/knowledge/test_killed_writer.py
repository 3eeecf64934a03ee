"""Writers killed at random points, and parallel writers: the cache equals that of one writer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from nightly import nightly

import tfrs_distill

HERE = Path(__file__).parent
KNOWLEDGE_KILLS = int(os.environ.get("CRASH_TEST_KILLS", "3"))


def start(*arguments):
    package = Path(tfrs_distill.__file__).parents[1]
    paths = [str(package), str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "TF_CPP_MIN_LOG_LEVEL": "2"}
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def printed_by(process):
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    return json.loads(out.splitlines()[-1])


@pytest.mark.parametrize(
    ("kind", "kills"),
    [("items", 10), nightly("items", 20), nightly("knowledge", KNOWLEDGE_KILLS)],
)
def test_kills_lose_no_finished_shard_and_leave_the_same_bytes(tmp_path, kind, kills):
    """`CRASH_TEST_KILLS=20` also kills twenty writers of knowledge."""
    found = printed_by(start(HERE / "killed_writer.py", kind, tmp_path, kills))
    assert found["kills"] == kills
    assert found["computed_twice"] == []
    assert found["shards"] > 4
    assert found["stages"] > 2  # the kills came at different points


@pytest.mark.nightly
def test_two_processes_share_one_cache(tmp_path):
    """Both end with the same complete cache, and no shard is computed by both."""
    writers = [start(HERE / "side_by_side.py", tmp_path, name) for name in "ab"]
    found = [printed_by(writer) for writer in writers]
    for kind in ("items", "knowledge", "folds"):
        first, second = (set(each["computed"][kind]) for each in found)
        assert first and second, f"{kind}: one process did all the work"
        assert not first & second, f"{kind}: computed by both"
        assert found[0]["contents"][kind] == found[1]["contents"][kind]
        assert first | second == set(found[0]["contents"][kind])
        assert found[0]["alone"][kind] == found[0]["contents"][kind]
