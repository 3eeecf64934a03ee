"""Create the models of rows from a recipe: the student (and twin), and a wide teacher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfrs_distill import columns
from tfrs_distill.data.item_statistics import item_statistics
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.models.features import (
    HistoryFeature,
    IdFeature,
    ItemFeature,
    NumberFeature,
    RankingFeature,
    TextFeature,
)
from tfrs_distill.models.ranking_student import RankingStudent
from tfrs_distill.models.task_balance import (
    FixedWeights,
    GradientNormWeights,
    TaskBalance,
    UncertaintyWeights,
)
from tfrs_distill.models.tasks import NextItem, RankingTask
from tfrs_distill.pipeline.data import WORDS, RankingData
from tfrs_distill.pipeline.recipe import RankingRecipe
from tfrs_distill.pipeline.recipe.sections import RATING
from tfrs_distill.teachers.deep_cross_teacher import DeepCrossTeacher

QUERY, ITEM = "query", "item"
BALANCES: dict[str, type[TaskBalance]] = {
    "fixed": FixedWeights,
    "uncertainty": UncertaintyWeights,
    "gradient-norm": GradientNormWeights,
}
UNKNOWN_SHARE = 0.02  # of the rows, with hidden id, to train the embedding of unknown ids


def make_student(
    recipe: RankingRecipe, data: RankingData, tasks: Sequence[RankingTask], dropout: float
) -> RankingStudent:
    """Create an untrained student; its twin is the same.

    For films it reads the item, its attributes, its rating statistics in training, and the history
    with its ratings; for reviews the words, the item, the age and the class.
    """
    named, seed = recipe.student, recipe.seed
    features = (
        _of_reviews(recipe, data, dropout)
        if data.words is not None
        else _of_history(
            recipe, data, named.embedding_dim, _of_items(data, data.splits.train), dropout, seed
        )
    )
    return RankingStudent(
        features,
        tasks,
        num_cross_layers=named.num_cross_layers,
        hidden_units=hidden_units(named.hidden_dim),
        dropout=dropout,
        task_balance=BALANCES[recipe.labels.balance](),
        seed=seed,
    )


def make_teacher(
    recipe: RankingRecipe,
    data: RankingData,
    tasks: Sequence[RankingTask],
    text_vectors: np.ndarray | None,
    examples: RankingExamples,
    seed: int,
) -> DeepCrossTeacher:
    """Create an untrained wide teacher, with its privileged features.

    A teacher of the next item alone compares history and items, so it has no other features.

    Args:
        recipe: the run.
        data: its rows.
        tasks: the tasks it predicts.
        text_vectors: float32 [num_items, text_dim], if it reads the items' texts.
        examples: its training rows, from which the items' rating statistics are computed.
        seed: of its weights.
    """
    named = recipe.teacher
    vectors = _of_items(data, examples)
    if text_vectors is not None:
        vectors = np.concatenate([vectors, text_vectors], axis=1)
    features = _of_history(recipe, data, named.embedding_dim, vectors, named.dropout, seed)
    if all(isinstance(task, NextItem) for task in tasks):
        return DeepCrossTeacher(features, tasks, num_cross_layers=0, hidden_units=(), seed=seed)
    if "user" in named.privileged:
        features += _of_user(data, named.embedding_dim, seed)
    if "context" in named.privileged:
        dim = max(named.embedding_dim // 4, 1)
        features += [
            IdFeature(name, len(data.vocabularies[name]), dim, side=QUERY, seed=seed + place)
            for place, name in enumerate(("hour_of_day", "weekday"))
        ]
        features.append(_number("user_mean_rating", data))
    return DeepCrossTeacher(
        features,
        tasks,
        num_cross_layers=named.num_cross_layers,
        hidden_units=hidden_units(named.hidden_dim),
        dropout=named.dropout,
        task_balance=BALANCES[recipe.labels.balance](),
        seed=seed,
    )


def hidden_units(width: int) -> tuple[int, int]:
    """Return the widths of two dense layers, the second half as wide."""
    return width, max(width // 2, 1)


def _of_history(
    recipe: RankingRecipe,
    data: RankingData,
    dim: int,
    item_vectors: np.ndarray,
    dropout: float,
    seed: int,
) -> list[RankingFeature]:
    assert data.catalogue is not None  # films have one
    item = ItemFeature(
        data.catalogue.num_items, dim, item_vectors, id_dropout=UNKNOWN_SHARE, seed=seed
    )
    history = HistoryFeature(
        item, recipe.data.max_history, dropout=dropout, seed=seed, **_range_of_ratings(data)
    )
    return [item, history]


def _range_of_ratings(data: RankingData) -> dict[str, Any]:
    """Return the lowest and the highest rating in training, as arguments of `HistoryFeature`."""
    ratings = data.splits.train.labels.get(RATING, np.zeros(0))
    ratings = ratings[~np.isnan(ratings)]
    low, high = float(ratings.min(initial=np.inf)), float(ratings.max(initial=-np.inf))
    return {"low": low, "high": high} if low < high else {}  # if not, it does not matter


def _of_items(data: RankingData, examples: RankingExamples) -> np.ndarray:
    """Return constants of the items: their rating statistics in the rows, and their attributes."""
    assert data.catalogue is not None  # films have one
    statistics = item_statistics(examples, data.catalogue.num_items)
    if data.item_vectors is None:
        return statistics
    return np.concatenate([statistics, data.item_vectors], axis=1)


def _of_user(data: RankingData, dim: int, seed: int) -> list[RankingFeature]:
    """Return features of the user's id, and, if in the data, age, gender and occupation."""
    found: list[RankingFeature] = [
        IdFeature(
            columns.USER_ID,
            len(data.vocabularies[columns.USER_ID]),
            dim,
            side=QUERY,
            id_dropout=UNKNOWN_SHARE,
            seed=seed,
        )
    ]
    small = max(dim // 4, 1)
    for place, name in enumerate(("gender", "occupation")):
        if name in data.splits.train.features:
            size = len(data.vocabularies[name])
            found.append(IdFeature(name, size, small, side=QUERY, seed=seed + 10 + place))
    if "age" in data.splits.train.features:
        found.append(_number("age", data))
    return found


def _of_reviews(recipe: RankingRecipe, data: RankingData, dropout: float) -> list[RankingFeature]:
    assert data.words is not None
    named, seed = recipe.words, recipe.seed
    return [
        TextFeature(
            WORDS,
            data.words.num_words,
            named.embedding_dim,
            QUERY,
            named.num_bigram_buckets,
            dropout=dropout,
            seed=seed,
        ),
        _number("age", data),
        *(
            IdFeature(
                name,
                len(data.vocabularies[name]),
                recipe.student.embedding_dim,
                side=ITEM,
                id_dropout=UNKNOWN_SHARE,
                seed=seed + place,
            )
            for place, name in enumerate((columns.ITEM_ID, "class_name"))
        ),
    ]


def _number(name: str, data: RankingData) -> NumberFeature:
    return NumberFeature.fit(name, data.splits.train.features[name], QUERY)
