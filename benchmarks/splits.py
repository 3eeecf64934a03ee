"""The effect of the split: the same cheap models under each way to split the data.

    python benchmarks/splits.py [--quick] [--json FILE]

Test NDCG@10 of popularity, EASE and time-decayed EASE (with fixed settings, so that only the split
differs) on MovieLens-100K: each user's interactions split by time 80/10/10, where interactions with
the same timestamp are in file order, shuffled (mean and extremes over seeds) or not separated by a
cut; leave one out; one time for all users. Each row also has the leaks and ties of the split, see
`split_facts`. The first line is the share of a user's consecutive ratings with the same timestamp.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

import tfrs_distill as td  # before TensorFlow: it selects Keras 2
from tfrs_distill.data.cuts import global_time_cuts, leave_one_out_cuts, user_time_cuts
from tfrs_distill.data.split_facts import split_facts
from tfrs_distill.data.splits import split_at
from tfrs_distill.evaluation import Scorer, metrics

from rows import Row, publish, row  # isort: skip

MODELS: dict[str, Callable[[td.data.Windows], Scorer]] = {
    "popularity": td.popularity,
    "EASE": td.EASE,
    "EASE, decay 8, l2 1000": lambda train: td.EASE(train, l2=1000.0, decay=8.0),
}
Cuts = Callable[[td.data.Interactions], np.ndarray]
SEEDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two seeds, as a smoke test")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    data = td.data.movielens_100k()
    rows = [row("ratings at the time of the one before", tied(data), "", "", data.name)]
    shuffled = [data.shuffle_ties(seed) for seed in range(2 if arguments.quick else SEEDS)]
    rows += figures("by user, ties in file order", [data], user_time_cuts)
    rows += figures("by user, ties shuffled", shuffled, user_time_cuts)
    rows += figures(
        "by user, ties kept whole", [data], lambda data: user_time_cuts(data, whole_ties=True)
    )
    rows += figures("leave one out", [data], leave_one_out_cuts)
    rows += figures("leave one out, ties shuffled", shuffled, leave_one_out_cuts)
    rows += figures("one time for all", [data], global_time_cuts)
    publish(rows, arguments.json)


def tied(data: td.data.Interactions) -> float:
    """The share of ratings with the timestamp of the same user's previous rating."""
    order = data.rows_by_time()
    users, times = data.users[order], data.timestamps[order]
    of_one = users[1:] == users[:-1]
    share: float = (times[1:] == times[:-1])[of_one].mean()
    return share


def figures(name: str, drawn: list[td.data.Interactions], cuts_of: Cuts) -> list[Row]:
    """NDCG@10 of every model: for one draw with an interval over users, for several the mean."""
    found: dict[str, list[np.ndarray]] = {model: [] for model in MODELS}
    for data in drawn:
        splits = split_at(data, cuts_of(data), max_history=32)
        for model, make in MODELS.items():
            found[model].append(td.evaluate(make(splits.train), splits.test).ndcg)
    facts = split_facts(drawn[0], cuts_of(drawn[0]))
    limits = (
        f"{len(splits.test.answerable_rows)} test users, {splits.train.num_labels} training labels "
        f"({facts.train_after_test:.1%} of the rows later than the median test); "
        f"{facts.tests_cut_in_one_time:.1%} of the tests begin in a tie; "
        f"{facts.tests_without_history:.1%} of the users not tested, without a history"
    )
    rows = []
    for model, of_draws in found.items():
        means = [float(ndcg.mean()) for ndcg in of_draws]
        if len(means) > 1:
            spread = f"{min(means):.4f} to {max(means):.4f} over {len(means)} seeds"
        else:
            low, high = metrics.bootstrap_interval(of_draws[0])
            spread = f"{low:.4f} to {high:.4f} over users (95 %)"
        value = float(np.mean(means))
        rows.append(row(f"{name}: {model}", value, "NDCG@10", "", f"{spread}; {limits}"))
    return rows


if __name__ == "__main__":
    main()
