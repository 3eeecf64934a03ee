"""What a ranking model says of rows, fit to be judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import tensorflow as tf

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError
from tfrs_distill.models.tasks import Binary, RankingTask

Predict = Callable[[RankingExamples], Mapping[str, np.ndarray]]
"""Rows to what is said of them: float [num_rows] by task, in label units or as probability."""


class BatchPredictor(Protocol):
    """A model that predicts for a batch, as `RankingModel` does."""

    def predictions(self, batch: Mapping[str, tf.Tensor]) -> Mapping[str, tf.Tensor]:
        """Float [num_rows] by task, in label units or as probability."""


def predictions_of(
    predict: BatchPredictor | Predict, examples: RankingExamples, batch_size: int
) -> Mapping[str, np.ndarray]:
    """Ask a model batch by batch, or a function once.

    Args:
        predict: a model or a function.
        examples: the rows.
        batch_size: rows a batch, for a model.
    """
    of_batch = getattr(predict, "predictions", None)
    if of_batch is None:
        return predict(examples)  # type: ignore[operator]
    compiled = tf.function(of_batch, reduce_retracing=True)
    said = [compiled(batch) for batch in examples.batches(batch_size)]
    return {task: np.concatenate([part[task].numpy() for part in said]) for task in said[0]}


def checked_predictions(
    task: RankingTask, said: Mapping[str, np.ndarray], num_rows: int, rows: np.ndarray
) -> np.ndarray:
    """What was said for a task of these rows.

    Args:
        task: what was asked.
        said: by task, of all rows.
        num_rows: how many these are.
        rows: int [some_rows], those with a label.

    Raises:
        InputError: nothing was said for the task, of another number of rows, NaN, or no
            probability where one was asked for.
    """
    if task.name not in said:
        raise InputError(
            f"The model says nothing for task {task.name!r}. It predicts: {sorted(said)}."
        )
    predictions = np.asarray(said[task.name])
    if predictions.shape != (num_rows,):
        raise InputError(
            f"The model must give task {task.name!r} one prediction a row, [{num_rows}]. Received: "
            f"shape {predictions.shape}."
        )
    predictions = predictions[rows]
    low, high = (0.0, 1.0) if isinstance(task, Binary) else (-np.inf, np.inf)
    wrong = ~(np.isfinite(predictions) & (predictions >= low) & (predictions <= high))
    if wrong.any():
        first = int(np.argmax(wrong))
        what = "a probability" if isinstance(task, Binary) else "a finite number"
        raise InputError(
            f"The model must give task {task.name!r} {what} for every row. Received: "
            f"{predictions[first]} for row {rows[first]}."
        )
    return predictions
