"""Keras' metrics, updated with labels and logits as in `tfrs.tasks.Ranking`."""

from __future__ import annotations

from typing import Any, Protocol

import tensorflow as tf


class Predicts(Protocol):
    """The part of a task that its metrics need."""

    name: str

    def targets(self, labels: tf.Tensor) -> tf.Tensor:
        """Labels as the task's loss reads them; for `NextItem` the columns of their logits."""

    def predict(self, logits: tf.Tensor) -> tf.Tensor:
        """Predict labels: [num_rows, width] to float [num_rows]."""


class _PredictionMetric:
    """A mixin that converts logits into predictions for a Keras metric.

    Args:
        task: computes the predictions; the metric's name begins with its name.
    """

    suffix = ""

    def __init__(self, task: Predicts) -> None:
        super().__init__(name=f"{task.name}_{self.suffix}")  # type: ignore[call-arg]
        self.task = task

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Add a batch: labels [num_rows], logits [num_rows, width], weights [num_rows]."""
        # A last axis of 1, because Keras' errors are means over the last axis.
        labels, predictions = self.compared(y_true, self.task.predict(y_pred))
        return super().update_state(  # type: ignore[misc]
            labels[:, None], predictions[:, None], sample_weight
        )

    def compared(self, labels: tf.Tensor, predictions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the labels and predictions that the metric compares."""
        return labels, predictions


class RootMeanSquaredError(_PredictionMetric, tf.keras.metrics.RootMeanSquaredError):
    """`sqrt(mean (y - prediction)^2)`."""

    suffix = "root_mean_squared_error"


class MeanAbsoluteError(_PredictionMetric, tf.keras.metrics.MeanAbsoluteError):
    """`mean |y - prediction|`."""

    suffix = "mean_absolute_error"


class AUC(_PredictionMetric, tf.keras.metrics.AUC):
    """Area under the ROC curve; a soft label above 1/2 is positive."""

    suffix = "auc"

    def compared(self, labels: tf.Tensor, predictions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Classes and probabilities."""
        return tf.cast(labels > 0.5, tf.float32), predictions


class Accuracy(_PredictionMetric, tf.keras.metrics.Accuracy):
    """Share of rows whose label and probability are on the same side of 1/2."""

    suffix = "accuracy"

    def compared(self, labels: tf.Tensor, predictions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Classes."""
        return tf.cast(labels > 0.5, tf.float32), tf.cast(predictions > 0.5, tf.float32)


class HitRate(tf.keras.metrics.Mean):
    """Share of rows whose item is among the k most likely; ties are in catalogue order.

    Args:
        task: a `NextItem`.
        k: number of items.
    """

    def __init__(self, task: Predicts, k: int = 10) -> None:
        super().__init__(name=f"{task.name}_hit_rate@{k}")
        self.task, self.k = task, k

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Add a batch: item indices [num_rows], logits [num_rows, num_items]."""
        best = tf.math.top_k(y_pred, tf.minimum(self.k, tf.shape(y_pred)[-1])).indices
        hits = tf.reduce_any(best == self.task.targets(y_true)[:, None], axis=-1)
        return super().update_state(hits, sample_weight)
