"""Soft targets for independent probabilities: clicks, likes, rating thresholds."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill.losses.candidate_lists import checked_logits, is_candidate, mean_over_candidates
from tfrs_distill.losses.temperature import checked_temperature


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class SoftTargetBinaryCrossEntropy(tf.keras.losses.Loss):
    """Binary cross-entropy with the teacher's probabilities as soft targets, at `temperature`.

    `loss = temperature**2 * mean_j -[p_j log q_j + (1 - p_j) log(1 - q_j)]` with `p =
    sigmoid(teacher_logits / temperature)` and `q = sigmoid(student_logits / temperature)`. Every
    logit is an independent probability, such as that of a click or that a rating reaches a
    threshold. The factor `temperature**2` keeps the size of the gradient,
    `temperature * (q - p) / width`, when the temperature changes. No gradient goes to the teacher's
    logits. The minimum, at equality, is the teacher's entropy times the factor, not 0.

    Do not use it for the logits of a softmax: use `SoftTargetKLDivergence`. The loss cannot detect
    this mistake, because the values of both kinds of logits look alike.

    Reference: soft targets and the factor, [Hinton et al., 2015](https://arxiv.org/abs/1503.02531),
    section 2.1, for a softmax over the two logits `[x, 0]`, which is `sigmoid(x)`.

    Args:
        temperature: float > 0; a higher value moves all probabilities towards 1/2.
        reduction: Keras' reduction over the batch.
        name: name of the loss in logs.

    Call with `y_true` = teacher logits and `y_pred` = student logits, both float
    `[num_rows, width]`. Slots with a masked teacher logit are ignored.

    Raises:
        ValueError: `temperature` is not above 0, or the logits do not have the same shape
            `[num_rows, width]`.

    Example:
    >>> loss = SoftTargetBinaryCrossEntropy()
    >>> round(float(loss([[1.0986]], [[0.0]])), 4)  # teacher 3/4, student 1/2: ln 2
    0.6931
    """

    def __init__(
        self,
        temperature: float = 1.0,
        reduction: str = tf.keras.losses.Reduction.AUTO,
        name: str = "soft_target_binary_cross_entropy",
    ) -> None:
        super().__init__(reduction=reduction, name=name)
        self.temperature = checked_temperature(temperature)

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Return one value per row: float32 `[num_rows]`."""
        teacher, student = checked_logits(y_true, y_pred, type(self).__name__)
        temperature = tf.convert_to_tensor(self.temperature, tf.float32)
        kept = is_candidate(teacher)
        teacher, student = teacher / temperature, tf.where(kept, student, 0.0) / temperature
        # sigmoid(-t) is 1 - p, without loss of digits where p is almost 1.
        losses = tf.sigmoid(teacher) * tf.nn.softplus(-student)
        losses += tf.sigmoid(-teacher) * tf.nn.softplus(student)
        return temperature**2 * mean_over_candidates(losses, kept)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return super().get_config() | {"temperature": float(self.temperature)}
