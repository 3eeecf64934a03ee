"""Score a model of rows on validation with one figure, whatever its tasks are."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.evaluation.row_score import in_unit_of_labels, row_score
from tfrs_distill.models.ranking_model import RankingModel

SCORE = "val_score"
BATCH_SIZE = 1024


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
            predictions = in_unit_of_labels(logits, self.student.tasks)
            logs[SCORE] = row_score(self.student.tasks, predictions, self.examples, self.k)
