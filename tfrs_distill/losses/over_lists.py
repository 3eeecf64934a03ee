"""A loss over logits of a row, applied to a query's candidate list."""

from __future__ import annotations

import copy
from typing import Any

import tensorflow as tf

from tfrs_distill.losses.candidate_lists import MASKED, checked_logits, is_candidate


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class OverLists(tf.keras.losses.Loss):
    """Apply a loss to the list of a query's candidates, which have one logit each.

    `OverLists(SoftTargetKLDivergence())` is the KL divergence between two softmaxes over a query's
    candidates: the listwise loss of ListNet with the teacher's scores as relevance. Without
    `OverLists` the same loss compares the logits of one row, such as those of the ratings 1 to 5.

    Slots without a candidate (teacher logit masked or -inf) are masked on both sides, so that they
    do not influence a softmax.

    Reference: [Cao et al., 2007](https://doi.org/10.1145/1273496.1273513) (ListNet, top one).

    Args:
        loss: a loss of (teacher logits, student logits), `[num_rows, num_candidates]` to
            `[num_rows]`, that ignores masked slots. `temperature` reads and sets the temperature of
            this loss.
        reduction: Keras' reduction over the batch.
        name: name of the loss in logs; by default `over_lists_` followed by the name of `loss`.

    Call with `y_true` = teacher logits and `y_pred` = student logits, both float
    `[num_queries, list_size]`.

    Raises:
        TypeError: `loss` is not a Keras loss.
        ValueError: `loss` already compares lists, or masked slots change its value.

    Example:
    >>> from tfrs_distill.losses import SoftTargetKLDivergence
    >>> loss = OverLists(SoftTargetKLDivergence())
    >>> round(float(loss([[1.0986, 0.0, MASKED]], [[0.0, 0.0, 7.0]])), 4)  # teacher [3/4, 1/4]
    0.1308
    """

    of_lists = True

    def __init__(
        self,
        loss: tf.keras.losses.Loss,
        reduction: str = tf.keras.losses.Reduction.AUTO,
        name: str | None = None,
    ) -> None:
        if not isinstance(loss, tf.keras.losses.Loss):
            raise TypeError(f"`loss` must be a `tf.keras.losses.Loss`. Received: {loss!r}.")
        if getattr(loss, "of_lists", False):
            raise ValueError(
                f"{type(loss).__name__} already compares lists: use it without `OverLists`."
            )
        super().__init__(reduction=reduction, name=name or f"over_lists_{loss.name}")
        self.loss = loss
        _require_mask(loss)

    @property
    def temperature(self) -> Any:
        """The temperature of the wrapped loss.

        Raises:
            AttributeError: the wrapped loss has no temperature.
        """
        return self.loss.temperature

    @temperature.setter
    def temperature(self, temperature: Any) -> None:
        self.loss.temperature = temperature

    def __copy__(self) -> OverLists:
        """Copy the wrapped loss too, so that the copy's temperature can change independently."""
        return type(self)(copy.copy(self.loss), reduction=self.reduction, name=self.name)

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Return one value per list: float32 `[num_queries]`."""
        teacher, student = checked_logits(y_true, y_pred, self.name, min_width=2)
        kept = is_candidate(teacher)
        return self.loss.call(tf.where(kept, teacher, MASKED), tf.where(kept, student, MASKED))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return super().get_config() | {"loss": tf.keras.utils.serialize_keras_object(self.loss)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> OverLists:
        """Build the loss and the wrapped loss."""
        return cls(**(config | {"loss": tf.keras.utils.deserialize_keras_object(config["loss"])}))


def _require_mask(loss: tf.keras.losses.Loss) -> None:
    """Raise a ValueError if a masked slot changes the value of the loss."""
    with tf.init_scope():
        teacher, student = tf.constant([[1.0, 0.0, MASKED]]), tf.constant([[0.0, 0.5, MASKED]])
        with_slot = loss.call(teacher, student)
        without = loss.call(teacher[:, :2], student[:, :2])
        same = bool(tf.reduce_all(tf.abs(with_slot - without) < 1e-5))
    if not same:
        raise ValueError(
            f"Masked slots change the value of {type(loss).__name__}, so lists of different "
            "lengths cannot be padded for it. Use a loss of a softmax, such as "
            "`SoftTargetKLDivergence`."
        )
