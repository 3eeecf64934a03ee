"""Scores and ranks of every item for some queries, for calibration and rank correlation."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfrs_distill.data.splits import Queries
from tfrs_distill.evaluation.agreement import centred_ranks
from tfrs_distill.evaluation.calibration_error import calibration
from tfrs_distill.evaluation.retrieval import TeacherScorer
from tfrs_distill.evaluation.top_k import BlockScorer, all_scores, attributes_for, top_k_unseen

WHOLE_RANKINGS = 1000  # queries, at most, for which the whole catalogue is ranked
WHOLE_SCORES = 2_500_000  # total scores, at most: calibration sorts them in float64


def evenly(queries: Queries, at_most: int) -> np.ndarray:
    """Return the rows of all queries, or of `at_most` evenly spaced ones."""
    places = np.linspace(0, len(queries) - 1, min(len(queries), at_most))
    return places.round().astype(int)


def ranked_rows(queries: Queries) -> np.ndarray:
    """Return the rows of evenly spaced queries that can be ranked fully in bounded memory."""
    return evenly(queries, min(WHOLE_RANKINGS, max(1, WHOLE_SCORES // queries.catalogue.num_items)))


def whole_ranking(
    model: Any, queries: Queries, *, max_history: int
) -> tuple[dict[str, Any] | None, np.ndarray]:
    """Return the calibration of a model for queries, and its rank of every item.

    Calibration is for the next item (the first of a query's positives) among the candidates, seen
    or not; ranks are without the history, unless the catalogue's `exclude_seen` is False.

    Args:
        model: a teacher with `logits`; scores, float [num_queries, num_items]; or a scorer.
        queries: a few queries, each with a positive: see `ranked_rows`.
        max_history: positions in a window, as a teacher reads them.

    Returns:
        See `calibration`, None without finite scores of all candidates; and `centred_ranks`.
    """
    num_items = queries.catalogue.num_items
    everything = np.arange(1, num_items + 1)
    candidates = everything if queries.candidates is None else np.sort(queries.candidates)
    others = np.setdiff1d(everything, candidates)
    excluded = [others] * len(queries)
    if queries.catalogue.exclude_seen:
        excluded = [np.concatenate([history, others]) for history in queries.histories]
    table, calibrated = _scores_of_all_items(model, queries, max_history), None
    if table is None:
        scores, item_ids = model(queries.histories, num_items, *attributes_for(model, queries))
        return None, centred_ranks(scores, item_ids, excluded, num_items)
    if np.isfinite(table[:, candidates]).all():
        next_items = np.array([positives[0] for positives in queries.positives])
        calibrated = calibration(table[:, candidates], np.searchsorted(candidates, next_items))
    scores, item_ids = top_k_unseen(table, excluded, num_items)
    return calibrated, centred_ranks(scores, item_ids, excluded, num_items)


def _scores_of_all_items(model: Any, queries: Queries, max_history: int) -> np.ndarray | None:
    """Return the scores, float32 [num_queries, num_items + 1]; None of a scorer of lists alone."""
    if hasattr(model, "logits"):
        return TeacherScorer(model, queries, max_history=max_history).logits()
    if isinstance(model, np.ndarray):
        return np.pad(model.astype(np.float32), [(0, 0), (1, 0)])
    if isinstance(model, BlockScorer):
        return all_scores(model, queries)
    return None
