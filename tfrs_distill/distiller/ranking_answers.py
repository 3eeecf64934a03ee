"""What teachers say about a batch of ranking rows, asked once each, task by task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.distiller.ranking_arguments import HIDDEN
from tfrs_distill.distiller.value_checks import (
    after,
    fail_with,
    first_false,
    refuse_probabilities,
    unless,
)
from tfrs_distill.losses.candidate_lists import MASKED, is_candidate
from tfrs_distill.models.hidden_representations import find, recorded
from tfrs_distill.models.plain_errors import MARK


class Answer(NamedTuple):
    """What is known of one task's rows.

    Args:
        logits: float32 [num_rows, width], 0 in rows that do not count.
        weights: float32 [num_rows], 0 in rows of which the teacher says nothing.
    """

    logits: tf.Tensor
    weights: tf.Tensor


class RankingAnswers:
    """The teachers' side of one step, under `stop_gradient`.

    Args:
        teachers: by task, or `"hidden"`; a task without one is read from the batch's column.
        batch: the batch's columns.
        num_rows: rows of the batch.
    """

    def __init__(
        self, teachers: Mapping[str, Any], batch: Mapping[str, Any], num_rows: tf.Tensor
    ) -> None:
        self.teachers, self.batch, self.num_rows = teachers, batch, num_rows
        self._said: dict[int, Any] = {}  # by teacher, for one may speak of several tasks

    @property
    def row_weights(self) -> tf.Tensor:
        """The rows' sample weights, float32 [num_rows]; 1 where the batch has none."""
        if columns.SAMPLE_WEIGHT not in self.batch:
            return tf.ones([self.num_rows])
        return tf.reshape(tf.cast(self.batch[columns.SAMPLE_WEIGHT], tf.float32), [-1])

    def example_at(self, row: tf.Tensor) -> tf.Tensor:
        """What to call a row: its example's id, or its place in the batch."""
        numbers = self.batch.get(columns.EXAMPLE_ID)
        return row if numbers is None else tf.gather(numbers, row)

    def answer(self, task: str, student_logits: tf.Tensor) -> Answer:
        """What the task's teacher says, or said before and stands in the batch.

        A row that is NaN throughout in the batch's column has weight 0. What the student masks,
        such as items of the history, is masked in the teacher's logits too.

        Args:
            task: the task's name.
            student_logits: float32 [num_rows, width].

        Raises:
            ValueError: there is neither teacher nor column, or the logits are of other rows or of
                another width than the student's.
        """
        weights = self.row_weights
        if task in self.teachers:
            said = self._ask(task)
        else:
            said = self._column(task)
        said = _of_shape(said, student_logits, task)
        if task not in self.teachers:
            silent = tf.reduce_all(tf.math.is_nan(said), axis=-1)
            weights = tf.where(silent, 0.0, weights)
        said = tf.where((weights > 0.0)[:, None], said, 0.0)  # else no influence, not even of NaN
        said = self._require_finite(said, task)
        said = refuse_probabilities(said, said, weights, "teacher")
        return Answer(tf.where(is_candidate(student_logits), said, MASKED), weights)

    def hidden_representation(self, name: str) -> tuple[tf.Tensor, tf.Tensor]:
        """A teacher's hidden representation `[num_rows, ...]`, and the weights of the rows.

        Args:
            name: of the teacher's layer; or of a column of the batch, where there is no teacher
                that can be asked for layers.

        Raises:
            ValueError: there is neither, or it has another number of rows.
        """
        teacher = self.teachers.get(HIDDEN)
        said, weights = self._layers(teacher, name), self.row_weights
        said = tf.cast(tf.stop_gradient(said), tf.float32)
        said = require_rows(said, self.num_rows, f"The teacher's hidden representation {name!r}")
        each = [-1] + [1] * (said.shape.rank - 1)
        if teacher is None:
            silent = tf.reduce_all(tf.math.is_nan(tf.reshape(said, [self.num_rows, -1])), axis=-1)
            weights = tf.where(silent, 0.0, weights)
        said = tf.where(tf.reshape(weights > 0.0, each), said, 0.0)
        return self._require_finite(said, HIDDEN), weights

    def _layers(self, teacher: Any, name: str) -> tf.Tensor:
        if teacher is None:
            if name not in self.batch:
                raise ValueError(
                    f"A loss needs the teacher's hidden representation {name!r}, but no teacher is "
                    f"given for {HIDDEN!r}, and the batch has no column of this name. Give "
                    f"`teachers={{..., {HIDDEN!r}: teacher}}`, or a column, "
                    "`examples.with_features({...})`."
                )
            return tf.convert_to_tensor(self.batch[name])
        if callable(getattr(teacher, "hidden_representations", None)):
            return find(teacher.hidden_representations(self.batch), name, "teacher")
        if isinstance(teacher, tf.keras.Model):
            with recorded(teacher) as hidden:
                _call(teacher, self.batch)
            return find(hidden, name, "teacher")
        raise ValueError(
            f"A loss needs the teacher's hidden representation {name!r}, but "
            f"{type(teacher).__name__} gives none: it is no Keras model and has no method "
            "`hidden_representations(batch)`."
        )

    def _ask(self, task: str) -> Any:
        teacher = self.teachers[task]
        if id(teacher) not in self._said:
            self._said[id(teacher)] = _call(teacher, self.batch)
        said, name = self._said[id(teacher)], type(teacher).__name__
        if isinstance(said, Mapping):
            if task not in said:
                raise ValueError(
                    f"The teacher of task {task!r}, {name}, says nothing of it. It answers for: "
                    f"{sorted(said)}."
                )
            return said[task]
        tasks = [key for key, other in self.teachers.items() if other is teacher and key != HIDDEN]
        if len(tasks) > 1:
            raise ValueError(
                f"The teacher of the tasks {tasks}, {name}, must give a dict of logits by task. "
                f"Received: {_shape(said)}."
            )
        return said

    def _column(self, task: str) -> Any:
        name = columns.teacher_logits(task)
        if name not in self.batch:
            raise ValueError(
                f"Task {task!r} has distillation losses, but no teacher is given for it and the "
                f"batch has no column {name!r}. Give a teacher, or the column: "
                "`examples.with_teacher({...})`."
            )
        return self.batch[name]

    def _require_finite(self, said: tf.Tensor, what: str) -> tf.Tensor:
        flat = tf.reshape(said, [self.num_rows, -1])
        fine = tf.reduce_all(tf.math.is_finite(flat), axis=-1)
        words = f"{MARK}The teacher of `{what}` gives NaN or infinite values for example"
        if self.teachers.get(what) is None:
            words = (
                f"{MARK}What the batch says of the teacher of `{what}` is infinite, or NaN in part "
                "(NaN throughout: it says nothing of the row), for example"
            )
        check = unless(
            tf.reduce_all(fine), lambda: fail_with([words, self.example_at(first_false(fine))])
        )
        return after(check, said)


