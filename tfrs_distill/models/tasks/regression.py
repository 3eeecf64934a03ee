"""A numeric label: stars, minutes watched."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.models.tasks.task import RankingTask


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class Regression(RankingTask):
    """Regression of a label: one value per row, squared error.

    `loss = (y - f)^2`; the "logit" is the value f itself, and the prediction is f clipped to low
    and high.

    Args:
        name: name of the task.
        low: the smallest possible label.
        high: the largest possible label.
        initial_prediction: prediction of an untrained model; the middle by default. The mean of the
            training rows is better.

    Raises:
        ValueError: `low` is not below `high`, or `initial_prediction` not between them.

    Example:
    >>> task = Regression("rating", low=1, high=5)
    >>> float(task.loss(tf.constant([4.0]), tf.constant([[3.5]]))[0])
    0.25
    >>> float(task.predict(tf.constant([[5.5]]))[0])
    5.0
    """

    def __init__(
        self, name: str, low: float, high: float, *, initial_prediction: float | None = None
    ) -> None:
        super().__init__(name, width=1)
        if not low < high:
            raise ValueError(f"`low` must be below `high`. Received: low={low!r}, high={high!r}.")
        middle = (low + high) / 2
        self.initial_prediction = float(
            middle if initial_prediction is None else initial_prediction
        )
        self.low, self.high = float(low), float(high)
        if not self.are_labels(np.float32(self.initial_prediction)):
            raise ValueError(
                f"`initial_prediction` must be within low={low:g} and high={high:g}. Received: "
                f"initial_prediction={initial_prediction!r}."
            )
        self.valid_label, self.initial_bias = self.low, self.initial_prediction

    @property
    def label_range(self) -> str:
        """From low to high."""
        return f"within {self.low:g} and {self.high:g}"

    def keras_loss(self) -> tf.keras.losses.Loss:
        """Squared error."""
        return tf.keras.losses.MeanSquaredError(reduction=tf.keras.losses.Reduction.NONE)

    def predict(self, logits: tf.Tensor) -> tf.Tensor:
        """The value, within low and high."""
        return tf.clip_by_value(tf.cast(logits, tf.float32)[:, 0], self.low, self.high)

    def are_labels(self, labels: Any) -> Any:
        """Low to high."""
        return (labels >= np.float32(self.low)) & (labels <= np.float32(self.high))

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal task."""
        return super().get_config() | {
            "low": self.low,
            "high": self.high,
            "initial_prediction": self.initial_prediction,
        }
