"""Parts of a split where a model may do well or badly, and how well each model does there.

By the popularity of the items, by the length of the histories, by what is known of the users.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrs_distill import columns
from tfrs_distill.data.splits import Queries
from tfrs_distill.data.windows import Windows
from tfrs_distill.evaluation import metrics

HEAD_SHARE = 0.2  # of the items
TAIL_BELOW = 10  # users who met the item in training
SMALLEST_GROUP = 30  # queries; smaller groups of users are one segment together
SMALL_GROUPS = "small groups"  # its name

Values = Mapping[str, np.ndarray]  # of a metric by segment, float [num_queries of it]
ListMetric = Callable[[np.ndarray, Sequence[np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class Segment:
    """Some of a split's queries, and of each the positives that count.

    Args:
        name: `"all"`, `"head"`, `"middle"`, `"tail"`, `"short"`, `"long"`, or an attribute and a
            group, such as `"gender: F"`.
        what: the same in words.
        rows: int [num_queries], the queries that have a positive here.
        positives: the positives that count, one array for each of `rows`.
        attribute: of the users, by which this is a group of them, such as `"gender"`; or empty.
    """

    name: str
    what: str
    rows: np.ndarray
    positives: tuple[np.ndarray, ...]
    attribute: str = ""


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


def segments(
    train: Windows,
    queries: Queries,
    user_groups: Mapping[str, Sequence[str]] | None = None,
    item_groups: Mapping[str, tuple[str, np.ndarray]] | None = None,
) -> list[Segment]:
    """Return the segments of a split, the whole first.

    Head items are the fifth of the catalogue that most users met in training, tail items those of
    the rest that fewer than 10 users met, middle items what is left. A query belongs to each of
    these segments that it has a positive in, and there only those positives count. A history is
    short if it is no longer than the split's median. Of each attribute every group of users is a
    segment; those of fewer than 30 queries are one together, `"small groups"`.

    Args:
        train: training windows, for the items' popularity.
        queries: the queries that are evaluated: `splits.test.answerable()`.
        user_groups: by attribute, the group of every user, one text a user index, `""` where it is
            not known; such as `UserAttributes.groups` gives.
        item_groups: by name, what a group of items is, and their indices: one more segment each.
    """
    group = popularity_groups(popularity_counts(train)[1:])
    lengths = np.array([len(history) for history in queries.histories])
    median = float(np.median(lengths))
    everything = np.arange(len(queries))
    found = [Segment("all", "all queries", everything, queries.positives)]
    of_popularity = (
        ("head", f"the {HEAD_SHARE:.0%} of items that most users met in training"),
        ("middle", "items between head and tail"),
        ("tail", f"other items that fewer than {TAIL_BELOW} users met in training"),
    )
    groups_of_items = {
        name: (what, np.flatnonzero(group == index) + 1)
        for index, (name, what) in enumerate(of_popularity)
    }
    for name, (what, items) in (groups_of_items | dict(item_groups or {})).items():
        belongs = np.zeros(len(group) + 1, bool)
        belongs[items] = True
        kept = [positives[belongs[positives]] for positives in queries.positives]
        rows = np.flatnonzero([len(positives) for positives in kept])
        found.append(Segment(name, what, rows, tuple(kept[row] for row in rows)))
    for name, what, chosen in (
        ("short", f"histories of at most {median:g} items", lengths <= median),
        ("long", f"histories of more than {median:g} items", lengths > median),
    ):
        found.append(_of_rows(name, what, np.flatnonzero(chosen), queries))
    for attribute, groups in (user_groups or {}).items():
        of_queries = np.array([groups[user] for user in queries.users], str)
        names, sizes = np.unique(of_queries, return_counts=True)
        small = [name for name, size in zip(names, sizes) if size < SMALLEST_GROUP and name]
        if len(small) > 1:
            of_queries = np.where(np.isin(of_queries, small), SMALL_GROUPS, of_queries)
        for name in np.unique(of_queries[of_queries != ""]):
            what = f"users whose {attribute} is {name}"
            if name == SMALL_GROUPS:
                what = f"users whose {attribute} is one of {', '.join(small)}"
            rows = np.flatnonzero(of_queries == name)
            found.append(_of_rows(f"{attribute}: {name}", what, rows, queries, attribute))
    return found


def _of_rows(
    name: str, what: str, rows: np.ndarray, queries: Queries, attribute: str = ""
) -> Segment:
    positives = tuple(queries.positives[row] for row in rows)
    return Segment(name, what, rows, positives, attribute)


def by_segment(metric: ListMetric, item_ids: np.ndarray, parts: Sequence[Segment]) -> Values:
    """Return a metric of recommended lists in every segment, one value a query of it.

    Args:
        metric: of `evaluation.metrics`: `metric(item_ids, positives)`.
        item_ids: int [num_queries, k], the lists of all queries.
        parts: the segments of the same queries.
    """
    return {
        part.name: metric(item_ids[part.rows], part.positives) if len(part.rows) else np.zeros(0)
        for part in parts
    }


def mean_with_interval(values: np.ndarray, num_samples: int, seed: int) -> dict[str, Any]:
    """Return `value`, the mean, and its 95 % bootstrap `interval`; None of no values."""
    if not values.size:
        return {"value": None, "interval": None}
    bounds = metrics.bootstrap_interval(values, num_samples=num_samples, seed=seed)
    return {"value": float(values.mean()), "interval": list(bounds)}


def segment_report(
    parts: Sequence[Segment],
    ndcgs: Mapping[str, Values],
    pairs: Sequence[tuple[str, str]],
    *,
    k: int,
    num_samples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return how well each model does in each segment, see `segment_figures`.

    Args:
        parts: the segments.
        ndcgs: by model, `by_segment` of the NDCG.
        pairs: the models whose difference is wanted, the first less the second.
        k: length of the lists.
        num_samples: resamples.
        seed: of the resampling.
    """
    described = {
        part.name: {"what": part.what, "queries": len(part.rows), "attribute": part.attribute}
        for part in parts
    }
    return segment_figures(described, ndcgs, pairs, f"ndcg@{k}", num_samples=num_samples, seed=seed)


