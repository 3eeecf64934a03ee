"""Ranking Distillation: the teacher's top K items as positives, weighted by rank."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from tfrs_distill.losses.candidate_lists import in_teacher_order


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class RankingDistillation(tf.keras.losses.Loss):
    """Ranking Distillation: the teacher's top K candidates are positives, weighted by rank.

    `loss = sum_{r <= K} w_r * -log sigmoid(s_{pi_r})`, where pi is the list sorted by the teacher's
    logits, best first, s are the student's logits and `w_r = exp(-r / position_decay) / Z * max(0,
    tanh(discrepancy * (student_rank_r - r)))` is a constant. Z is the sum of the exponentials over
    the positions that hold a candidate. A candidate that the student ranks as high as the teacher
    or higher has weight 0. Candidates with equal student logits all have the lowest of their ranks,
    so that a student with equal logits learns. Only the order of the teacher's logits matters, so
    ranks without scores work too (pass minus the rank).

    The loss only increases logits, so combine it with a student loss or another distillation loss.

    Reference: [Tang and Wang, 2018](https://arxiv.org/abs/1809.07428). The student's rank is exact
    over the whole list; the paper estimates it from a sample. As in the authors' code, the product
    of both weights is not normalised again.

    Args:
        k: number of the teacher's best candidates, at least 1.
        position_decay: the paper's lambda, above 0: a higher value makes the weight fall more
            slowly with the position.
        discrepancy: the paper's mu, above 0: a higher value gives small rank differences more
            weight.
        reduction: Keras' reduction over the batch.
        name: name of the loss in logs.

    Call with `y_true` = teacher logits and `y_pred` = student logits, both float
    `[num_queries, list_size]`. Slots with a masked teacher logit are ignored. A list of fewer than
    2 candidates has loss 0.

    Raises:
        ValueError: an argument is out of range, or the logits are not lists of the same shape with
            at least 2 slots.

    Example:
    >>> loss = RankingDistillation(k=1, position_decay=1.0, discrepancy=0.1)
    >>> float(loss([[2.0, 1.0, 0.0]], [[3.0, 1.0, 2.0]]))  # both rank the same item first
    0.0
    >>> round(float(loss([[2.0, 1.0, 0.0]], [[0.0, 1.0, 2.0]])), 4)  # rank 3: ln 2 tanh(.2)
    0.1368
    """

    of_lists = True

    def __init__(
        self,
        k: int,
        position_decay: float,
        discrepancy: float,
        reduction: str = tf.keras.losses.Reduction.AUTO,
        name: str = "ranking_distillation",
    ) -> None:
        super().__init__(reduction=reduction, name=name)
        if not (isinstance(k, int) and k >= 1):
            raise ValueError(f"`k` must be at least 1. Received: k={k!r}.")
        for argument, value in {
            "position_decay": position_decay,
            "discrepancy": discrepancy,
        }.items():
            if not (isinstance(value, (int, float)) and 0 < value < math.inf):
                raise ValueError(
                    f"`{argument}` must be a finite number greater than 0. Received: "
                    f"{argument}={value!r}."
                )
        self.k, self.position_decay, self.discrepancy = k, position_decay, discrepancy

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Return one value per list: float32 `[num_queries]`."""
        lists = in_teacher_order(y_true, y_pred, type(self).__name__, k=self.k)
        losses = tf.nn.softplus(-lists.student)
        above = lists.unordered[:, None, :] >= lists.student[:, :, None]  # itself included
        ranks = tf.reduce_sum(tf.cast(above, tf.float32), axis=-1)
        places = tf.range(1.0, tf.cast(tf.shape(ranks)[-1], tf.float32) + 1.0)
        falling = tf.where(lists.kept, tf.exp((1.0 - places) / self.position_decay), 0.0)
        weights = tf.math.divide_no_nan(falling, tf.reduce_sum(falling, axis=-1, keepdims=True))
        weights *= tf.maximum(tf.tanh(self.discrepancy * (ranks - places)), 0.0)
        return tf.reduce_sum(weights * losses, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return super().get_config() | {
            "k": self.k,
            "position_decay": float(self.position_decay),
            "discrepancy": float(self.discrepancy),
        }
