"""Values that would spoil the student, caught inside the step, before its weights change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.distiller.teacher_answers import TeacherAnswers
from tfrs_distill.losses.candidate_lists import MASKED
from tfrs_distill.models.plain_errors import MARK


def require_finite(
    values: tf.Tensor, name: str, said: tf.Tensor, example_of: Callable[[tf.Tensor], tf.Tensor]
) -> tf.Tensor:
    """The values of a distillation loss, unless one is NaN or infinite: then the step fails.

    So it does where the teacher gives -inf, which a loss may take for a mask. Looking for the
    culprit costs nothing until there is one.

    Args:
        values: float32 [num_rows], of one loss.
        name: the loss' name.
        said: the teacher's side of it, [num_rows, ...].
        example_of: what to call a row: its index in `values` to the example's id.
    """
    least = tf.reduce_min(tf.reshape(said, [tf.shape(said)[0], -1]), axis=-1)
    finite = tf.math.is_finite(values) & (least != -np.inf)

    def fail() -> tf.Tensor:
        row = first_false(finite)
        example = example_of(row)
        of_row = tf.gather(said, row)
        # What overflows by a temperature is no better than infinite, and masks alone are no answer.
        taught = tf.reduce_all(tf.math.is_finite(of_row) & (of_row < -MASKED))
        taught &= tf.reduce_any(of_row > MASKED)
        teacher = [f"{MARK}The teacher gives NaN or infinite values for example", example]
        student = [
            f"{MARK}The student has diverged: its distillation loss `{name}` is NaN or infinite, "
            "though what the teacher said is finite. Lower the learning rate. Example",
            example,
        ]
        with tf.control_dependencies([tf.debugging.Assert(taught, teacher)]):
            return fail_with(student)

    return after(unless(tf.reduce_all(finite), fail), values)


def first_false(fine: tf.Tensor) -> tf.Tensor:
    """The index of the first false entry, int32; `argmin` may give any where several are equal."""
    return tf.reduce_sum(tf.math.cumprod(tf.cast(fine, tf.int32)))


def refuse_probabilities(
    values: tf.Tensor, said: tf.Tensor, weights: tf.Tensor | None, whose: str
) -> tf.Tensor:
    """The values, unless the logits are at least 0 and every row of them sums to 1.

    Args:
        values: float32, such as the values of a loss.
        said: the logits, [num_rows, num_candidates].
        weights: of the rows, [num_rows]; None where all count. Those of weight 0 are not looked at.
        whose: `"teacher"` or `"student"`.
    """
    if said.shape[-1] == 1:
        return values
    # Enough rows to tell, too few to cost time.
    said = (
        said[:8]
        if weights is None
        else tf.gather(said, tf.where(tf.cast(weights, tf.float32) > 0.0)[:8, 0])
    )
    sums = tf.reduce_sum(said, axis=-1)
    others = (tf.abs(sums - 1.0) > 1e-3) | ~tf.math.is_finite(sums)  # NaN is another fault
    fine = tf.reduce_any(others) | tf.reduce_any(said < 0.0)
    message = (
        f"{MARK}The {whose}'s logits are probabilities: none is negative and every row sums to 1. "
        "Give logits (from before the softmax), or the probabilities' logarithm."
    )
    return after(unless(fine | (tf.size(said) == 0), lambda: fail_with([message])), values)


def same_candidates(answers: TeacherAnswers) -> list[tf.Tensor]:
    """What must have run before teacher's and student's logits meet: a check of their shapes.

    Logits of another shape may still broadcast, and would teach nonsense.

    Args:
        answers: what the teacher said, and the student.
    """
    if answers.from_top_k:
        return []
    rows, candidates = answers.outputs.logits, answers.outputs.candidates.one_column
    teacher = tf.shape(answers.raw_logits)
    student = tf.stack([tf.shape(rows)[0], tf.shape(candidates)[0]])
    of_rank_2 = answers.raw_logits.shape.rank in (2, None)
    fine = tf.reduce_all(teacher == student) if of_rank_2 else tf.constant(False)
    words = f"{MARK}Teacher and student logits must be over the same rows and candidates. Received"
    return [unless(fine, lambda: fail_with([f"{words}: teacher", teacher, "student", student]))]


def unless(fine: tf.Tensor, fail: Callable[[], tf.Tensor]) -> tf.Tensor:
    """Runs `fail` where `fine` is false: something that others can be made to wait for."""
    return tf.cond(fine, lambda: tf.constant(True), fail)


def fail_with(words: list[Any]) -> tf.Tensor:
    """Fails in these words, the first of which begins with `MARK`."""
    with tf.control_dependencies([tf.debugging.Assert(False, words)]):
        return tf.constant(False)


def after(check: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """The values, such that they and their gradient wait for the check."""

    @tf.custom_gradient
    def identity(x: tf.Tensor) -> Any:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            with tf.control_dependencies([check]):
                return tf.identity(upstream)

        with tf.control_dependencies([check]):
            return tf.identity(x), gradient

    return identity(values)
