"""Retrieve, then rank: the candidate lists, and the ranking student trained on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.data.splits import Queries, pad_histories
from tfrs_distill.evaluation import metrics
from tfrs_distill.evaluation.retrieval import ModelScorer
from tfrs_distill.evaluation.two_stage import ranking_scores
from tfrs_distill.losses import (
    ListMLEDistillation,
    PairwiseDistillation,
    RankingDistillation,
)
from tfrs_distill.models import TwoTower
from tfrs_distill.models.features import HistoryFeature, ItemFeature, NeighbourFeature
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.ranking_student import RankingStudent
from tfrs_distill.models.tasks import Binary
from tfrs_distill.pipeline.models import hidden_units
from tfrs_distill.pipeline.recipe import TwoStageRecipe
from tfrs_distill.pipeline.recipe.sections import ListsSettings
from tfrs_distill.pipeline.validation import SCORE
from tfrs_distill.serving.rerank import rerank
from tfrs_distill.teachers.candidate_lists import RELEVANCE

ROWS_AT_A_TIME = 8192
# Weights of the first stage's logit relative to the second's probability; chosen by validation.
RETRIEVAL_WEIGHTS = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
LIST_LOSSES: dict[str, Callable[[TwoStageRecipe], tf.keras.losses.Loss]] = {
    "listmle": lambda recipe: ListMLEDistillation(top_k=recipe.evaluation.k),
    "pairwise": lambda recipe: PairwiseDistillation(
        temperature=recipe.distillation.temperature, ndcg_weights=True
    ),
    "ranks": lambda recipe: RankingDistillation(
        k=recipe.evaluation.k, position_decay=0.5, discrepancy=0.0
    ),
}


def make_second_stage(
    recipe: TwoStageRecipe,
    item_vectors: np.ndarray,
    item_item: np.ndarray,
    lists: RankingExamples,
    dropout: float,
    label_smoothing: float,
) -> RankingStudent:
    """Create an untrained ranking student that reads a history, an item and their similarity.

    Args:
        recipe: the run.
        item_vectors: the first stage's item vectors, float32 [num_items, dim].
        item_item: item-item weights, float32 [num_items + 1, num_items + 1].
        lists: the training lists.
        dropout: of this student.
        label_smoothing: of its labels.
    """
    seed, max_history = recipe.seed, recipe.lists.max_history
    item = ItemFeature(len(item_vectors), recipe.student.embedding_dim, item_vectors, seed=seed)
    relevance = Binary(
        RELEVANCE,
        initial_prediction=float(lists.labels_of(RELEVANCE).mean()),
        label_smoothing=label_smoothing,
    )
    history = HistoryFeature(item, max_history, reads_ratings=False, dropout=dropout, seed=seed)
    return RankingStudent(
        [item, history, _neighbours(item_item, recipe.lists, lists)],
        [relevance],
        num_cross_layers=recipe.student.num_cross_layers,
        hidden_units=hidden_units(recipe.student.hidden_dim),
        dropout=dropout,
        seed=seed,
    )


def _neighbours(
    item_item: np.ndarray, named: ListsSettings, lists: RankingExamples
) -> NeighbourFeature:
    """Return the feature of nearest neighbours, with standard deviation 1 over the lists' rows."""
    feature = NeighbourFeature.from_weights(item_item, named.num_neighbours, named.max_history)
    values = np.concatenate([feature(batch).numpy() for batch in lists.batches(ROWS_AT_A_TIME)])
    feature.scale = 1.0 / (float(values.std()) or 1.0)
    return feature


class ValidationLists(tf.keras.callbacks.Callback):
    """Adds the NDCG of retrieve-then-rank to the logs, as `val_score`, after every epoch.

    It is the NDCG with the best of `RETRIEVAL_WEIGHTS`, which is stored in `weights`, one per
    epoch.
    """

    log_name = SCORE

    def __init__(
        self, recipe: TwoStageRecipe, student: RankingModel, first: TwoTower, queries: Queries
    ) -> None:
        super().__init__()
        self.queries, self.k = queries.answerable(), recipe.evaluation.k
        self.histories = pad_histories(self.queries.histories)
        scorer = ModelScorer(first, exclude_seen=queries.catalogue.exclude_seen)
        self.found = scorer(self.queries.histories, recipe.lists.num_candidates)
        self.scores = ranking_scores(student, RELEVANCE)
        self.weights: list[float] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Rank the candidates with the current student."""
        first, candidates = self.found
        second = self.scores(self.histories, candidates)
        ndcg = []
        for weight in RETRIEVAL_WEIGHTS:
            _, ordered = rerank(second, first, candidates, weight=weight, k=self.k)
            ndcg.append(float(metrics.ndcg(ordered, self.queries.positives).mean()))
        self.weights.append(RETRIEVAL_WEIGHTS[int(np.argmax(ndcg))])
        if logs is not None:
            logs[SCORE] = max(ndcg)
