"""The learning rate of fine-tuning: linear warm-up to its peak, then linear decay to 0."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill.teachers.whole_number import check_whole_number


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class LinearWarmupDecay(tf.keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then linear decay, over `num_steps` steps counted from 0.

    `rate(s) = peak * (s + 1) / w` in the first `w = round(warmup_share * num_steps)` steps, then
    `peak * (num_steps - s) / (num_steps - w)`: the first and the last step have a rate above 0.
    Reference: [Devlin et al., 2018](https://arxiv.org/abs/1810.04805), appendix A.2.

    Args:
        peak: the highest learning rate.
        num_steps: number of steps of the whole training.
        warmup_share: share of the steps that are warm-up, at least 0 and below 1.

    Raises:
        ValueError: an argument is out of its range.

    Example:
    >>> rate = LinearWarmupDecay(1.0, num_steps=6, warmup_share=1 / 3)
    >>> [float(rate(step)) for step in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """

    def __init__(self, peak: float, *, num_steps: int, warmup_share: float) -> None:
        super().__init__()
        if not peak > 0:
            raise ValueError(
                f"The learning rate must be greater than 0. Received: learning_rate={peak!r}."
            )
        check_whole_number("num_steps", num_steps)
        if not 0 <= warmup_share < 1:
            raise ValueError(
                "`warmup_share` must be at least 0 and below 1. Received: "
                f"warmup_share={warmup_share!r}."
            )
        self.peak, self.num_steps, self.warmup_share = peak, num_steps, warmup_share

    def __call__(self, step: Any) -> tf.Tensor:
        """The learning rate of a step."""
        step = tf.cast(step, tf.float32)
        warmup = min(round(self.warmup_share * self.num_steps), self.num_steps - 1)
        rising = (step + 1) / max(warmup, 1)
        falling = (self.num_steps - step) / (self.num_steps - warmup)
        return self.peak * tf.where(step < warmup, rising, tf.maximum(falling, 0.0))

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal schedule."""
        return {
            "peak": self.peak,
            "num_steps": self.num_steps,
            "warmup_share": self.warmup_share,
        }
