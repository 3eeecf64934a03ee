"""The teachers' outputs for one batch, aligned with the student's outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.distiller.arguments import HIDDEN
from tfrs_distill.distiller.probabilities import refuse_logits
from tfrs_distill.knowledge.top_k_knowledge import align_top_k
from tfrs_distill.losses.candidate_lists import MASKED, is_candidate
from tfrs_distill.models.hidden_representations import find
from tfrs_distill.models.rows import rows_of
from tfrs_distill.models.student import Student
from tfrs_distill.models.student_outputs import Head, StudentOutputs


class TeacherLogits(NamedTuple):
    """The teacher's logits for one task.

    Args:
        raw: float32 [num_rows, width], before masks and corrections; 0 in rows that do not count.
        weights: float32 [num_rows], 0 in rows without teacher logits; None if all rows count 1.
        head: the student's outputs for the task.
    """

    raw: tf.Tensor
    weights: tf.Tensor | None
    head: Head

    @property
    def adjusted(self) -> tf.Tensor:
        """The logits with the same corrections and masks as the student's."""
        if self.head.candidates is not None:
            return self.head.candidates.adjust(self.raw)
        return tf.where(is_candidate(self.head.logits), self.raw, MASKED)


class TeacherOutputs:
    """The teachers' outputs for a batch, computed once per teacher, with gradients stopped.

    Args:
        teachers: by task, or `"hidden"`; without a teacher, a task's logits are read from the
            batch.
        student: the student.
        batch: the batch's columns.
        outputs: the student's outputs.
    """

    def __init__(
        self,
        teachers: Mapping[str, Any],
        student: Student,
        batch: dict[str, Any],
        outputs: StudentOutputs,
    ) -> None:
        self.teachers, self.student, self.batch, self.outputs = teachers, student, batch, outputs
        self.row_weights = student.row_weights(batch)
        self._logits_of_tasks: dict[str, TeacherLogits] = {}
        self._logits: dict[tuple[int, str | None], Any] = {}  # by teacher, for all tasks or one
        self._hidden: dict[int, Mapping[str, tf.Tensor]] = {}

    def from_top_k(self, task: str) -> bool:
        """Whether the batch has the teacher's top items instead of its embeddings."""
        has_candidates = self.outputs.heads[task].candidates is not None
        return has_candidates and columns.TEACHER_TOP_K_LOGITS in self.batch

    def logits_of(self, task: str) -> TeacherLogits:
        """Return the logits of the task's teacher, or those in the batch.

        A row of NaN in the batch's column gets weight 0.

        Raises:
            ValueError: there is neither a teacher nor a column, the teacher ends in a softmax or
                sigmoid, or its logits have other rows or candidates than the student's.
        """
        if task not in self._logits_of_tasks:
            head, weights = self.outputs.heads[task], self.row_weights
            if self.from_top_k(task):
                logits = rows_of(self.batch[columns.TEACHER_TOP_K_LOGITS], self.batch)
                logits = tf.cast(tf.stop_gradient(logits), tf.float32)
            elif task in self.teachers:
                logits = self._of_shape(self._of_teacher(task), task)
            else:
                logits = self._of_shape(self._of_column(task), task)
                weights = self._where_given(logits, weights)
            self._logits_of_tasks[task] = TeacherLogits(
                where_it_counts(logits, weights), weights, head
            )
        return self._logits_of_tasks[task]

    def logits_for(self, task: str, loss: tf.keras.losses.Loss) -> tuple[tf.Tensor, tf.Tensor]:
        """Return teacher and student logits over the same candidates for one loss.

        Raises:
            ValueError: the loss cannot be computed from the teacher's top K.
        """
        logits = self.logits_of(task)
        if not self.from_top_k(task):
            return logits.adjusted, logits.head.logits
        chosen, settings = logits.head.candidates, getattr(self.student, "candidates", None)
        whole = settings is not None and settings.of_catalogue
        whole = whole and logits.head.logits.shape[1] == getattr(self.student, "num_items", 0)
        if not whole or chosen is None or chosen.keep is not None or chosen.hard is not None:
            raise ValueError(
                "A teacher's top-K and the sum of the rest are over the whole catalogue, but the "
                f"candidates of {task!r} are {settings}, or some items of it. Join the cache with "
                "`form='embeddings'`."
            )
        tails = rows_of(self.batch[columns.TEACHER_TAIL], self.batch)
        at = tail_column(loss, getattr(self.teachers.get(task), "temperatures", ()))
        return align_top_k(
            logits.head.logits,
            self.top_k_ids(),
            logits.raw,
            tf.gather(tails, at, axis=1),
            loss.temperature,
        )

    def top_k_ids(self) -> tf.Tensor:
        """Return the teacher's top items, best first, int32 [num_rows, k]."""
        ids = tf.cast(self.batch[columns.TEACHER_TOP_K_IDS], tf.int32)  # no uint16 on GPUs
        return rows_of(ids, self.batch)

    def hidden_representation(self, task: str, name: str) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Return a teacher's hidden representation `[num_rows, ...]` and the rows' weights.

        Args:
            task: the task of the teacher, or `"hidden"`.
            name: of the teacher's layer; without a teacher, of a column of the batch.

        Raises:
            ValueError: neither exists, or the number of rows differs from the batch's.
        """
        teacher, weights = self.teachers.get(task), self.row_weights
        hidden = tf.stop_gradient(self._layer(task, teacher, name))
        hidden = tf.cast(self.student.to_rows(hidden, self.batch), tf.float32)
        require_rows(hidden, self.outputs, f"The teacher's hidden representation {name!r}")
        if teacher is None:
            weights = self._where_given(hidden, weights)
        return where_it_counts(hidden, weights), weights

    def example_at(self, row: int) -> int:
        """Return the example of a row of the loss: its id, or its position in the batch."""
        numbers = self.batch.get(columns.EXAMPLE_ID)
        if numbers is None:
            numbers = tf.range(tf.shape(tf.nest.flatten(self.batch)[0])[0])
        return int(self.student.of_rows(tf.convert_to_tensor(numbers), self.batch)[row])

    def _of_teacher(self, task: str) -> Any:
        teacher, candidates = self.teachers[task], self.outputs.heads[task].candidates
        key = (
            id(teacher),
            None if candidates is None else task,
        )  # each task has its own candidates
        if key not in self._logits:
            ids = None if candidates is None else candidates.ids
            self._logits[key] = teacher.logits(self.batch, ids)
        logits, name = self._logits[key], _name(teacher)
        if isinstance(logits, Mapping):
            if task not in logits:
                raise ValueError(
                    f"The teacher of task {task!r}, {name}, returns no logits for it. It returns "
                    f"logits for: {sorted(logits)}."
                )
            return logits[task]
        tasks = [key for key, other in self.teachers.items() if other is teacher and key != HIDDEN]
        if len(tasks) > 1 and candidates is None:
            raise ValueError(
                f"The teacher of the tasks {tasks}, {name}, must return a dict of logits by task. "
                f"Received: {_shape(logits)}."
            )
        return logits

    def _of_column(self, task: str) -> Any:
        name = columns.teacher_logits(task)
        if name not in self.batch:
            raise ValueError(
                f"Task {task!r} has distillation losses, but no teacher is given for it and the "
                f"batch has no column {name!r}. Give a teacher, a loaded distiller by "
                "`set_teacher(teacher)`, or the column, by `examples.with_teacher({...})`."
            )
        return self.student.to_rows(self.batch[name], self.batch)

    def _of_shape(self, logits: Any, task: str) -> tf.Tensor:
        """Return logits as float32 `[num_rows, width]`, with gradients stopped."""
        head = self.outputs.heads[task]
        wanted = head.logits.shape
        if head.candidates is not None:  # hard negatives are selected later
            wanted = tf.TensorShape([wanted[0], head.candidates.one_column.shape[0]])
        words = (
            f"Teacher and student logits of {task!r} must be over the same rows and candidates, "
            f"[num_rows, {wanted[1]}]. Received: "
        )
        try:
            logits = tf.convert_to_tensor(logits)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{words}{_shape(logits)}.") from error
        refuse_logits(logits, "teacher")
        logits = tf.cast(tf.stop_gradient(logits), tf.float32)
        if logits.shape.rank == 1 and wanted[1] == 1:
            logits = logits[:, None]
        if not logits.shape.is_compatible_with(wanted):
            raise ValueError(f"{words}teacher {logits.shape}, student {wanted}.")
        return tf.ensure_shape(logits, wanted)

    def _layer(self, task: str, teacher: Any, name: str) -> tf.Tensor:
        if teacher is None:
            if name not in self.batch:
                raise ValueError(
                    f"A loss needs the teacher's hidden representation {name!r}, but no teacher is "
                    f"given for {task!r}, and the batch has no column of this name. Give "
                    f"`teacher={{..., {task!r}: teacher}}`, or a column, "
                    "`examples.with_features({...})`."
                )
            return tf.convert_to_tensor(self.batch[name])
        if id(teacher) not in self._hidden:
            if not callable(getattr(teacher, "hidden_representations", None)):
                raise ValueError(
                    f"A loss needs the teacher's hidden representation {name!r}, but "
                    f"{type(teacher).__name__} has none: it has no method "
                    "`hidden_representations(batch)`."
                )
            self._hidden[id(teacher)] = teacher.hidden_representations(self.batch)
        return find(self._hidden[id(teacher)], name, "teacher")

    def _where_given(self, values: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
        """Return the weights, with 0 in rows of NaN, which mean that a value is missing."""
        rows = tf.reshape(values, [self.outputs.num_rows, -1])
        missing = tf.reduce_all(tf.math.is_nan(rows), axis=-1)
        return tf.where(missing, 0.0, 1.0 if weights is None else tf.cast(weights, tf.float32))


def where_it_counts(values: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
    """Replace values in rows of weight 0 by 0, so that a NaN there has no influence."""
    if weights is None or values.shape.rank is None:
        return values
    counts = tf.reshape(weights > 0, [-1] + [1] * (values.shape.rank - 1))
    return tf.where(counts, values, tf.zeros_like(values))


def nan_where_infinite(values: tf.Tensor, teacher_logits: tf.Tensor) -> tf.Tensor:
    """Replace a loss' values, [num_rows], by NaN where a teacher's logit is -inf.

    A loss may treat -inf as a mask and be finite there.
    """
    least = tf.reduce_min(teacher_logits, axis=-1)
    return tf.where(least > float("-inf"), values, float("nan"))


def require_rows(values: tf.Tensor, outputs: StudentOutputs, what: str) -> None:
    """Raise a ValueError if the first axis is known not to be the batch's rows."""
    num_rows = next(iter(outputs.heads.values())).logits.shape[0]
    if values.shape.rank in (0, None):
        raise ValueError(f"{what} must be [num_rows, ...]. Received: shape {values.shape}.")
    if not values.shape[:1].is_compatible_with([num_rows]):
        raise ValueError(
            f"{what} must have the batch's rows; a layer with another input, such as all "
            f"items, cannot be used. Received: {values.shape[0]} rows in a batch of {num_rows}."
        )


