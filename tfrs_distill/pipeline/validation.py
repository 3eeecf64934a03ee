"""Score a model of rows on validation with one figure, whatever its tasks are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.evaluation import metrics
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.tasks import Binary, NextItem, RankingTask

SCORE = "val_score"
BATCH_SIZE = 1024


def validation_score(
    tasks: Mapping[str, RankingTask],
    logits: Mapping[str, np.ndarray],
    examples: RankingExamples,
    k: int,
) -> float:
    """The mean over the tasks of a figure that is higher where the model is better.

    A yes or no has its AUC, a rating `1 - RMSE / standard deviation`, the next item its NDCG@k.

    Args:
        tasks: by name.
        logits: of every row, [num_rows, width] by task.
        examples: the rows, with labels.
        k: of the NDCG.
    """
    return float(np.mean([_score(task, logits[name], examples, k) for name, task in tasks.items()]))


def next_item_ndcg(logits: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """`1 / log2(1 + rank)` of each row's own item where it is among the k best, else 0.

    Args:
        logits: [num_rows, num_items].
        items: item indices, [num_rows], from 1; 0 is no item of the catalogue.
        k: of the best items.
    """
    of_item = np.take_along_axis(logits, np.maximum(items, 1)[:, None] - 1, axis=1)
    rank = 1 + (logits > of_item).sum(axis=1)
    return np.where((rank <= k) & (items > 0), 1.0 / np.log2(1.0 + rank), 0.0)


def _score(task: RankingTask, logits: np.ndarray, examples: RankingExamples, k: int) -> float:
    if isinstance(task, NextItem):
        return float(next_item_ndcg(logits, examples.features[columns.ITEM_ID], k).mean())
    labels = examples.labels_of(task.name)
    given = ~np.isnan(labels)
    predictions = np.asarray(task.predict(tf.constant(logits[given])))
    if isinstance(task, Binary):
        return float(metrics.auc(labels[given] > 0.5, predictions))
    return 1.0 - float(metrics.rmse(labels[given], predictions)) / float(np.std(labels[given]))


class ValidationScore(tf.keras.callbacks.Callback):
    """Adds `val_score` to the logs after every epoch; put it before what reads it.

    Args:
        model: such as the student of a distiller.
        examples: the validation rows.
        k: of the next item's NDCG.
    """

    log_name = SCORE

    def __init__(self, model: RankingModel, examples: RankingExamples, k: int) -> None:
        super().__init__()
        self.student, self.examples, self.k = model, examples, k
        self.logits = tf.function(model.logits, reduce_retracing=True)
        read = model.input_columns
        self.batches = [
            {name: batch[name] for name in read} for batch in examples.batches(BATCH_SIZE)
        ]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Score the validation rows."""
        parts = [self.logits(batch) for batch in self.batches]
        logits = {
            name: np.concatenate([part[name].numpy() for part in parts])
            for name in self.student.tasks
        }
        if logs is not None:
            logs[SCORE] = validation_score(self.student.tasks, logits, self.examples, self.k)
