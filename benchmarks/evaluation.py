"""What evaluating costs where users and items are many: memory beyond what is given, and time.

    python benchmarks/evaluation.py [--quick] [--json FILE]

100,000 users x 10,000 items of chance: `td.evaluate(scorer, queries).summary()` of every kind of
scorer that ranks the whole catalogue, each in a process of its own. Memory is the peak of the
process's resident set during it less what was resident before, so results count too. Linux alone
can start such a peak anew.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from pathlib import Path

import numpy as np

import tfrs_distill as td  # before TensorFlow: it selects Keras 2
from tfrs_distill.evaluation import Scorer
from tfrs_distill.evaluation.retrieval import ModelScorer, TeacherScorer

from rows import Row, publish, row  # isort: skip

SCORERS = ("student", "teacher", "popularity", "EASE")
MAX_HISTORY, NUM_POSITIVES = 32, 3
MEGABYTES = 200  # the goal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few users: to see it work")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    num_users, num_items = (4_000, 3_000) if arguments.quick else (100_000, 10_000)
    whole = f"all scores at once: {4e-6 * num_users * (num_items + 1):,.0f} MB"
    rows: list[Row] = []
    for name in SCORERS:
        with multiprocessing.get_context("spawn").Pool(1) as process:
            megabytes, seconds = process.apply(cost, (name, num_users, num_items))
        print(f"{name}: {megabytes:.0f} MB, {seconds:.1f} s", flush=True)
        size = f"{num_users:,} users x {num_items:,} items"
        rows.append(row(f"{name}, memory", megabytes, "MB", f"<= {MEGABYTES}", f"{size}; {whole}"))
        rows.append(row(f"{name}, time", seconds, "s", "", size))
    publish(rows, arguments.json)


def planted(num_users: int, num_items: int) -> tuple[td.data.Queries, td.data.Windows]:
    """Queries of all users, and training windows of a tenth of them; items drawn by popularity."""
    random = np.random.default_rng(0)
    names = tuple(str(item) for item in range(1, num_items + 1))
    catalogue = td.data.Catalogue(names, names, names)
    chances = 1 / np.arange(10, num_items + 10)

    def items(*shape: int) -> np.ndarray:
        drawn = random.choice(num_items, shape, p=chances / chances.sum())
        return (drawn + 1).astype(np.int32)

    lengths = random.integers(20, 61, num_users)
    histories = np.split(items(lengths.sum()), np.cumsum(lengths)[:-1])
    users = np.arange(num_users, dtype=np.int32)
    queries = td.data.Queries(
        catalogue, users, tuple(histories), tuple(items(num_users, NUM_POSITIVES))
    )
    sequences = items(num_users // 10, MAX_HISTORY + 1)
    return queries, td.data.Windows(
        catalogue, users[: len(sequences)], sequences[:, :-1], sequences[:, 1:]
    )


def scorer_of(name: str, queries: td.data.Queries, train: td.data.Windows) -> Scorer:
    """One of `SCORERS`; models are not trained, which costs the same."""
    if name == "popularity":
        return td.popularity(train)
    if name == "EASE":
        return td.EASE(train)
    student = td.models.RetrievalStudent.from_history(
        num_items=queries.catalogue.num_items, max_history=MAX_HISTORY, embedding_dim=16, seed=0
    )
    if name == "teacher":
        return TeacherScorer(student, queries, max_history=MAX_HISTORY)
    return ModelScorer(student)


def cost(name: str, num_users: int, num_items: int) -> tuple[float, float]:
    """Megabytes beyond what was there before, at the peak, and seconds."""
    queries, train = planted(num_users, num_items)
    scorer = scorer_of(name, queries, train)
    first = queries.subset(np.arange(600))  # graphs are made once, before
    td.evaluate(scorer_of(name, first, train) if name == "teacher" else scorer, first)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, start = resident("VmRSS"), time.monotonic()
    td.evaluate(scorer, queries).summary()
    return resident("VmHWM") - before, time.monotonic() - start


def resident(name: str) -> float:
    """Megabytes of the process: `VmRSS`, now, or `VmHWM`, the most so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1]) / 1e6
    raise SystemExit("The memory of a process is measured on Linux alone.")


if __name__ == "__main__":
    main()
