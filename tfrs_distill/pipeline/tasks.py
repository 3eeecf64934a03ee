"""The tasks of a recipe: labels of a row, their distillation and metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError
from tfrs_distill.models.tasks import (
    Binary,
    NextItem,
    Ordinal,
    RankingTask,
    RatingDistribution,
    Regression,
)
from tfrs_distill.models.tasks.levels import LevelsTask
from tfrs_distill.pipeline.data import RankingData
from tfrs_distill.pipeline.recipe import RankingRecipe
from tfrs_distill.pipeline.recipe.sections import LIKE, NEXT_ITEM, RATING
from tfrs_distill.teachers import row_logits

WHAT = {
    "recommended": "Whether the customer recommends the item.",
    NEXT_ITEM: "The item that comes next, among the whole catalogue without the history.",
}


def make_tasks(
    recipe: Any,
    data: RankingData,
    names: Iterable[str] | None = None,
    label_smoothing: float = 0.0,
) -> list[RankingTask]:
    """Return the recipe's tasks, or those in `names`, with checked labels; empty for retrieval.

    A regression has no classes, so its labels are not smoothed.

    Raises:
        InputError: labels are missing, out of range, or all equal.
    """
    if not isinstance(recipe, RankingRecipe):
        return []
    tasks = [_task(name, recipe, data, label_smoothing) for name in names or recipe.labels.tasks]
    for task in tasks:
        if not isinstance(task, NextItem):
            for part in (data.splits.train, data.splits.validation, data.splits.test):
                task.check(part.labels_of(task.name))
    return tasks


def logits_of_tasks(
    teacher: Any, examples: RankingExamples, tasks: Iterable[str]
) -> Mapping[str, np.ndarray]:
    """Return a teacher's logits of every row for these tasks, float32 [num_rows, width] by task.

    Raises:
        InputError: they are missing for a task or for a row.
    """
    found = row_logits(teacher, examples)
    missing = [task for task in tasks if task not in found]
    if missing:
        raise InputError(
            f"The teacher has logits of {', '.join(found) or 'no task'}, but none of "
            f"{', '.join(missing)}. Have it label every task of `labels.tasks`, or join it with "
            "others in an ensemble."
        )
    logits = examples.with_teacher({task: found[task] for task in tasks}).teacher_logits
    for task in tasks:
        unknown = np.isnan(logits[task]).any(axis=1)
        if unknown.any():
            raise InputError(
                f"The teacher has no logits of {task!r} for {int(unknown.sum())} of "
                f"{len(examples)} rows, first for row {int(np.argmax(unknown))}. They are needed "
                "where it is measured and where rows have no label."
            )
    return {task: logits[task] for task in tasks}


def what(task: RankingTask, liked_from: float) -> str:
    """Describe the prediction in words; for a rating, with the ends of its scale in the data.

    Example:
    >>> what(Regression("rating", low=0.5, high=5.0), 4.0), what(Binary("like"), 4.0)
    ('The rating, 0.5 to 5.', 'A rating of 4 or more.')
    """
    if task.name == LIKE:
        return f"A rating of {liked_from:g} or more."
    if isinstance(task, Regression):
        return f"The rating, {task.low:g} to {task.high:g}."
    if isinstance(task, LevelsTask):
        return f"The rating, {task.levels[0]:g} to {task.levels[-1]:g}."
    return WHAT[task.name]


def leading_metric(task: RankingTask, k: int) -> str:
    """Return the key of the metric by which models of a task are compared."""
    return f"ndcg@{k}" if task.leading_metric == "ndcg" else task.leading_metric


def _task(
    name: str, recipe: RankingRecipe, data: RankingData, label_smoothing: float
) -> RankingTask:
    if name == NEXT_ITEM:
        assert data.catalogue is not None  # the recipe's check
        return NextItem(name, data.catalogue.num_items, label_smoothing=label_smoothing)
    labels = data.splits.train.labels_of(name)
    if name != RATING:
        share = float(np.nanmean(labels))
        if name == LIKE and share in (0.0, 1.0):
            ratings = data.splits.train.labels_of(RATING)
            raise InputError(
                f"All ratings of {data.splits.name} are {'at least' if share else 'below'} "
                f"`data.liked_from` {recipe.data.liked_from:g}: in training they are from "
                f"{np.nanmin(ratings):g} to {np.nanmax(ratings):g}. Choose a number between, or "
                f'leave "{LIKE}" out of `labels.tasks`.'
            )
        likely = min(max(share, 0.01), 0.99)
        return Binary(name, initial_prediction=likely, label_smoothing=label_smoothing)
    parts = (data.splits.train, data.splits.validation, data.splits.test)
    scale = np.unique(np.concatenate([part.labels_of(name) for part in parts]))
    levels = tuple(float(level) for level in scale[~np.isnan(scale)])
    if recipe.labels.rating_as == "regression":
        return Regression(name, low=levels[0], high=levels[-1])
    kind = Ordinal if recipe.labels.rating_as == "ordinal" else RatingDistribution
    return kind(name, levels, label_smoothing=label_smoothing)
