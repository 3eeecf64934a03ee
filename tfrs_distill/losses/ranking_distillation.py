"""Ranking Distillation: the teacher's best K items as positives, weighed by where they stand."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from tfrs_distill.losses.candidate_lists import in_teacher_order


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class RankingDistillation(tf.keras.losses.Loss):
    """The teacher's best K candidates are positives; those the student ranks too low weigh most.

    `loss = sum_{r <= K} w_r * -log sigmoid(s_{pi_r})`, with pi the list in the order of the
    teacher's logits, s the student's logits and
    `w_r = exp(-r / position_decay) / Z * max(0, tanh(discrepancy * (student_rank_r - r)))`,
    a constant; Z is the sum of the exponentials over the places that are there. A candidate that
    the student ranks as high as the teacher, or higher, is left in peace. Only the teacher's order
    counts, so a teacher that gives ranks without scores serves as well (give it minus its ranks).

    It only ever pushes logits up, so it needs a student loss, or another distillation loss, beside
    it.

    Reference: [Tang and Wang, 2018](https://arxiv.org/abs/1809.07428). The student's
    rank is exact, over the whole list, where the paper estimates it from a sample; as in the
    authors' code, the product of both weights is not normalised again.

    Args:
        k: how many of the teacher's best count, at least 1.
        position_decay: the paper's lambda, above 0: how slowly the weight falls with the place.
        discrepancy: the paper's mu, above 0: how soon a difference of ranks weighs fully.
        reduction: Keras' reduction over the batch.
        name: the loss' name in logs.

    Call with `y_true` = teacher logits and `y_pred` = student logits, both float
    `[num_queries, list_size]`; a slot without candidate has a masked teacher logit and counts for
    nothing. A list of fewer than 2 candidates gives 0.

    Raises:
        ValueError: an argument is out of range, or the logits are not lists of one shape with at
            least 2 slots.

    Example:
    >>> loss = RankingDistillation(k=1, position_decay=1.0, discrepancy=0.1)
    >>> float(loss([[2.0, 1.0, 0.0]], [[3.0, 1.0, 2.0]]))  # the teacher's best is the student's
    0.0
    >>> round(float(loss([[2.0, 1.0, 0.0]], [[0.0, 1.0, 2.0]])), 4)  # it is third: ln 2 tanh(.2)
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
        """Return one value a list: float32 `[num_queries]`."""
        lists = in_teacher_order(y_true, y_pred, type(self).__name__, k=self.k)
        losses = tf.nn.softplus(-lists.student)
        above = lists.unordered[:, None, :] > lists.student[:, :, None]
        ranks = 1.0 + tf.reduce_sum(tf.cast(above, tf.float32), axis=-1)
        places = tf.range(1.0, tf.cast(tf.shape(ranks)[-1], tf.float32) + 1.0)
        falling = tf.where(lists.kept, tf.exp((1.0 - places) / self.position_decay), 0.0)
        weights = tf.math.divide_no_nan(falling, tf.reduce_sum(falling, axis=-1, keepdims=True))
        weights *= tf.maximum(tf.tanh(self.discrepancy * (ranks - places)), 0.0)
        return tf.reduce_sum(weights * losses, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build an equal loss."""
        return super().get_config() | {
            "k": self.k,
            "position_decay": float(self.position_decay),
            "discrepancy": float(self.discrepancy),
        }
