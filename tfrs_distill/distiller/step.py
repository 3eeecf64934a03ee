"""What one forward pass of a `Distiller` gives: the terms of its loss, means over rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tfrs_distill.distiller.teacher_answers import TeacherAnswers
from tfrs_distill.losses.weighted_mean import weighted_mean
from tfrs_distill.models.replicas import mean_over_global_batch, num_replicas
from tfrs_distill.models.student_outputs import StudentOutputs


class Term(NamedTuple):
    """A weighted mean over rows.

    Args:
        part: on one of several replicas, this replica's part of the global batch's mean; the parts
            add up to it.
        weight: the summed weight of the global batch's rows.
        values: float32 [num_rows], what it is the mean of; None of a sum of terms.
    """

    part: tf.Tensor
    weight: tf.Tensor
    values: tf.Tensor | None = None

    @property
    def mean(self) -> tf.Tensor:
        """The mean, or what the mean over replicas makes the mean."""
        return self.part * num_replicas()


class Step(NamedTuple):
    """What a forward pass gives.

    Args:
        terms: every term by its name in the logs; `total_loss` is what is minimised.
        batch: the batch's columns.
        outputs: what the student said.
        answers: what the teachers said.
    """

    terms: dict[str, Term]
    batch: dict[str, Any]
    outputs: StudentOutputs
    answers: TeacherAnswers


def term_of(values: tf.Tensor, weights: tf.Tensor | None) -> Term:
    """The weighted mean over the rows, or lists of rows, of all replicas."""
    own = tf.cast(tf.size(values), tf.float32)
    if weights is not None:
        own = tf.reduce_sum(tf.cast(weights, tf.float32))
    part = mean_over_global_batch(weighted_mean(values, weights), own, 0.0)
    return Term(part, _over_replicas(own), values)


def sum_of(weights: tf.Tensor | None, outputs: StudentOutputs) -> tf.Tensor:
    """The rows' summed weight, or their number."""
    if weights is None:
        return tf.cast(outputs.num_rows, tf.float32)
    return tf.reduce_sum(tf.cast(weights, tf.float32))


def global_sum(weights: tf.Tensor | None, outputs: StudentOutputs) -> tf.Tensor:
    """The same over all replicas."""
    return _over_replicas(sum_of(weights, outputs))


def _over_replicas(weight: tf.Tensor) -> tf.Tensor:
    """The sum over all replicas."""
    if num_replicas() == 1:
        return weight
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, weight)


def nan_where_infinite(values: tf.Tensor, teacher_logits: tf.Tensor) -> tf.Tensor:
    """A loss' values [num_rows], NaN where a teacher's logit is -inf, which a loss may mask."""
    least = tf.reduce_min(teacher_logits, axis=-1)
    return tf.where(least > float("-inf"), values, float("nan"))
