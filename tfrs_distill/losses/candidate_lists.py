"""Checks and masks for logits over candidates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

MASKED = np.finfo(np.float32).min / 1e8  # stays finite when divided by a small temperature


def is_candidate(teacher_logits: tf.Tensor) -> tf.Tensor:
    """Return a bool mask of the slots that hold a candidate: those whose logit is not `MASKED`.

    Logits at or below `MASKED / 2`, including -inf, count as masked, so that adding a constant to
    the logits does not unmask a slot.

    Example:
    >>> is_candidate(tf.constant([2.0, MASKED, -9.0])).numpy().tolist()
    [True, False, True]
    """
    return ~(teacher_logits <= MASKED / 2)  # NaN counts as a candidate: the loss must show it


def checked_logits(
    y_true: tf.Tensor, y_pred: tf.Tensor, loss: str, *, min_width: int = 1
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return teacher logits (gradient stopped) and student logits, both float32.

    Args:
        y_true: teacher logits, [num_rows, width]; axes in between are allowed.
        y_pred: student logits of the same shape.
        loss: name of the loss, for error messages.
        min_width: the least number of logits per row.

    Raises:
        ValueError: the shapes differ, or the rows are too short.
    """
    y_true, y_pred = tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred)
    received = f"Received: teacher {y_true.shape}, student {y_pred.shape}."
    ranks = {y_true.shape.rank, y_pred.shape.rank} - {None}
    if ranks and min(ranks) < 2:
        raise ValueError(
            f"{loss} needs logits [num_rows, width] of teacher and student; one logit per row is "
            f"[num_rows, 1]. {received}"
        )
    if not y_true.shape.is_compatible_with(y_pred.shape):
        raise ValueError(
            f"Teacher and student logits must be over the same rows and candidates. {received}"
        )
    width = (y_true.shape.merge_with(y_pred.shape) if ranks else [None])[-1]
    if width is not None and width < min_width:
        raise ValueError(f"{loss} needs at least {min_width} logits per row. {received}")
    return tf.stop_gradient(tf.cast(y_true, tf.float32)), tf.cast(y_pred, tf.float32)


def mean_over_candidates(values: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    """Return the mean over slots that hold a candidate, [..., width] to [...]; 0 if there is none.

    Args:
        values: float [..., width].
        kept: bool [..., width].
    """
    count = tf.reduce_sum(tf.cast(kept, values.dtype), axis=-1)
    return tf.math.divide_no_nan(tf.reduce_sum(tf.where(kept, values, 0.0), axis=-1), count)


class RankedLists(NamedTuple):
    """Candidate lists sorted by teacher logits, best first; empty slots are last.

    Args:
        teacher: float32 [num_queries, k], 0 in empty slots.
        student: float32 [num_queries, k], `MASKED` in empty slots, which have no gradient.
        kept: bool [num_queries, k], which slots hold a candidate.
        slots: int32 [num_queries, k], position of each candidate in the input list.
        unordered: float32 [num_queries, list_size], the student's logits in input order, `MASKED`
            in empty slots.
    """

    teacher: tf.Tensor
    student: tf.Tensor
    kept: tf.Tensor
    slots: tf.Tensor
    unordered: tf.Tensor


def in_teacher_order(
    y_true: tf.Tensor, y_pred: tf.Tensor, loss: str, *, k: int | None = None
) -> RankedLists:
    """Return the k candidates with the highest teacher logits of each list, in descending order.

    Ties keep the input order. If a candidate's teacher or student logit is NaN, all student logits
    of its list become NaN: sorting with NaN is undefined, and a NaN below the top k would otherwise
    go unnoticed.

    Args:
        y_true: teacher logits, [num_queries, list_size].
        y_pred: student logits of the same shape.
        loss: name of the loss, for error messages.
        k: number of candidates; None for the whole list. A small k of a long list is much faster.

    Raises:
        ValueError: the shapes differ, or lists have one slot.
    """
    teacher, student = checked_logits(y_true, y_pred, loss, min_width=2)
    list_size = tf.shape(teacher)[-1]
    slots = tf.math.top_k(teacher, list_size if k is None else tf.minimum(k, list_size)).indices
    is_kept = is_candidate(teacher)
    is_spoilt = is_kept & tf.math.is_nan(teacher + student)
    spoilt = tf.reduce_any(is_spoilt, axis=-1, keepdims=True)
    # Masked before any computation, so that values in empty slots get no gradient.
    unordered = tf.where(spoilt, np.nan, tf.where(is_kept, student, MASKED))
    kept = tf.gather(is_kept, slots, batch_dims=1)
    return RankedLists(
        tf.where(kept, tf.gather(teacher, slots, batch_dims=1), 0.0),
        tf.gather(unordered, slots, batch_dims=1),
        kept,
        slots,
        unordered,
    )
