"""ListMLE: the likelihood of the teacher's ranking under the student."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill.losses.candidate_lists import MASKED, in_teacher_order


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class ListMLEDistillation(tf.keras.losses.Loss):
    """Negative Plackett-Luce log-likelihood of the teacher's ranking under the student.

    `loss = sum_{k <= K} [log sum_{i >= k} exp(s_{pi_i}) - s_{pi_k}]`, where pi is the list sorted
    by the teacher's logits, best first, s are the student's logits, and K is `top_k` or the length
    of the list. At each position the chosen candidate is compared with all remaining ones. Only the
    order of the teacher's logits matters, so ranks without scores work too (pass minus the rank).
    Ties keep the input order.

    With `top_k`, the order below position K is ignored; those candidates only have to be below.
    This is the relaxed ranking distillation of DE-RRD, with every other candidate as an
    uninteresting one.

    Reference: [Xia et al., 2008](https://doi.org/10.1145/1390156.1390306);
    with `top_k`, [Kang et al., 2020](https://arxiv.org/abs/2012.04357).

    Args:
        top_k: number of positions in the sum, at least 1; None for the whole list.
        reduction: Keras' reduction over the batch.
        name: name of the loss in logs.

    Call with `y_true` = teacher logits and `y_pred` = student logits, both float
    `[num_queries, list_size]`. Slots with a masked teacher logit are ignored. A list of fewer than
    2 candidates has loss 0. The loss is a sum over positions, so longer lists have more weight. For
    a whole catalogue set `top_k`: only these positions are sorted, which takes a fiftieth of the
    time for 512 lists of 1,682 items.

    Raises:
        ValueError: `top_k` is below 1, or the logits are not lists of the same shape with at least
            2 slots.

    Example:
    >>> loss = ListMLEDistillation()
    >>> round(float(loss([[3.0, 2.0, 1.0]], [[0.0, 0.0, 0.0]])), 4)  # one of 6 orders: ln 6
    1.7918
    """

    of_lists = True

    def __init__(
        self,
        top_k: int | None = None,
        reduction: str = tf.keras.losses.Reduction.AUTO,
        name: str = "list_mle_distillation",
    ) -> None:
        super().__init__(reduction=reduction, name=name)
        if top_k is not None and not (isinstance(top_k, int) and top_k >= 1):
            raise ValueError(f"`top_k` must be None or at least 1. Received: top_k={top_k!r}.")
        self.top_k = top_k

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Return one value per list: float32 `[num_queries]`."""
        lists = in_teacher_order(y_true, y_pred, type(self).__name__, k=self.top_k)
        student = lists.student
        # All candidates below position K are one candidate with the sum of their exponentials.
        rows = tf.broadcast_to(tf.range(tf.shape(student)[0])[:, None], tf.shape(student))
        below = tf.tensor_scatter_nd_update(
            lists.unordered,
            tf.stack([rows, lists.slots], axis=-1),
            tf.fill(tf.shape(student), MASKED),
        )
        below = tf.reduce_logsumexp(below, axis=-1, keepdims=True)
        left = tf.math.cumulative_logsumexp(
            tf.concat([student, below], axis=-1), axis=-1, reverse=True
        )
        losses = left[:, :-1] - student  # 0 in the empty slots at the end: MASKED less MASKED
        return tf.reduce_sum(losses, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return super().get_config() | {"top_k": self.top_k}
