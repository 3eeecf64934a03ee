"""A rating with ordered levels: one star, two stars ..."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from tfrs_distill.models.seeded import seeded
from tfrs_distill.models.tasks.levels import LevelsTask


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class Ordinal(LevelsTask):
    """Ordinal regression with cumulative logits: P(label > level k), for all levels but the last.

    `logit_k = f - theta_k`, with `theta_1 < ... < theta_{K-1}` by construction, so that
    `P(y > level_k) = sigmoid(logit_k)` falls with k. The loss is the mean of the K - 1 binary
    cross-entropies, the prediction the expected level,
    `level_1 + sum_k (level_{k+1} - level_k) P(y > level_k)`.

    Reference: the proportional-odds model of
    [McCullagh, 1980](https://www.jstor.org/stable/2984952) with the loss of
    [Cao et al., 2020](https://arxiv.org/abs/1901.07884) (CORAL).

    Args:
        name: name of the task.
        levels: the possible labels, ascending.
        label_smoothing: the share of each level's binary label that is spread over both classes.

    Raises:
        ValueError: there are fewer than two levels, or they are not ascending.

    Example:
    >>> task = Ordinal("rating", levels=(1, 2, 3))
    >>> float(task.predict(tf.constant([[1.0986, -1.0986]]))[0])  # 1 + 3/4 + 1/4
    2.0
    """

    activation = "sigmoid"
    logits_less = 1  # one threshold between two levels

    @property
    def num_classes(self) -> int:
        """The number of thresholds plus 1."""
        return self.width + 1

    def keras_loss(self) -> tf.keras.losses.Loss:
        """Binary cross-entropy, averaged over the levels."""
        return tf.keras.losses.BinaryCrossentropy(
            from_logits=True,
            label_smoothing=self.label_smoothing,
            reduction=tf.keras.losses.Reduction.NONE,
        )

    def targets(self, labels: tf.Tensor) -> tf.Tensor:
        """1 where the label is above the level, [num_rows, K - 1]."""
        below = tf.constant(self.levels[:-1], tf.float32)
        return tf.cast(tf.cast(labels, tf.float32)[:, None] > below, tf.float32)

    def predict(self, logits: tf.Tensor) -> tf.Tensor:
        """The expected level."""
        steps = [high - low for low, high in zip(self.levels, self.levels[1:])]
        above = tf.sigmoid(tf.cast(logits, tf.float32))
        return self.levels[0] + tf.reduce_sum(above * tf.constant(steps, tf.float32), axis=-1)

    def head(self, seed: int | None, dtype: Any) -> tf.keras.layers.Layer:
        """One unit minus the thresholds."""
        return OrderedThresholds(self.width, seed=seed, dtype=dtype, name=self.name)


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class OrderedThresholds(tf.keras.layers.Layer):
    """`logit_k = w . x - theta_k`, `theta_k = theta_1 + sum_{j < k} softplus(gap_j)`.

    Untrained, all levels are equally likely.

    Args:
        num_thresholds: number of levels minus 1.
        seed: int or None; fixes initial weights.
    """

    def __init__(self, num_thresholds: int, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_thresholds, self.seed = num_thresholds, seed
        self.score = tf.keras.layers.Dense(
            1,
            use_bias=False,
            kernel_initializer=seeded("glorot_uniform", seed, 0),
            dtype=self.dtype_policy,
            name="score",
        )
        shares = [(k + 1) / (num_thresholds + 1) for k in range(num_thresholds)]
        thetas = [math.log(share / (1 - share)) for share in shares]
        gaps = [math.log(math.expm1(high - low)) for low, high in zip(thetas, thetas[1:])]
        self.first = self.add_weight(
            name="first", shape=[1], initializer=tf.keras.initializers.Constant(thetas[:1])
        )
        self.gaps = self.add_weight(
            name="gaps",
            shape=[num_thresholds - 1],
            initializer=tf.keras.initializers.Constant(gaps),
        )

    @property
    def kernel(self) -> tf.Variable:
        """The factors of the hidden units, float32 [num_units, 1], as in a dense layer."""
        return self.score.kernel

    def thresholds(self) -> tf.Tensor:
        """The thresholds, ascending: float32 [num_thresholds]."""
        steps = [tf.cast(self.first, tf.float32), tf.nn.softplus(tf.cast(self.gaps, tf.float32))]
        return tf.cumsum(tf.concat(steps, axis=0))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Hidden units to float32 [num_rows, num_thresholds]."""
        return tf.cast(self.score(inputs), tf.float32) - self.thresholds()

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal layer."""
        return super().get_config() | {"num_thresholds": self.num_thresholds, "seed": self.seed}