def tail_column(loss: Any, temperatures: tuple[float, ...]) -> tf.Tensor:
    """Return the index of the cached tail at the loss' current temperature.

    Raises:
        ValueError: the loss has no temperature, or the cache has no tail at it.
    """
    if not hasattr(loss, "temperature"):
        raise ValueError(
            f"The loss {loss.name!r} has no temperature, so a top-K cache has no tail for it. Join "
            "a teacher that has embeddings with `form='embeddings'`."
        )
    with tf.init_scope():
        now = float(tf.convert_to_tensor(loss.temperature).numpy())
    check_tail(loss.name, now, temperatures)
    distance = tf.abs(tf.constant(temperatures, tf.float32) - loss.temperature)
    return tf.argmin(distance)


def check_tail(name: str, temperature: float, temperatures: tuple[float, ...]) -> None:
    """Raise a ValueError if a cache has no tail at this temperature."""
    if not any(abs(temperature - summed) < 1e-6 * summed for summed in temperatures):
        raise ValueError(
            f"The teacher cache has tails at temperatures {list(temperatures)}, but the "
            f"loss {name!r} has temperature {temperature:g}. Cache the teacher with "
            f"`temperatures=({temperature:g},)`, or join a teacher that has embeddings with "
            "`form='embeddings'`."
        )


