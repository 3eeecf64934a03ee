"""A single score of predictions on rows, for any tasks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import metrics
from tfrs_distill.models.tasks import Binary, NextItem, RankingTask


def row_score(
    tasks: Mapping[str, RankingTask],
    predictions: Mapping[str, np.ndarray],
    examples: RankingExamples,
    k: int,
) -> float:
    """Return the mean over the tasks of a score; higher is better.

    A binary task has its AUC, a rating `1 - RMSE / standard deviation`, the next item its NDCG@k.

    Args:
        tasks: by name.
        predictions: predictions for every row by task, [num_rows]; for the next item, scores of all
            items, [num_rows, num_items].
        examples: the rows, with labels.
        k: of the NDCG.
    """
    scores = [_score(task, predictions[name], examples, k) for name, task in tasks.items()]
    return float(np.mean(scores))


def name_of_row_score(tasks: Mapping[str, RankingTask], k: int) -> str:
    """Return the name of `row_score` for people.

    Example:
    >>> name_of_row_score({"like": Binary("like")}, 10)
    'AUC of like'
    """
    names = []
    for name, task in tasks.items():
        figure = "1 - RMSE / standard deviation"
        if isinstance(task, (Binary, NextItem)):
            figure = f"NDCG@{k}" if isinstance(task, NextItem) else "AUC"
        names.append(f"{figure} of {name}")
    return names[0] if len(names) == 1 else f"mean of {', '.join(names)}"


def in_unit_of_labels(
    logits: Mapping[str, np.ndarray], tasks: Mapping[str, RankingTask]
) -> dict[str, np.ndarray]:
    """Convert logits to predictions in label units; for the next item they stay logits."""
    return {
        name: values
        if isinstance(tasks[name], NextItem)
        else np.asarray(tasks[name].predict(tf.constant(values)))
        for name, values in logits.items()
    }


def next_item_ndcg(scores: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """Return `1 / log2(1 + rank)` of each row's own item if it is in the top k, else 0.

    Ties rank the row's own item last, so that constant scores have no hits; the same holds for NaN.

    Args:
        scores: [num_rows, num_items].
        items: item indices, [num_rows], from 1; 0 is not an item of the catalogue.
        k: number of positions.
    """
    of_item = np.take_along_axis(scores, np.maximum(items, 1)[:, None] - 1, axis=1)
    rank = (~(scores < of_item)).sum(axis=1)  # itself is counted
    return np.where((rank <= k) & (items > 0), 1.0 / np.log2(1.0 + rank), 0.0)


def _score(task: RankingTask, values: np.ndarray, examples: RankingExamples, k: int) -> float:
    if isinstance(task, NextItem):
        return float(next_item_ndcg(values, examples.features[columns.ITEM_ID], k).mean())
    labels = examples.labels_of(task.name)
    given = ~np.isnan(labels)
    if isinstance(task, Binary):
        return float(metrics.auc(labels[given] > 0.5, values[given]))
    error = float(metrics.rmse(labels[given], values[given]))
    return 1.0 - error / deviation_of_labels(task.name, examples)


def deviation_of_labels(name: str, examples: RankingExamples) -> float:
    """Return the standard deviation of a task's labels.

    Raises:
        InputError: all labels are equal.
    """
    labels = examples.labels_of(name)
    deviation = float(np.nanstd(labels))
    if not deviation > 0:
        raise InputError(
            f"Labels of {name!r} must differ, because the score divides an error by their standard "
            f"deviation. Received: {np.count_nonzero(~np.isnan(labels))} labels, all of them "
            f"{np.nanmax(labels):g}. Give more rows, or remove the task."
        )
    return deviation
