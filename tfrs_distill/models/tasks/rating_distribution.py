"""A rating as a distribution over its values."""

from __future__ import annotations

import tensorflow as tf

from tfrs_distill.models.tasks.levels import LevelsTask


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class RatingDistribution(LevelsTask):
    """A distribution over the levels of a rating: a softmax over K logits.

    `loss = -log p_y`, `p = softmax(logits)`; the prediction is the expected level,
    `sum_k level_k p_k`, which has the least squared error.

    Args:
        name: name of the task.
        levels: the possible labels, ascending.
        label_smoothing: the share of a label that is spread evenly over all levels.

    Raises:
        ValueError: there are fewer than two levels, or they are not ascending.

    Example:
    >>> task = RatingDistribution("rating", levels=(1, 2, 3))
    >>> logits = tf.math.log(tf.constant([[0.2, 0.3, 0.5]]))
    >>> round(float(task.predict(logits)[0]), 4)
    2.3
    >>> round(float(task.loss(tf.constant([3.0]), logits)[0]), 4)  # -log 1/2
    0.6931
    """

    activation = "softmax"

    def keras_loss(self) -> tf.keras.losses.Loss:
        """Categorical cross-entropy."""
        return tf.keras.losses.CategoricalCrossentropy(
            from_logits=True,
            label_smoothing=self.label_smoothing,
            reduction=tf.keras.losses.Reduction.NONE,
        )

    def targets(self, labels: tf.Tensor) -> tf.Tensor:
        """1 at the label's level, [num_rows, K]."""
        levels = tf.constant(self.levels, tf.float32)
        return tf.cast(tf.cast(labels, tf.float32)[:, None] == levels, tf.float32)

    def predict(self, logits: tf.Tensor) -> tf.Tensor:
        """The expected level."""
        shares = tf.nn.softmax(tf.cast(logits, tf.float32))
        return tf.reduce_sum(shares * tf.constant(self.levels, tf.float32), axis=-1)
