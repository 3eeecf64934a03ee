"""A comparison of teachers on validation, next to a twin trained without a teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfrs_distill.data.splits import Queries, Splits
from tfrs_distill.evaluation import metrics
from tfrs_distill.evaluation.agreement import overlap_matrix, rank_correlation_matrix
from tfrs_distill.evaluation.retrieval import ModelScorer, Scorer, TeacherScorer, evaluate
from tfrs_distill.evaluation.segments import (
    Segment,
    Values,
    by_segment,
    mean_with_interval,
    segments,
)
from tfrs_distill.evaluation.teacher_report.cost import cost
from tfrs_distill.evaluation.whole_catalogue import evenly, ranked_rows, whole_ranking
from tfrs_distill.models.two_tower import TwoTower
from tfrs_distill.progress import Progress, SilentProgress
from tfrs_distill.teachers.teacher import Teacher

TWIN = "twin"
TIMED = 256  # queries, at most, that are timed


def compare_teachers(
    teachers: Mapping[str, Teacher | TwoTower | Scorer],
    splits: Splits,
    *,
    twin: TwoTower | Scorer,
    k: int = 10,
    num_samples: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compare teachers on validation, to choose one before a student is trained.

    Every model ranks the whole catalogue for the same validation queries, without items of the
    history unless the catalogue's `exclude_seen` is False. Agreement and calibration need the whole
    ranking. They use at most 1,000 queries, and at most 2,500,000 scores, evenly spaced, with 4
    bytes per score and model. Calibration is for the next item (the first of a query's positives)
    among all items, seen or not, as in a `Distiller` by default. If the split's queries have
    candidates, everything is restricted to them.

    Args:
        teachers: by name: two-tower models, other teachers with `logits`, or scorers; a scorer has
            a calibration only if it scores all items, as those of this package do.
        splits: the data; `validation` is evaluated.
        twin: the student trained without a teacher.
        k: length of the lists.
        num_samples: number of bootstrap resamples.
        seed: seed of the bootstrap.
        progress: shows a bar over the models.

    Returns:
        Plain JSON: `k`, `seed`, `bootstrap_samples`, `queries`, `candidates` (their number, None
        for the whole catalogue); `segments` by name (`what`, `queries`); `models` by name, each
        with `quality` by segment (`ndcg@k` and `recall@k` with their 95 % intervals, `vs_twin`: the
        paired difference in NDCG and its interval), `calibration` (see `calibration.calibration`,
        or None) and `cost` (`items_ms_per_1000` or None, `queries_ms_per_1000`); `agreement`
        (`names`, `overlap@k`, `rank_correlation`).

    Raises:
        InputError: a teacher has no scores for a user of the split, or no query has a relevant
            item.
        ValueError: there is no teacher, one is called "twin", or one is neither a teacher nor a
            scorer.
    """
    models = _checked(teachers, twin)
    queries = splits.validation.answerable()
    parts = segments(splits.train, queries)
    some, timed = (queries.subset(rows) for rows in (ranked_rows(queries), evenly(queries, TIMED)))
    max_history = splits.train.max_history
    found: dict[str, dict[str, Any]] = {}
    lists, ranks, ndcgs = [], [], {}
    with (progress or SilentProgress()).bar("teachers", len(models)) as advance:
        for name, model in models.items():
            item_ids = evaluate(scorer_of(model, queries, max_history), queries, k=k).item_ids
            lists.append(item_ids)
            quality, ndcgs[name] = _quality(item_ids, parts, k, num_samples, seed)
            costs = cost(model, scorer_of(model, timed, max_history), timed, k)
            calibrated, ranked = whole_ranking(model, some, max_history=max_history)
            ranks.append(ranked)
            found[name] = {"quality": quality, "calibration": calibrated, "cost": costs}
            advance(note=name)
    for name in teachers:
        for part in parts:
            found[name]["quality"][part.name]["vs_twin"] = _difference(
                ndcgs[name][part.name] - ndcgs[TWIN][part.name], num_samples, seed
            )
    return {
        "k": k,
        "seed": seed,
        "bootstrap_samples": num_samples,
        "queries": len(queries),
        "candidates": None if queries.candidates is None else len(queries.candidates),
        "segments": {part.name: {"what": part.what, "queries": len(part.rows)} for part in parts},
        "models": found,
        "agreement": {
            "names": list(models),
            f"overlap@{k}": overlap_matrix(lists),
            "rank_correlation": rank_correlation_matrix(ranks),
        },
    }


def scorer_of(model: Any, queries: Queries, max_history: int) -> Scorer:
    """Return the scorer of a model: of a two-tower model, another teacher, or itself."""
    if isinstance(model, TwoTower):
        return ModelScorer(model, exclude_seen=queries.catalogue.exclude_seen)
    if hasattr(model, "logits"):
        return TeacherScorer(model, queries, max_history=max_history)
    scorer: Scorer = model
    return scorer


def _checked(teachers: Mapping[str, Any], twin: Any) -> dict[str, Any]:
    """Return all models by name, the twin last."""
    if not teachers:
        raise ValueError("A teacher report needs at least one teacher. Received: none.")
    if TWIN in teachers:
        raise ValueError('"twin" is the name of the model without a teacher. Received: a teacher.')
    models = dict(teachers) | {TWIN: twin}
    for name, model in models.items():
        if not hasattr(model, "logits") and not callable(model):
            raise ValueError(
                f"Model {name!r} must have `logits(batch, candidate_ids)`, or be a scorer, "
                f"called with `(histories, k)`. Received: {type(model).__name__}."
            )
    return models


def _quality(
    item_ids: np.ndarray, parts: list[Segment], k: int, num_samples: int, seed: int
) -> tuple[dict[str, dict[str, Any]], Values]:
    """Return figures by segment, and each query's NDCG by segment."""
    figures: dict[str, dict[str, Any]] = {part.name: {} for part in parts}
    for metric in (metrics.recall, metrics.ndcg):
        values, name = by_segment(metric, item_ids, parts), f"{metric.__name__}@{k}"
        for part in parts:
            found = mean_with_interval(values[part.name], num_samples, seed)
            figures[part.name] |= {name: found["value"], f"{name}_interval": found["interval"]}
    return figures, values


def _difference(values: np.ndarray, num_samples: int, seed: int) -> dict[str, Any]:
    found = mean_with_interval(values, num_samples, seed)
    return {"difference": found["value"], "interval": found["interval"]}
