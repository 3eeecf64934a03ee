"""Labels that a task cannot have, caught inside the step, before any weight changes."""

from __future__ import annotations

import tensorflow as tf

from tfrs_distill.models.plain_errors import MARK
from tfrs_distill.models.tasks import RankingTask


def require_labels(task: RankingTask, labels: tf.Tensor, given: tf.Tensor) -> tf.Tensor:
    """The labels, unless one is such as the task cannot have: then the step fails.

    Under XLA TensorFlow leaves this out; `RankingTask.check` looks at a whole data set beforehand.

    Args:
        task: whose labels they are.
        labels: float32 [num_rows].
        given: bool [num_rows], which of them count.
    """
    wrong = given & ~task.are_labels(labels)
    words = f"{MARK}Labels of task {task.name!r} must be {task.label_range}, or NaN for none. "

    def fail() -> tf.Tensor:
        row = tf.argmax(tf.cast(wrong, tf.int32), output_type=tf.int32)
        data = [words + "Received:", tf.gather(labels, row), "in row", row, "of the batch"]
        with tf.control_dependencies([tf.debugging.Assert(False, data)]):
            return tf.constant(False)

    check = tf.cond(tf.reduce_any(wrong), fail, lambda: tf.constant(True))
    with tf.control_dependencies([check]):
        return tf.identity(labels)
