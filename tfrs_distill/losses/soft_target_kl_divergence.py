"""The distillation loss of Hinton et al.: KL divergence between softened softmaxes."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill.losses.categorical_cross_entropy import log_sum_exp
from tfrs_distill.losses.temperature import checked_temperature


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class SoftTargetKLDivergence(tf.keras.losses.Loss):
    """KL divergence from the teacher's soft targets to the student's, both at `temperature`.

    `loss = temperature**2 * sum_j p_j * (log p_j - log q_j)` with
    `p = softmax(teacher_logits / temperature)` and `q = softmax(student_logits / temperature)`. The
    factor keeps the size of the gradient when the temperature changes. Computed in log space and
    float32, so large logits do not saturate. Soft targets are constants: no gradient goes to the
    teacher's logits.

    Reference: [Hinton et al., 2015](https://arxiv.org/abs/1503.02531), section 2.1.

    Args:
        temperature: float > 0; higher flattens both distributions.
        reduction: Keras' reduction over the batch.
        name: the loss' name in logs.

    Call with `y_true` = teacher logits and `y_pred` = student logits, both
    float `[batch_size, num_candidates]` over the same candidates.

    Raises:
        ValueError: `temperature` is not above 0, or there is a single candidate (a softmax over one
            logit is always 1, so its KL teaches nothing).

    Example:
    >>> loss = SoftTargetKLDivergence()
    >>> round(float(loss([[1.0986, 0.0]], [[0.0, 0.0]])), 4)  # teacher [3/4, 1/4]
    0.1308
    """

    def __init__(
        self,
        temperature: float = 1.0,
        reduction: str = tf.keras.losses.Reduction.AUTO,
        name: str = "soft_target_kl_divergence",
    ) -> None:
        super().__init__(reduction=reduction, name=name)
        self.temperature = checked_temperature(temperature)

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """One divergence an example: float32 `[batch_size]`."""
        y_true, y_pred = tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred)
        if not y_true.shape.is_compatible_with(y_pred.shape):
            raise ValueError(
                "Teacher and student logits must be over the same candidates. Received: teacher "
                f"{y_true.shape}, student {y_pred.shape}."
            )
        if y_pred.shape[-1] == 1:
            raise ValueError(
                "SoftTargetKLDivergence needs at least 2 candidates: a softmax over one logit is "
                f"always 1. Received: student logits of shape {y_pred.shape}. For one logit an "
                "example use a Bernoulli (binary) soft target loss."
            )
        return _divergence(
            tf.cast(y_true, tf.float32),
            tf.cast(y_pred, tf.float32),
            tf.convert_to_tensor(self.temperature, tf.float32),
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal loss."""
        return super().get_config() | {"temperature": float(self.temperature)}


@tf.custom_gradient
def _divergence(
    teacher_logits: tf.Tensor, student_logits: tf.Tensor, temperature: tf.Tensor
) -> Any:
    """The divergence and its gradient, `temperature * (q - p)`, from two softmaxes."""
    teacher, student = teacher_logits / temperature, student_logits / temperature
    soft_targets, predictions = tf.nn.softmax(teacher), tf.nn.softmax(student)
    cross = tf.reduce_sum(soft_targets * (teacher - student), axis=-1)
    divergence = cross - log_sum_exp(teacher, soft_targets) + log_sum_exp(student, predictions)

    def gradient(upstream: tf.Tensor) -> tuple[None, tf.Tensor, None]:
        rows = (temperature * upstream)[:, None]
        return None, (predictions - soft_targets) * rows, None

    return temperature**2 * divergence, gradient