def agreement(teacher_outputs: TeacherOutputs, task: str, k: int) -> tf.Tensor:
    """Share of the teacher's top k that is in the student's top k, float32 [num_rows].

    Masked candidates do not count: a row with fewer than k candidates has a smaller k.
    """
    logits = teacher_outputs.logits_of(task)
    student = logits.head.logits
    k = min(k, student.shape[1]) if student.shape[1] else tf.minimum(k, tf.shape(student)[1])
    if teacher_outputs.from_top_k(task):
        ids = teacher_outputs.top_k_ids()
        k = min(k, ids.shape[1])
        teacher_best = ids[:, :k] - 1
    else:
        teacher_best = tf.math.top_k(logits.adjusted, k).indices
    student_best = tf.math.top_k(student, k).indices
    shared = tf.reduce_any(teacher_best[:, :, None] == student_best[:, None, :], axis=-1)
    counts = is_candidate(tf.gather(student, teacher_best, batch_dims=1))
    return tf.math.divide_no_nan(
        *(tf.reduce_sum(tf.cast(part, tf.float32), axis=-1) for part in (shared & counts, counts))
    )


def _name(teacher: Any) -> str:
    """Return the name of a teacher's class, or of the model or function that was given."""
    inner = getattr(teacher, "model", getattr(teacher, "function", teacher))
    return getattr(inner, "__name__", type(inner).__name__)


def _shape(values: Any) -> str:
    return f"shape {values.shape}" if hasattr(values, "shape") else type(values).__name__
