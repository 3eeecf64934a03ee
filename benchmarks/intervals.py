"""How many users does a bootstrap interval need?

    python benchmarks/intervals.py [--quick] [--json FILE]

The test users of MovieLens-100K serve as the population. For small samples of them, drawn with
replacement, `metrics.bootstrap_interval` computes 95 % intervals, and the script counts how often
they contain the mean over all users: for the NDCG@10 of EASE, and for its paired difference to
popularity. It also prints the leaks and ties of the split by time, see `split_facts`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import tfrs_distill as td  # before TensorFlow: it selects Keras 2
from tfrs_distill.data.split_facts import split_facts
from tfrs_distill.evaluation import metrics

from rows import publish, row  # isort: skip

USERS = (10, 30, 100, 300)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer draws, as a smoke test")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    data = td.data.movielens_100k()
    facts = split_facts(data)
    print(f"{facts.train_after_test:.1%} of the training rows after the median user's test begins")
    print(f"{facts.tests_cut_in_one_time:.1%} of the tests begin inside one time stamp")
    splits = td.data.split_by_time(data)
    popularity, ease = (
        td.evaluate(scorer, splits.test).ndcg
        for scorer in (td.popularity(splits.train), td.EASE(splits.train))
    )
    draws = 100 if arguments.quick else 1000
    rows = []
    for name, values in (("NDCG@10", ease), ("difference", ease - popularity)):
        for users in USERS:
            share = coverage(values, users, draws)
            what = f"{name}, {users} users: covered by"
            rows.append(row(what, share, "", "", f"{draws} draws from {len(values)} users"))
    publish(rows, arguments.json)


def coverage(values: np.ndarray, users: int, draws: int) -> float:
    """How often the interval of this many users contains the mean of all."""
    random = np.random.default_rng(0)
    held = 0
    for seed in range(draws):
        low, high = metrics.bootstrap_interval(random.choice(values, users), seed=seed)
        held += low <= values.mean() <= high
    return held / draws


if __name__ == "__main__":
    main()
