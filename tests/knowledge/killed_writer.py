"""Run as a script: kills a writer of a cache repeatedly, and checks the files it leaves.

The parent imports TensorFlow once and never runs it; each writer is a fork of the parent.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from tfrs_distill.keras_version import require_keras_2

require_keras_2()

from planted_teachers import LengthEncoder, PlantedTeacher  # noqa: E402
from tiny_data import random_windows  # noqa: E402

from tfrs_distill.knowledge import (  # noqa: E402
    cache_item_vectors,
    cross_fit,
    shard,
)
from tfrs_distill.knowledge.maintenance import prune, verify  # noqa: E402

TEXTS = [f"{'x' * (number % 97)} Film {number}" for number in range(400)]


def write_knowledge(folder, log):
    """Two folds of several shards; a fold's trained teacher is always the same."""

    windows = random_windows(num_users=40, num_items=9)
    logged_writes(log)
    cross_fit(
        lambda _, fold: PlantedTeacher(9, seed=fold),
        windows,
        folder,
        fingerprint="always the same",
        num_folds=2,
        top_k=3,
        rows_per_shard=8,
    )


def write_items(folder, log):
    """Twenty shards, each a few milliseconds of work."""

    class Slow(LengthEncoder):
        def encode(self, texts):
            time.sleep(0.003)
            return super().encode(texts)

    logged_writes(log)
    cache_item_vectors(Slow(), TEXTS, folder, rows_per_shard=20)


def logged_writes(log):
    """Every shard that is computed is logged before it is written."""
    write = shard.Shard.write.__func__

    def logged(cls, path, *arguments):
        with open(log, "a") as file:
            file.write(path.name + "\n")
        return write(cls, path, *arguments)

    shard.Shard.write = classmethod(logged)


def fork(write, *arguments):
    child = os.fork()
    if not child:
        try:
            write(*arguments)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def wait_for_writes(log, how_many, child):
    """Wait until the child has begun `how_many` shards or ended; its exit status stays unread."""
    while len(log.read_text().split()) < how_many:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.001)


def kill_again_and_again(write, folder, num_kills, seed):
    """Kill `num_kills` writers, and let a last one finish; print the findings as JSON."""
    whole, log, random_ = folder / "whole", folder / "log", random.Random(seed)
    start = time.monotonic()
    os.waitpid(fork(write, whole, folder / "undisturbed"), 0)
    num_writes = len((folder / "undisturbed").read_text().split())
    of_a_write = (time.monotonic() - start) / num_writes
    expected, kills, rounds, again, stages = contents(whole), 0, 0, [], set()
    while kills < num_kills:
        rounds += 1
        target, finished = folder / str(rounds), False
        while not finished:
            on_disk = {path.name for path in target.glob("*.safetensors")}
            log.write_text("")
            child = fork(write, target, log)
            if kills < num_kills:
                left = num_writes - len(on_disk)
                wait_for_writes(log, random_.randint(0, max(1, left // 2)), child)
                time.sleep(random_.uniform(0.0, of_a_write))
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            finished = os.WIFEXITED(status)
            assert not finished or os.WEXITSTATUS(status) == 0
            kills += not finished
            again += sorted(on_disk & set(log.read_text().split()))
            stages.add(len(on_disk))
        prune(target)
        assert verify(target)["problems"] == []
        assert contents(target) == expected, sorted(set(contents(target)) ^ set(expected))
    return {"kills": kills, "computed_twice": again, "shards": len(expected) - 1,
            "stages": len(stages), "seconds": time.monotonic() - start}  # fmt: skip


if __name__ == "__main__":
    kind, folder, num_kills = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    write = write_items if kind == "items" else write_knowledge
    print(json.dumps(kill_again_and_again(write, folder, num_kills, seed=1)))
