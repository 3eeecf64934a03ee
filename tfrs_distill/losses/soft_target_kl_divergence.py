"""The loss of Hinton et al.: KL divergence between softmaxes at a temperature."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from tfrs_distill.losses.temperature import checked_temperature

SMALL = 2e-3  # below this an error of 1e-6 leaves fewer than three exact digits


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class SoftTargetKLDivergence(tf.keras.losses.Loss):
    """KL divergence from the teacher's soft targets to the student's, both at `temperature`.

    `loss = temperature**2 * sum_j p_j * (log p_j - log q_j)` with
    `p = softmax(teacher_logits / temperature)` and `q = softmax(student_logits / temperature)`. The
    factor `temperature**2` keeps the size of the gradient when the temperature changes. Computed in
    log space and float32: large logits do not saturate; small divergences, typical of high
    temperatures, keep about three digits and are never negative. No gradient goes to the teacher's
    logits.

    Reference: [Hinton et al., 2015](https://arxiv.org/abs/1503.02531), section 2.1.

    Args:
        temperature: float > 0; a higher value flattens both distributions.
        reduction: Keras' reduction over the batch.
        name: name of the loss in logs.

    Call with `y_true` = teacher logits and `y_pred` = student logits, both float
    `[batch_size, num_candidates]`, or with more axes before the last, over the same candidates. A
    teacher logit of -inf is a soft target of 0.

    Raises:
        ValueError: `temperature` is not above 0, or there is a single candidate (a softmax over one
            logit is always 1, so the loss would always be 0).

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
        """Return one divergence per example: float32 `[batch_size]`, without the last axis."""
        y_true, y_pred = tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred)
        if not y_true.shape.is_compatible_with(y_pred.shape):
            raise ValueError(
                "Teacher and student logits must be over the same candidates. Received: teacher "
                f"{y_true.shape}, student {y_pred.shape}."
            )
        if y_pred.shape[-1] == 1:
            raise ValueError(
                "SoftTargetKLDivergence needs at least 2 candidates: a softmax over one logit is "
                f"always 1. Received: student logits of shape {y_pred.shape}. For one logit per "
                "example use `SoftTargetBinaryCrossEntropy`."
            )
        return _divergence(
            tf.cast(y_true, tf.float32),
            tf.cast(y_pred, tf.float32),
            tf.convert_to_tensor(self.temperature, tf.float32),
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return super().get_config() | {"temperature": float(self.temperature)}


@tf.custom_gradient
def _divergence(
    teacher_logits: tf.Tensor, student_logits: tf.Tensor, temperature: tf.Tensor
) -> Any:
    """Compute the divergence and its gradient, `temperature * (q - p)`, from two softmaxes."""
    soft_targets = tf.nn.softmax(teacher_logits / temperature)
    predictions = tf.nn.softmax(student_logits / temperature)
    shift = tf.reduce_max(teacher_logits, axis=-1) - tf.reduce_max(student_logits, axis=-1)
    # Subtracted before the division: terms common to both logits then cause no rounding error.
    difference = teacher_logits - student_logits - shift[..., None]
    mean = tf.reduce_sum(tf.math.multiply_no_nan(difference, soft_targets), axis=-1) / temperature
    largest = tf.reduce_max(soft_targets, axis=-1) / tf.reduce_max(predictions, axis=-1)
    divergence = mean + tf.math.log(largest)  # absolute error about 1e-6
    # The slower computation is skipped for batches in which no row needs it.
    is_exact = (divergence > SMALL) | tf.math.is_nan(divergence)
    divergence = tf.cond(
        tf.reduce_all(is_exact),
        lambda: divergence,
        lambda: tf.where(
            is_exact,
            divergence,
            _small_divergence(
                soft_targets, predictions, difference / temperature - mean[..., None], divergence
            ),
        ),
    )

    def gradient(upstream: tf.Tensor) -> tuple[None, tf.Tensor, None]:
        rows = (temperature * upstream)[..., None]
        return None, (predictions - soft_targets) * rows, None

    return temperature**2 * divergence, gradient


def _small_divergence(
    soft_targets: tf.Tensor, predictions: tf.Tensor, difference: tf.Tensor, divergence: tf.Tensor
) -> tf.Tensor:
    """Compute the divergence as a sum of non-negative terms, so that nothing cancels.

    `log(1 + sum_j p_j f(d_j))` with `f(d) = exp(-d) - 1 + d`, which is `d**2 / 2 - d**3 / 6 + ...`,
    for differences d of the logits whose mean under p is 0.

    Args:
        soft_targets: p, float32 [num_rows, num_candidates].
        predictions: q, the same shape.
        difference: d, teacher minus student logits, divided by the temperature, minus their mean
            under p.
        divergence: float32 [num_rows], accurate to about 1e-6:
            `p_j exp(-d_j) = q_j exp(divergence)`.
    """
    series = 1.0 / math.factorial(6)  # up to 1/3 the remainder is below 2e-6 of the sum
    for order in range(5, 1, -1):
        series = (-1.0) ** order / math.factorial(order) + difference * series
    terms = tf.where(
        tf.abs(difference) < 1 / 3,
        soft_targets * tf.square(difference) * series,
        tf.math.multiply_no_nan(difference - 1.0, soft_targets)
        + predictions * tf.exp(divergence)[:, None],
    )
    return tf.math.log1p(tf.reduce_sum(terms, axis=-1))
