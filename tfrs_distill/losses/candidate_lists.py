"""Logits over candidates: which slots hold one, and what shape they must have."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

MASKED = np.finfo(np.float32).min / 1e8  # finite, also when a small temperature divides it


def is_candidate(teacher_logits: tf.Tensor) -> tf.Tensor:
    """Return which slots hold a candidate, bool as the logits: those whose logit is not `MASKED`.

    Half of it counts as masked too, so that a shift of the logits does not unmask a slot; and so
    does what is below it, down to -inf.

    Example:
    >>> is_candidate(tf.constant([2.0, MASKED, -9.0])).numpy().tolist()
    [True, False, True]
    """
    return ~(teacher_logits <= MASKED / 2)  # NaN is a candidate: what is spoilt has to show


def checked_logits(
    y_true: tf.Tensor, y_pred: tf.Tensor, loss: str, *, min_width: int = 1
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the teacher's logits, without a gradient, and the student's, both float32.

    Args:
        y_true: teacher logits, [num_rows, width] (axes between them are allowed).
        y_pred: student logits of the same shape.
        loss: the loss' name, for messages.
        min_width: the fewest logits a row that teach anything.

    Raises:
        ValueError: another shape, or rows that are too short.
    """
    y_true, y_pred = tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred)
    received = f"Received: teacher {y_true.shape}, student {y_pred.shape}."
    ranks = {y_true.shape.rank, y_pred.shape.rank} - {None}
    if ranks and min(ranks) < 2:
        raise ValueError(
            f"{loss} needs logits [num_rows, width] of teacher and student; one logit a row is "
            f"[num_rows, 1]. {received}"
        )
    if not y_true.shape.is_compatible_with(y_pred.shape):
        raise ValueError(
            f"Teacher and student logits must be over the same rows and candidates. {received}"
        )
    width = (y_true.shape.merge_with(y_pred.shape) if ranks else [None])[-1]
    if width is not None and width < min_width:
        raise ValueError(f"{loss} needs at least {min_width} logits a row. {received}")
    return tf.stop_gradient(tf.cast(y_true, tf.float32)), tf.cast(y_pred, tf.float32)


def mean_over_candidates(values: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    """Return the mean over the slots with a candidate, [..., width] to [...]; 0 without any.

    Args:
        values: float [..., width].
        kept: bool [..., width].
    """
    count = tf.reduce_sum(tf.cast(kept, values.dtype), axis=-1)
    return tf.math.divide_no_nan(tf.reduce_sum(tf.where(kept, values, 0.0), axis=-1), count)


class RankedLists(NamedTuple):
    """Candidate lists in the teacher's order, its best first; empty slots are last.

    Args:
        teacher: float32 [num_queries, k], 0 in empty slots.
        student: float32 [num_queries, k], `MASKED` in empty slots, which have no gradient.
        kept: bool [num_queries, k], which slots hold a candidate.
        slots: int32 [num_queries, k], where in the list each stands.
        unordered: float32 [num_queries, list_size], the student's logits of the list as it was
            given, `MASKED` in empty slots.
    """

    teacher: tf.Tensor
    student: tf.Tensor
    kept: tf.Tensor
    slots: tf.Tensor
    unordered: tf.Tensor


def in_teacher_order(
    y_true: tf.Tensor, y_pred: tf.Tensor, loss: str, *, k: int | None = None
) -> RankedLists:
    """Return the teacher's best k of every list, or all, in its order; ties keep the list's.

    A list in which a candidate's logit is NaN, the teacher's or the student's, gives NaN for all of
    the student's: an order with NaN in it means nothing, and below the best k it would not show.

    Args:
        y_true: teacher logits, [num_queries, list_size].
        y_pred: student logits of the same shape.
        loss: the loss' name, for messages.
        k: how many; None for the whole list. To sort few of many takes a fraction of the time.

    Raises:
        ValueError: another shape, or lists of one slot.
    """
    teacher, student = checked_logits(y_true, y_pred, loss, min_width=2)
    list_size = tf.shape(teacher)[-1]
    slots = tf.math.top_k(teacher, list_size if k is None else tf.minimum(k, list_size)).indices
    is_kept = is_candidate(teacher)
    is_spoilt = is_kept & tf.math.is_nan(teacher + student)
    spoilt = tf.reduce_any(is_spoilt, axis=-1, keepdims=True)
    # Chosen before anything is computed, so that what stands in an empty slot has no gradient.
    unordered = tf.where(spoilt, np.nan, tf.where(is_kept, student, MASKED))
    kept = tf.gather(is_kept, slots, batch_dims=1)
    return RankedLists(
        tf.where(kept, tf.gather(teacher, slots, batch_dims=1), 0.0),
        tf.gather(unordered, slots, batch_dims=1),
        kept,
        slots,
        unordered,
    )
