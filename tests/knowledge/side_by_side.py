"""Run as a script: one of two writers of the same caches, started at the same moment."""

import hashlib
import json
import sys
import time
from pathlib import Path

from tfrs_distill.keras_version import require_keras_2

require_keras_2()

from planted_teachers import LengthEncoder, PlantedTeacher  # noqa: E402
from tiny_data import random_windows  # noqa: E402

from tfrs_distill.knowledge import (  # noqa: E402
    cache_item_vectors,
    cache_teacher,
    cross_fit,
    shard,
)
from tfrs_distill.knowledge.maintenance import verify  # noqa: E402

PAUSE = 0.05  # per shard: without it, one process finishes before the other starts


class Encoder(LengthEncoder):
    def encode(self, texts):
        time.sleep(PAUSE)
        return super().encode(texts)


def write(kind, folder):
    windows = random_windows(num_users=40, num_items=9)
    if kind == "items":
        cache_item_vectors(Encoder(), [f"Film {n}" for n in range(60)], folder, rows_per_shard=5)
    elif kind == "knowledge":
        cache_teacher(SlowTeacher(9), windows, folder, top_k=3, rows_per_shard=8)
    else:
        cross_fit(
            train, windows, folder, fingerprint="same", num_folds=4, top_k=3, rows_per_shard=8
        )


def train(_, fold):
    time.sleep(PAUSE)
    return SlowTeacher(9, seed=fold)


class SlowTeacher:
    """A planted teacher that returns logits alone, slowly."""

    def __init__(self, num_items, seed=0):
        self.planted = PlantedTeacher(num_items, seed)
        self.fingerprint = self.planted.fingerprint

    def logits(self, batch, candidate_ids):
        time.sleep(PAUSE)
        return self.planted.logits(batch, candidate_ids)


def digests(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.glob("*.safetensors")
    }


def main(folder, name):
    computed, inner = [], shard.Shard.write.__func__

    def logged(cls, path, *arguments):
        computed.append(path.name)
        return inner(cls, path, *arguments)

    shard.Shard.write = classmethod(logged)
    kinds = ("items", "knowledge", "folds")
    alone = {}
    for kind in kinds:  # also traces and loads everything needed, so that both start warm
        write(kind, folder / name / kind)
        alone[kind] = digests(folder / name / kind)
    by_kind, contents = {}, {}
    for kind in kinds:
        computed.clear()
        (folder / f"at-{kind}-{name}").touch()
        while len(list(folder.glob(f"at-{kind}-*"))) < 2:
            time.sleep(0.001)
        write(kind, folder / kind)
        by_kind[kind] = list(computed)
        assert verify(folder / kind)["problems"] == []
        contents[kind] = digests(folder / kind)
    print(json.dumps({"computed": by_kind, "contents": contents, "alone": alone}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
