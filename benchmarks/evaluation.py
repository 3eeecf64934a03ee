"""The cost of evaluation: additional memory, time, and the time of TFRS' own metric.

    python benchmarks/evaluation.py [--quick] [--large] [--json FILE]

100,000 users x 10,000 random items: `td.evaluate(scorer, queries).summary()` for every kind of
scorer that ranks the whole catalogue, each in its own process. Memory is the peak of the process's
resident set during the call minus the resident set before it, so results count too; only Linux can
reset such a peak. With `--large` also a student of width 64 with 100,000 users x 100,000 items,
compared with the time of multiplying its embeddings alone.

Then the test users of MovieLens-100K, compared with `tfrs.metrics.FactorizedTopK`, which excludes
no history and gets a row for each positive: the share of positives among the first 10 of all items,
which must be the same, and the ratio of the times, median of interleaved runs. `tutorial`: as in
`tfrs.Model.evaluate`, each row with its history, candidates in batches of 128; `brute force`: the
layer of TFRS that holds all candidates, with the query embedding of each user computed once, which
`evaluate` of TFRS cannot do. Item embeddings are given to both.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

import tfrs_distill as td  # before TensorFlow: it selects Keras 2
from tfrs_distill.data.splits import Queries, pad_histories
from tfrs_distill.evaluation import Scorer
from tfrs_distill.evaluation.retrieval import ModelScorer, TeacherScorer

import tensorflow as tf  # isort: skip
import tensorflow_recommenders as tfrs  # isort: skip
from rows import Row, publish, row  # isort: skip

SCORERS = ("student", "teacher", "popularity", "EASE")
MAX_HISTORY, NUM_POSITIVES, EMBEDDING_DIM = 32, 3, 16
LARGE, LARGE_DIM, QUICK_LARGE = 100_000, 64, 5_000
MATMUL_ROWS = 256  # queries multiplied at a time
MEGABYTES = 200  # the goal
K, PAIRS_AT_A_TIME, CANDIDATES_AT_A_TIME = 10, 4096, 128  # the last two as in TFRS' tutorial


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few users, as a smoke test")
    parser.add_argument("--large", action="store_true", help="100,000 users x 100,000 items too")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    num_users, num_items = (4_000, 3_000) if arguments.quick else (100_000, 10_000)
    whole = f"all scores at once: {4e-6 * num_users * (num_items + 1):,.0f} MB"
    rows: list[Row] = []
    size = f"{num_users:,} users x {num_items:,} items"
    for name in SCORERS:
        megabytes, seconds = in_a_process(cost, name, num_users, num_items, EMBEDDING_DIM)
        print(f"{name}: {megabytes:.0f} MB, {seconds:.1f} s", flush=True)
        rows.append(row(f"{name}, memory", megabytes, "MB", f"<= {MEGABYTES}", f"{size}; {whole}"))
        rows.append(row(f"{name}, time", seconds, "s", "", size))
    if arguments.large:
        rows += large(QUICK_LARGE if arguments.quick else LARGE)
    rows += beside_tfrs(num_runs=3 if arguments.quick else 9)
    publish(rows, arguments.json)


def in_a_process(work: Callable[..., tuple[float, float]], *given: object) -> tuple[float, float]:
    with multiprocessing.get_context("spawn").Pool(1) as process:
        return process.apply(work, given)


def large(size: int) -> list[Row]:
    """As many users as items in bounded memory, compared with a bare matrix product."""
    megabytes, seconds = in_a_process(cost, "student", size, size, LARGE_DIM)
    flops, bare = in_a_process(bare_product, size, size, LARGE_DIM)
    what = f"{size:,} users x {size:,} items x {LARGE_DIM}"
    whole = f"all scores at once: {4e-6 * size * (size + 1):,.0f} MB"
    spent = f"{what}; {seconds:.1f} s, the product {bare:.1f} s at {flops / bare / 1e9:.0f} GFLOP/s"
    return [
        row("large student, memory", megabytes, "MB", f"<= {MEGABYTES}", f"{what}; {whole}"),
        row("large student, time", seconds, "s", "", what),
        row("large student, time over the bare product's", seconds / bare, "ratio", "", spent),
    ]


def bare_product(num_users: int, num_items: int, dim: int) -> tuple[float, float]:
    """Floating-point operations and seconds of all scores, discarded block by block."""
    random = np.random.default_rng(0)
    queries = random.standard_normal((num_users, dim), np.float32)
    items = random.standard_normal((dim, num_items + 1), np.float32)
    block = np.empty((MATMUL_ROWS, num_items + 1), np.float32)
    np.matmul(queries[:MATMUL_ROWS], items, out=block)  # its memory is allocated from here on
    start = time.monotonic()
    for first in range(0, num_users, MATMUL_ROWS):
        some = queries[first : first + MATMUL_ROWS]
        np.matmul(some, items, out=block[: len(some)])
    return 2.0 * num_users * (num_items + 1) * dim, time.monotonic() - start


def beside_tfrs(num_runs: int) -> list[Row]:
    """A student's hits in this package's metric and in FactorizedTopK, and the ratio of times."""
    splits = td.data.split_by_time(td.data.movielens_100k(), max_history=100)
    whole = replace(splits.catalogue, exclude_seen=False)
    test = splits.test
    queries = Queries(whole, test.users, test.histories, test.positives)
    student = td.models.RetrievalStudent.from_history(
        num_items=whole.num_items, max_history=100, embedding_dim=EMBEDDING_DIM, seed=0
    )
    student.compile(optimizer=tf.keras.optimizers.Adam(0.01))
    student.fit(splits.train.batches(32, seed=0), epochs=2, verbose=0)
    excluding, all_items = ModelScorer(student), ModelScorer(student, exclude_seen=False)

    def ours(scorer: ModelScorer, of: Queries) -> float:
        recall = td.evaluate(scorer, of, k=K).values["recall"]
        counts = np.array([len(positives) for positives in of.positives])
        return float(recall @ counts / counts.sum())

    factorized = {
        "tutorial": tfrs.layers.factorized_top_k.Streaming(k=K).index_from_dataset(
            candidates_of(all_items).batch(CANDIDATES_AT_A_TIME)
        ),
        "brute force": tfrs.layers.factorized_top_k.BruteForce(k=K).index_from_dataset(
            candidates_of(all_items).batch(CANDIDATES_AT_A_TIME)
        ),
    }
    runs: dict[str, Callable[[], float]] = {
        "ours": lambda: ours(all_items, queries),
        "ours, history left out": lambda: ours(excluding, test),
    }
    for name, index in factorized.items():
        runs[name] = factorized_top_k(index, all_items, queries, once=name == "brute force")
    found = {name: run() for name, run in runs.items()}  # traces the graphs
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(num_runs):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - start)
    seconds = {name: float(np.median(times)) for name, times in taken.items()}
    size = f"{len(queries)} users, {whole.num_items:,} items, {queries.num_positives:,} positives"
    rows = []
    for name in factorized:
        difference = abs(found[name] - found["ours"])
        detail = f"{size}; ours {found['ours']:.6f}, FactorizedTopK {found[name]:.6f}"
        rows.append(
            row(f"recall@{K}, difference to TFRS, {name}", difference, "", "<= 1e-06", detail)
        )
        goal = ">= 10" if name == "tutorial" else ""
        for own in ("ours", "ours, history left out"):
            detail = f"{1e3 * seconds[own]:.0f} ms, FactorizedTopK {1e3 * seconds[name]:.0f} ms"
            ratio = seconds[name] / seconds[own]
            rows.append(row(f"time of TFRS, {name}, over {own}", ratio, "ratio", goal, detail))
    return rows


def candidates_of(scorer: ModelScorer) -> tf.data.Dataset:
    """Ids and embeddings of all items, as TFRS takes them."""
    ids = np.arange(1, scorer.num_items + 1, dtype=np.int32)
    return tf.data.Dataset.from_tensor_slices((ids, scorer.catalogue.T[1:]))


def factorized_top_k(
    index: tfrs.layers.factorized_top_k.TopK, scorer: ModelScorer, queries: Queries, *, once: bool
) -> Callable[[], float]:
    """A run of the metric over all pairs of a query and a positive: the share of hits.

    Queries are encoded `once`, or for each of their positives.
    """
    metric = tfrs.metrics.FactorizedTopK(candidates=index, ks=(K,))
    rows = np.repeat(np.arange(len(queries)), [len(items) for items in queries.positives])
    ids = np.concatenate(queries.positives)
    items = tf.constant(scorer.catalogue.T)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, items.shape[1]]),
            tf.TensorSpec([None, items.shape[1]]),
            tf.TensorSpec([None], tf.int32),
        ]
    )
    def update(query: tf.Tensor, item: tf.Tensor, item_ids: tf.Tensor) -> None:
        metric.update_state(query, item, item_ids)

    def run() -> float:
        metric.reset_states()
        latest = [history[-scorer.model.max_history :] for history in queries.histories]
        histories = tf.constant(pad_histories(latest))
        embeddings = scorer.encode(histories) if once else None
        for start in range(0, len(ids), PAIRS_AT_A_TIME):
            part = slice(start, start + PAIRS_AT_A_TIME)
            positives = tf.gather(items, ids[part])
            encoded = (
                scorer.encode(tf.gather(histories, rows[part]))
                if embeddings is None
                else tf.gather(embeddings, rows[part])
            )
            update(encoded, positives, tf.constant(ids[part]))
        return float(metric.result()[0])

    return run


def planted(num_users: int, num_items: int) -> tuple[td.data.Queries, td.data.Windows]:
    """Queries of all users, and training windows of a tenth; items drawn by popularity."""
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


def scorer_of(
    name: str, queries: td.data.Queries, train: td.data.Windows, embedding_dim: int
) -> Scorer:
    """One of `SCORERS`; models are untrained, because training does not change the cost."""
    if name == "popularity":
        return td.popularity(train)
    if name == "EASE":
        return td.EASE(train)
    student = td.models.RetrievalStudent.from_history(
        num_items=queries.catalogue.num_items,
        max_history=MAX_HISTORY,
        embedding_dim=embedding_dim,
        seed=0,
    )
    if name == "teacher":
        return TeacherScorer(student, queries, max_history=MAX_HISTORY)
    return ModelScorer(student)


def cost(name: str, num_users: int, num_items: int, embedding_dim: int) -> tuple[float, float]:
    """Additional megabytes at the peak, and seconds."""
    queries, train = planted(num_users, num_items)
    scorer = scorer_of(name, queries, train, embedding_dim)
    first = queries.subset(np.arange(600))  # traces the graphs before the measurement
    warm = scorer_of(name, first, train, embedding_dim) if name == "teacher" else scorer
    td.evaluate(warm, first)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, start = resident("VmRSS"), time.monotonic()
    td.evaluate(scorer, queries).summary()
    return resident("VmHWM") - before, time.monotonic() - start


def resident(name: str) -> float:
    """Megabytes of the process: `VmRSS` is the current value, `VmHWM` the peak so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1]) / 1e6
    raise SystemExit("The memory of a process is measured on Linux alone.")


if __name__ == "__main__":
    main()
