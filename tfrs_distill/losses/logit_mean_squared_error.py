"""Regression of the student's logits on the teacher's."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill.losses.candidate_lists import checked_logits, is_candidate, mean_over_candidates


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class LogitMeanSquaredError(tf.keras.losses.Loss):
    """Mean squared difference of the logits, or of predicted ratings.

    `loss = mean_j (teacher_logits_j - student_logits_j)**2`. With `centred=True` the row's mean is
    subtracted from both sides first, so that adding a constant to all logits of a row, which
    changes no softmax, has no loss. No gradient goes to the teacher's logits.

    Reference: regression on logits, [Ba and Caruana, 2014](https://arxiv.org/abs/1312.6184) (there
    half of the sum); centred logits are the high-temperature limit of distillation, [Hinton et al.,
    2015](https://arxiv.org/abs/1503.02531), section 2.1.

    Args:
        centred: subtract each row's mean from both sides first.
        reduction: Keras' reduction over the batch.
        name: name of the loss in logs.

    Call with `y_true` = teacher logits and `y_pred` = student logits, both float
    `[num_rows, width]`. Slots with a masked teacher logit are ignored.

    Raises:
        ValueError: the logits do not have the same shape `[num_rows, width]`, or `centred=True` and
            rows have a single logit (the loss would always be 0).

    Example:
    >>> loss = LogitMeanSquaredError()
    >>> float(loss([[4.0]], [[2.5]]))
    2.25
    >>> float(LogitMeanSquaredError(centred=True)([[1.0, 3.0]], [[8.0, 8.0]]))
    1.0
    """

    def __init__(
        self,
        centred: bool = False,
        reduction: str = tf.keras.losses.Reduction.AUTO,
        name: str = "logit_mean_squared_error",
    ) -> None:
        super().__init__(reduction=reduction, name=name)
        self.centred = centred

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Return one value per row: float32 `[num_rows]`."""
        needs = f"{type(self).__name__}(centred=True)" if self.centred else type(self).__name__
        teacher, student = checked_logits(y_true, y_pred, needs, min_width=2 if self.centred else 1)
        kept = is_candidate(teacher)
        difference = tf.where(kept, student, 0.0) - tf.where(kept, teacher, 0.0)
        if self.centred:
            difference -= mean_over_candidates(difference, kept)[..., None]
        return mean_over_candidates(difference**2, kept)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return super().get_config() | {"centred": self.centred}
