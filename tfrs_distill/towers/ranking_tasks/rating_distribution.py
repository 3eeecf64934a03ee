"""A rating as a distribution over its values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfrs_distill.towers.ranking_tasks.task import (
    RankingTask,
    are_levels,
    checked_levels,
)
from tfrs_distill.towers.ranking_tasks.task_metrics import (
    MeanAbsoluteError,
    RootMeanSquaredError,
)
from tfrs_distill.towers.seeded import seeded


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class RatingDistribution(RankingTask):
    """How likely each level of a rating is: a softmax over K logits.

    `loss = -log p_y`, `p = softmax(logits)`; the prediction is the expected level,
    `sum_k level_k p_k`, which has the least squared error.

    Args:
        name: the task's name.
        levels: the labels there are, rising.

    Raises:
        ValueError: fewer than two levels, or not rising.

    Example:
    >>> task = RatingDistribution("rating", levels=(1, 2, 3))
    >>> logits = tf.math.log(tf.constant([[0.2, 0.3, 0.5]]))
    >>> round(float(task.predict(logits)[0]), 4)
    2.3
    >>> round(float(task.loss(tf.constant([3.0]), logits)[0]), 4)  # -log 1/2
    0.6931
    """

    def __init__(self, name: str, levels: Sequence[float] = (1, 2, 3, 4, 5)) -> None:
        self.levels = checked_levels(levels)
        super().__init__(name, width=len(self.levels))
        self.valid_label = self.levels[0]

    @property
    def label_range(self) -> str:
        """The levels."""
        return "one of " + ", ".join(f"{level:g}" for level in self.levels)

    def keras_loss(self) -> tf.keras.losses.Loss:
        """Categorical cross-entropy."""
        return tf.keras.losses.CategoricalCrossentropy(
            from_logits=True, reduction=tf.keras.losses.Reduction.NONE
        )

    def targets(self, labels: tf.Tensor) -> tf.Tensor:
        """1 at the label's level, [num_rows, K]."""
        levels = tf.constant(self.levels, tf.float32)
        return tf.cast(tf.cast(labels, tf.float32)[:, None] == levels, tf.float32)

    def predict(self, logits: tf.Tensor) -> tf.Tensor:
        """The expected level."""
        shares = tf.nn.softmax(tf.cast(logits, tf.float32))
        return tf.reduce_sum(shares * tf.constant(self.levels, tf.float32), axis=-1)

    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """Root mean squared and mean absolute error of the expected level."""
        return [RootMeanSquaredError(self), MeanAbsoluteError(self)]

    def are_labels(self, labels: Any) -> Any:
        """The levels."""
        return are_levels(labels, self.levels)

    def head(self, seed: int | None, dtype: Any) -> tf.keras.layers.Layer:
        """A unit a level."""
        return tf.keras.layers.Dense(
            self.width,
            kernel_initializer=seeded("glorot_uniform", seed, 0),
            dtype=dtype,
            name=self.name,
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal task."""
        return super().get_config() | {"levels": list(self.levels)}
