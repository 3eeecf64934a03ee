"""Soft targets for logits of independent probabilities: clicks, likes, thresholds."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill.losses.candidate_lists import checked_logits, is_candidate, mean_over_candidates
from tfrs_distill.losses.temperature import checked_temperature


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class SoftTargetBinaryCrossEntropy(tf.keras.losses.Loss):
    """Cross-entropy from the teacher's Bernoulli probabilities to the student's, at `temperature`.

    `loss = temperature**2 * mean_j -[p_j log q_j + (1 - p_j) log(1 - q_j)]` with
    `p = sigmoid(teacher_logits / temperature)` and `q = sigmoid(student_logits / temperature)`.
    Every logit is an independent probability, of a click or of a threshold that a rating reaches: a
    softmax over the single logit of a row is always 1 and would teach nothing. The factor keeps
    the size of the gradient, `temperature * (q - p) / width`, when the temperature changes. Soft
    targets are constants: no gradient goes to the teacher's logits. Its least value, at equality,
    is the teacher's entropy times the factor, not 0.

    Do not use it for the logits of a softmax; `SoftTargetKLDivergence` is for these; the two
    kinds cannot be distinguished by their values.

    Reference: soft targets and the factor, [Hinton et al., 2015](https://arxiv.org/abs/1503.02531),
    section 2.1, for a softmax over the two logits `[x, 0]`, which is `sigmoid(x)`.

    Args:
        temperature: float > 0; higher brings all probabilities nearer to 1/2.
        reduction: Keras' reduction over the batch.
        name: the loss' name in logs.

    Call with `y_true` = teacher logits and `y_pred` = student logits, both float
    `[num_rows, width]`. A slot whose teacher logit is masked counts for nothing.

    Raises:
        ValueError: `temperature` is not above 0, or the logits are not of one shape
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
        """Return one value a row: float32 `[num_rows]`."""
        teacher, student = checked_logits(y_true, y_pred, type(self).__name__)
        temperature = tf.convert_to_tensor(self.temperature, tf.float32)
        kept = is_candidate(teacher)
        teacher, student = teacher / temperature, tf.where(kept, student, 0.0) / temperature
        # 1 - p is sigmoid(-t), which keeps its digits where p is almost 1.
        losses = tf.sigmoid(teacher) * tf.nn.softplus(-student)
        losses += tf.sigmoid(-teacher) * tf.nn.softplus(student)
        return temperature**2 * mean_over_candidates(losses, kept)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build an equal loss."""
        return super().get_config() | {"temperature": float(self.temperature)}
