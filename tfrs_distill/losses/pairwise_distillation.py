"""RankNet on pairs of candidates, optionally with LambdaRank's weights."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill.losses.candidate_lists import RankedLists, in_teacher_order
from tfrs_distill.losses.temperature import checked_temperature


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class PairwiseDistillation(tf.keras.losses.Loss):
    """Pairwise logistic loss (RankNet) for the order of the teacher's logits.

    `loss = sum_ij w_ij * temperature * log(1 + exp(-(s_i - s_j) / temperature)) / sum_ij w_ij`,
    over the pairs of a list in which the teacher's logit of i is above that of j; s are the
    student's logits. Only the order of the teacher's logits matters, so ranks without scores work
    too (pass minus the rank). Ties are not pairs. The factor `temperature` keeps the slope for a
    wrongly ordered pair between 1/2 and 1 at any temperature; as the temperature goes to 0 the loss
    becomes `max(0, s_j - s_i)`.

    By default all pairs have the same weight. With `ndcg_weights=True` the weight is the change in
    NDCG if the pair were swapped in the student's current ranking,
    `w_ij = |g_i - g_j| * |d(r_i) - d(r_j)|`, treated as a constant: gain `g = exp(t - max t)` for
    the teacher's logit t, discount `d(r) = 1 / log2(1 + r)` for the student's rank r. This requires
    teacher logits whose exponential is a relevance, such as those of a softmax.

    Reference: RankNet and LambdaRank,
    [Burges, 2010](https://www.microsoft.com/en-us/research/publication/from-ranknet-to-lambdarank-to-lambdamart-an-overview/)
    (MSR-TR-2010-82), sections 2 and 4. 1 / temperature is its sigma; the gain is its
    `2**label - 1`; here the sum is divided by the sum of weights, so that lists of any length have
    the same weight.

    Args:
        temperature: float > 0; a higher value requires a larger margin between the logits of a
            pair.
        ndcg_weights: weight pairs by their change in NDCG.
        reduction: Keras' reduction over the batch.
        name: name of the loss in logs.

    Call with `y_true` = teacher logits and `y_pred` = student logits, both float
    `[num_queries, list_size]`. Slots with a masked teacher logit are ignored. A list without a pair
    has loss 0. Memory grows with `num_queries * list_size**2`: one table for 512 lists of 100 takes
    20 MB, and a step holds several. For a whole catalogue use a loss of the teacher's top k, such
    as `RankingDistillation`.

    Raises:
        ValueError: `temperature` is not above 0, or the logits are not lists of the same shape with
            at least 2 slots.

    Example:
    >>> loss = PairwiseDistillation()
    >>> round(float(loss([[2.0, 1.0]], [[0.0, 0.0]])), 4)  # student logits are equal: ln 2
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
        """Return one value per list: float32 `[num_queries]`."""
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
        return temperature * losses / tf.where(total > 0.0, total, 1.0)  # a list with NaN stays NaN

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return super().get_config() | {
            "temperature": float(self.temperature),
            "ndcg_weights": self.ndcg_weights,
        }


def _ndcg_changes(lists: RankedLists) -> tf.Tensor:
    """Return the change of DCG by each swap (NDCG times ideal DCG), `[queries, size, size]`."""
    gains = tf.exp(lists.teacher - lists.teacher[:, :1])  # the teacher's best is first
    gains = tf.where(lists.kept, gains, 0.0)
    discounts = tf.math.log(2.0) / tf.math.log(1.0 + _student_ranks(lists))
    changes = tf.abs(gains[:, :, None] - gains[:, None, :])
    return changes * tf.abs(discounts[:, :, None] - discounts[:, None, :])


def _student_ranks(lists: RankedLists) -> tf.Tensor:
    """Return the student's rank of each candidate, float32 [num_queries, list_size], from 1.

    Ties are ranked in the teacher's order: equal ranks would give a pair weight 0, and an untrained
    student would not learn.
    """
    order = tf.argsort(lists.student, axis=-1, direction="DESCENDING", stable=True)
    return tf.cast(tf.argsort(order, axis=-1) + 1, tf.float32)