def require_rows(values: tf.Tensor, num_rows: tf.Tensor, what: str) -> tf.Tensor:
    """The values, if they are of the batch's rows.

    Raises:
        ValueError: they are no rows at all.
    """
    if values.shape.rank in (0, None):
        raise ValueError(f"{what} must be [num_rows, ...]. Received: shape {values.shape}.")
    rows = tf.shape(values)[0]
    words = f"{MARK}{what} must be of the batch's rows; a layer that read something else, such as "
    words += "all items, is none. Received: number of rows"
    check = unless(
        tf.equal(rows, num_rows), lambda: fail_with([words, rows, "in a batch of", num_rows])
    )
    return after(check, values)


def _call(teacher: Any, batch: Mapping[str, Any]) -> Any:
    if callable(getattr(teacher, "ranking_logits", None)):
        return teacher.ranking_logits(batch)
    if isinstance(teacher, tf.keras.Model):
        named = getattr(teacher, "input", None)  # of a functional model
        if isinstance(named, Mapping) and set(named) <= set(batch):
            batch = {name: batch[name] for name in named}
        return teacher(batch.get(columns.INPUTS, batch), training=False)
    return teacher(batch)


def _of_shape(said: Any, student_logits: tf.Tensor, task: str) -> tf.Tensor:
    """What was said as float32 `[num_rows, width]`, without a gradient."""
    wanted = f"Logits of the teacher of task {task!r} must be [num_rows, {student_logits.shape[1]}]"
    try:
        said = tf.cast(tf.stop_gradient(tf.convert_to_tensor(said)), tf.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{wanted}. Received: {_shape(said)}.") from error
    if said.shape.rank == 1 and student_logits.shape[1] == 1:
        said = said[:, None]
    if not said.shape.is_compatible_with(student_logits.shape):
        raise ValueError(f"{wanted}, as the student's. Received: {_shape(said)}.")
    shape, expected = tf.shape(said), tf.shape(student_logits)
    fine = tf.reduce_all(shape == expected) if said.shape.rank == 2 else tf.constant(False)
    words = f"{MARK}{wanted}, of the batch's rows. Received"
    check = unless(fine, lambda: fail_with([f"{words}: teacher", shape, "student", expected]))
    with tf.control_dependencies([check]):
        return tf.ensure_shape(tf.identity(said), student_logits.shape)


def _shape(said: Any) -> str:
    return f"shape {said.shape}" if hasattr(said, "shape") else type(said).__name__
