"""Every pair of a list in the teacher's order: RankNet, with LambdaRank's weights if wanted."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill.losses.candidate_lists import RankedLists, in_teacher_order
from tfrs_distill.losses.temperature import checked_temperature


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class PairwiseDistillation(tf.keras.losses.Loss):
    """The student should put every pair of candidates in the order of the teacher.

    `loss = sum_ij w_ij * temperature * log(1 + exp(-(s_i - s_j) / temperature)) / sum_ij w_ij`,
    over the pairs of a list in which the teacher's logit of i is above that of j; s are the
    student's logits. Only the teacher's order counts, so a teacher that gives ranks without scores
    serves as well (give it minus its ranks); candidates that it holds equal are no pair. The first
    factor keeps the slope for a pair in wrong order between 1/2 and 1 at any temperature; near 0
    the loss becomes `max(0, s_j - s_i)`.

    Without `ndcg_weights` all pairs weigh the same. With them a pair weighs what swapping it in the
    student's present list changes of the NDCG, `w_ij = |g_i - g_j| * |d(r_i) - d(r_j)|`, a
    constant: gain `g = exp(t - max t)` of the teacher's logit t, discount `d(r) = 1 / log2(1 + r)`
    of the student's rank r. This wants teacher logits whose exponential is a relevance, as those of
    a softmax.

    Reference: RankNet and LambdaRank,
    [Burges, 2010](https://www.microsoft.com/en-us/research/publication/from-ranknet-to-lambdarank-to-lambdamart-an-overview/)
    (MSR-TR-2010-82), sections 2 and 4; 1 / temperature is its sigma, the gain of a label is its
    `2**label - 1`, and we divide by the sum of weights, so that lists of any length weigh alike.

    Args:
        temperature: float > 0; higher wants a wider distance between the two of a pair.
        ndcg_weights: weigh pairs by what they change of the NDCG.
        reduction: Keras' reduction over the batch.
        name: the loss' name in logs.

    Call with `y_true` = teacher logits and `y_pred` = student logits, both float
    `[num_queries, list_size]`; a slot without candidate has a masked teacher logit and counts for
    nothing. A list without a pair gives 0. Memory grows with `num_queries * list_size**2`: 512
    lists of 100 take 20 MB a table, of which a step holds several; for a whole catalogue use
    a loss of the teacher's best k, such as `RankingDistillation`.

    Raises:
        ValueError: `temperature` is not above 0, or the logits are not lists of one shape with at
            least 2 slots.

    Example:
    >>> loss = PairwiseDistillation()
    >>> round(float(loss([[2.0, 1.0]], [[0.0, 0.0]])), 4)  # undecided: ln 2
    0.6931
    """

    of_lists = True

    def __init__(
        self,
        temperature: float = 1.0,
        ndcg_weights: bool = False,
        reduction: str = tf.keras.losses.Reduction.AUTO,
        name: str = "pairwise_distillation",
    ) -> None:
        super().__init__(reduction=reduction, name=name)
        self.temperature = checked_temperature(temperature)
        self.ndcg_weights = ndcg_weights

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Return one value a list: float32 `[num_queries]`."""
        lists = in_teacher_order(y_true, y_pred, type(self).__name__)
        temperature = tf.convert_to_tensor(self.temperature, tf.float32)
        above = lists.teacher[:, :, None] > lists.teacher[:, None, :]
        is_pair = above & lists.kept[:, :, None] & lists.kept[:, None, :]
        weights = tf.cast(is_pair, tf.float32)
        if self.ndcg_weights:
            weights *= _ndcg_changes(lists)
        margins = (lists.student[:, :, None] - lists.student[:, None, :]) / temperature
        losses = tf.reduce_sum(weights * tf.nn.softplus(-margins), axis=[1, 2])
        total = tf.reduce_sum(weights, axis=[1, 2])
        return temperature * losses / tf.where(total > 0.0, total, 1.0)  # a spoilt list stays NaN

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build an equal loss."""
        return super().get_config() | {
            "temperature": float(self.temperature),
            "ndcg_weights": self.ndcg_weights,
        }


def _ndcg_changes(lists: RankedLists) -> tf.Tensor:
    """Return the change of NDCG by each swap, times the ideal DCG, `[queries, size, size]`."""
    gains = tf.exp(lists.teacher - lists.teacher[:, :1])  # the teacher's best is first
    discounts = tf.math.log(2.0) / tf.math.log(1.0 + _student_ranks(lists))
    changes = tf.abs(gains[:, :, None] - gains[:, None, :])
    return changes * tf.abs(discounts[:, :, None] - discounts[:, None, :])


def _student_ranks(lists: RankedLists) -> tf.Tensor:
    """Return the student's rank of each candidate, float32 [num_queries, list_size], from 1.

    Where its logits are equal the teacher's order decides: equal ranks would weigh a pair 0, and a
    student that knows nothing yet would learn nothing.
    """
    order = tf.argsort(lists.student, axis=-1, direction="DESCENDING", stable=True)
    return tf.cast(tf.argsort(order, axis=-1) + 1, tf.float32)
