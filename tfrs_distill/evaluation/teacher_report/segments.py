"""Parts of a split where a teacher may do well or badly: by item popularity, by history length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfrs_distill import columns
from tfrs_distill.data.splits import Queries
from tfrs_distill.data.windows import Windows

HEAD_SHARE = 0.2  # of the items
TAIL_BELOW = 10  # users who met the item in training


@dataclass(frozen=True)
class Segment:
    """Some of a split's queries, and of each the positives that count.

    Args:
        name: `"all"`, `"head"`, `"middle"`, `"tail"`, `"short"` or `"long"`.
        what: the same in words.
        rows: int [num_queries], the queries that have a positive here.
        positives: the positives that count, one array for each of `rows`.
    """

    name: str
    what: str
    rows: np.ndarray
    positives: tuple[np.ndarray, ...]


def popularity_counts(train: Windows) -> np.ndarray:
    """Return how many users met each item in training, int64 [num_items + 1]; 0 for padding."""
    width = train.catalogue.num_items + 1
    users = np.broadcast_to(train.users[:, None].astype(np.int64), train.history.shape)
    pairs = np.unique(
        np.concatenate([(users * width + items).ravel() for items in (train.history, train.labels)])
    )
    counts = np.bincount(pairs % width, minlength=width)
    counts[columns.PADDING] = 0
    return counts


def popularity_groups(counts: np.ndarray) -> np.ndarray:
    """Return 0 for head items, 1 for middle and 2 for tail items, int [num_items].

    Args:
        counts: how many users met each item in training, [num_items].
    """
    group = np.where(counts < TAIL_BELOW, 2, 1)
    group[np.argsort(-counts, kind="stable")[: round(HEAD_SHARE * len(counts))]] = 0
    return group


def segments(train: Windows, queries: Queries) -> list[Segment]:
    """Return the segments of a split, the whole first.

    Head items are the fifth of the catalogue that most users met in training, tail items those of
    the rest that fewer than 10 users met, middle items what is left. A query belongs to each of
    these segments that it has a positive in, and there only those positives count. A history is
    short if it is no longer than the split's median.

    Args:
        train: training windows, for the items' popularity.
        queries: the split.
    """
    group = popularity_groups(popularity_counts(train)[1:])
    lengths = np.array([len(history) for history in queries.histories])
    median = float(np.median(lengths))
    everything = np.arange(len(queries))
    found = [Segment("all", "all queries", everything, queries.positives)]
    for index, (name, what) in enumerate(
        (
            ("head", f"the {HEAD_SHARE:.0%} of items that most users met in training"),
            ("middle", "items between head and tail"),
            ("tail", f"other items that fewer than {TAIL_BELOW} users met in training"),
        )
    ):
        kept = [positives[group[positives - 1] == index] for positives in queries.positives]
        rows = np.flatnonzero([len(positives) for positives in kept])
        found.append(Segment(name, what, rows, tuple(kept[row] for row in rows)))
    for name, what, chosen in (
        ("short", f"histories of at most {median:g} items", lengths <= median),
        ("long", f"histories of more than {median:g} items", lengths > median),
    ):
        rows = np.flatnonzero(chosen)
        found.append(Segment(name, what, rows, tuple(queries.positives[row] for row in rows)))
    return found
