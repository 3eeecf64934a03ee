"""How much faster is a training step if the process keeps freed memory?

    python benchmarks/freed_memory.py [--rounds 5] [--json FILE]

Each round starts two processes, one that calls `keep_freed_memory` and one that does not, and times
the twin's training step of MovieLens-100K in each; only the data was in memory before. The ratio is
that of the medians of a round's steps. It needs Linux with glibc; elsewhere both behave the same.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from rows import publish, row

KEPT, GIVEN_BACK = "kept", "given back"
WARM_UP, STEPS = 30, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--once", choices=(KEPT, GIVEN_BACK), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        print(median_of_steps(arguments.once))
        return
    times: dict[str, list[float]] = {KEPT: [], GIVEN_BACK: []}
    for _ in range(arguments.rounds):
        for name, found in times.items():
            command = [sys.executable, __file__, "--once", name]
            answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            found.append(float(answer.splitlines()[-1]))
    ratios = np.array(times[GIVEN_BACK]) / np.array(times[KEPT])
    detail = (
        f"{np.median(times[GIVEN_BACK]):.1f} ms and {np.median(times[KEPT]):.1f} ms a step; "
        f"{arguments.rounds} rounds, {ratios.min():.3g} to {ratios.max():.3g}"
    )
    name = "twin's step in a fresh process, freed memory given back / kept"
    publish([row(name, float(np.median(ratios)), "", "", detail)], arguments.json)


def median_of_steps(which: str) -> float:
    """Milliseconds of a step in this process."""
    import tfrs_distill as td
    from tfrs_distill.pipeline.freed_memory import keep_freed_memory
    from tfrs_distill.pipeline.recipe import Recipe

    if which == KEPT:
        keep_freed_memory()
    recipe = Recipe.named("movielens-100k")
    splits = td.data.split_by_time(td.data.movielens_100k(), max_history=recipe.data.max_history)
    twin = td.models.RetrievalStudent.from_history(
        num_items=splits.catalogue.num_items,
        max_history=recipe.data.max_history,
        embedding_dim=recipe.student.embedding_dim,
        dropout=recipe.twin.dropout,
        label_smoothing=recipe.twin.label_smoothing,
        seed=0,
    )
    twin.compile(optimizer="adam")
    step, batches = twin.make_train_function(), iter(splits.train.batches(32, seed=0).repeat())
    times = []
    for number in range(WARM_UP + STEPS):
        start = time.perf_counter()
        step(batches)
        if number >= WARM_UP:
            times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e3


if __name__ == "__main__":
    main()
