"""A map of the item vectors of teacher and student, and the overlap of their neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.data.windows import Windows
from tfrs_distill.evaluation.item_space import neighbour_overlap, principal_components, turned_to
from tfrs_distill.evaluation.segments import popularity_counts, popularity_groups
from tfrs_distill.pipeline.stage import Result

ENCODES_ITEMS = "encode_candidates"  # a method that only models with item vectors have
MAX_POINTS = 600
NEIGHBOURS = 10
DECIMALS = 3  # of coordinates of unit vectors


def item_map(
    teachers: Mapping[str, Any], student: Any, twin: Any, train: Windows, *, seed: int
) -> Result:
    """The items with interactions in training, placed by the models' item vectors.

    Without a teacher that has item vectors, the map shows the student and its twin.

    Args:
        teachers: teachers with item vectors, of which the first is used: `"teacher"`, or members of
            an ensemble by name.
        student: encodes items.
        twin: likewise.
        train: for the catalogue and the popularity.
        seed: for sampling the items shown, if there are too many.

    Returns:
        `items` (titles), `groups` (0, 1, 2 for head, middle, tail) and `panels` (`model`, `x`, `y`,
        `explained`) of the items shown, out of `num_items`; `neighbours`: how many `k`, the share
        in common `by_pair` and by `chance`; `member` of the ensemble. Empty where fewer than two
        items have interactions.
    """
    catalogue, counts = train.catalogue, popularity_counts(train)[1:]
    interacted = np.flatnonzero(counts)
    if len(interacted) < 2:
        return {}
    member, teacher = next(iter(teachers.items()), ("", None))
    models = {"teacher": teacher, "student": student, "twin": twin}
    item_ids = tf.range(1, catalogue.num_items + 1)
    vectors = {
        name: tf.convert_to_tensor(model.encode_candidates(item_ids)).numpy()[interacted]
        for name, model in models.items()
        if model is not None
    }
    shown = np.sort(np.random.default_rng(seed).permutation(len(interacted))[:MAX_POINTS])
    first, second = list(vectors)[:2]
    maps = {name: principal_components(vectors[name]) for name in (first, second)}
    places = {first: maps[first][0], second: turned_to(maps[second][0], maps[first][0])}
    k = min(NEIGHBOURS, len(interacted) - 1)
    return {
        "member": member if member != "teacher" else "",
        "num_items": len(interacted),
        "items": [catalogue.titles[item] for item in interacted[shown]],
        "groups": popularity_groups(counts)[interacted[shown]].tolist(),
        "panels": [
            {
                "model": name,
                "x": places[name][shown, 0].round(DECIMALS).tolist(),
                "y": places[name][shown, 1].round(DECIMALS).tolist(),
                "explained": explained,
            }
            for name, (_, explained) in maps.items()
        ],
        "neighbours": {
            "k": k,
            "chance": k / (len(interacted) - 1),
            "by_pair": [
                {"models": [first, other], "overlap": overlap}
                for other in list(vectors)[1:]
                for overlap in [neighbour_overlap(vectors[first], vectors[other], shown, k)]
            ],
        },
    }
