"""Metrics by segment: parts of a split where models may differ.

Segments are by the popularity of items, the length of histories, and user attributes.
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
    """Some of a split's queries, each with the positives that count in this segment.

    Args:
        name: `"all"`, `"head"`, `"middle"`, `"tail"`, `"short"`, `"long"`, or an attribute and a
            group, such as `"gender: F"`.
        what: a description.
        rows: int [num_queries], the queries that have a positive here.
        positives: the positives that count, one array for each of `rows`.
        attribute: the user attribute of this group, such as `"gender"`; or empty.
    """

    name: str
    what: str
    rows: np.ndarray
    positives: tuple[np.ndarray, ...]
    attribute: str = ""


def popularity_counts(train: Windows) -> np.ndarray:
    """Return the number of training users of each item, int64 [num_items + 1]; 0 for padding."""
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
        counts: number of training users of each item, [num_items].
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
    """Return the segments of a split, the whole split first.

    Head items are the fifth of the catalogue with the most training users; tail items are those of
    the rest with fewer than 10 training users; middle items are the others. A query belongs to each
    of these segments in which it has a positive, and only those positives count there. A history is
    short if it is not longer than the split's median. Every group of a user attribute is a segment;
    groups of fewer than 30 queries are merged into `"small groups"`.

    Args:
        train: training windows, for the items' popularity.
        queries: the evaluated queries: `splits.test.answerable()`.
        user_groups: by attribute, the group of every user, one text per user index, `""` if
            missing; as returned by `UserAttributes.groups`.
        item_groups: by name, the description of a group of items and their indices; one more
            segment each.
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
    """Return a metric of recommended lists in every segment, one value per query in it.

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
    """Return `value`, the mean, and its 95 % bootstrap `interval`; None without values."""
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
    """Return the metrics of each model in each segment, see `segment_figures`.

    Args:
        parts: the segments.
        ndcgs: by model, `by_segment` of the NDCG.
        pairs: pairs of models to compare, the first minus the second.
        k: length of the lists.
        num_samples: number of resamples.
        seed: seed of the resampling.
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
    """Return the metrics of each model in each segment, as plain JSON.

    Groups of users have no common queries, so each is compared with all other users whose group is
    known by resampling both; two models are compared on the same queries.

    Args:
        parts: by segment, its description `what`, its number of `queries`, and the user `attribute`
            of the group, or "".
        ndcgs: by model and segment, float64 [num_queries of it], or [num_runs, num_queries]: then
            intervals are over queries and runs.
        pairs: pairs of models to compare, the first minus the second.
        metric: name of the values, such as `"ndcg@10"`.
        num_samples: number of resamples.
        seed: seed of the resampling.

    Returns:
        `metric`; `segments`, the parts; `models` by name and segment (`value`, `interval` and, for
        a group of users, `against_others`: `difference` and `interval`); `comparisons`, one dict
        per pair: `models`, and `segments` by name, see `metrics.paired_difference`. A segment
        without queries has no values.
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