def segment_figures(
    parts: Mapping[str, Mapping[str, Any]],
    ndcgs: Mapping[str, Values],
    pairs: Sequence[tuple[str, str]],
    metric: str,
    *,
    num_samples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return how well each model does in each segment, as plain JSON.

    Groups of users have no query in common, so each is compared with all other users whose group
    is known by resampling both; two models are compared on the same queries.

    Args:
        parts: by segment `what` it is, how many `queries` it has, and the `attribute` of users
            that it is a group of, or "".
        ndcgs: by model and segment, float64 [num_queries of it], or [num_runs, num_queries]: then
            intervals are over queries and runs.
        pairs: the models whose difference is wanted, the first less the second.
        metric: what the values are, such as `"ndcg@10"`.
        num_samples: resamples.
        seed: of the resampling.

    Returns:
        `metric`; `segments`, the parts; `models` by name and segment
        (`value`, `interval` and, of a group of users, `against_others`: `difference` and
        `interval`); `comparisons`, one dict a pair: `models`, and `segments` by name, see
        `metrics.paired_difference`. A segment without queries has no figures.
    """
    samples = {"num_samples": num_samples, "seed": seed}
    there = {name: part for name, part in parts.items() if part["queries"]}

    def of_group(name: str, values: Values) -> dict[str, Any]:
        attribute = there[name]["attribute"]
        others = [
            values[other]
            for other, part in there.items()
            if part["attribute"] == attribute and other != name
        ]
        if not attribute or not others:
            return {}
        rest = np.concatenate(others, axis=-1)
        return {"against_others": metrics.independent_difference(values[name], rest, **samples)}

    return {
        "metric": metric,
        "segments": dict(parts),
        "models": {
            model: {
                name: mean_with_interval(values[name], num_samples, seed) | of_group(name, values)
                for name in there
            }
            for model, values in ndcgs.items()
        },
        "comparisons": [
            {
                "models": [one, other],
                "segments": {
                    name: metrics.paired_difference(ndcgs[one][name], ndcgs[other][name], **samples)
                    for name in there
                },
            }
            for one, other in pairs
        ],
    }
