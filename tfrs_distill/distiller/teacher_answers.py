"""What the teacher says about one batch, asked once and laid beside what the student says."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.distiller.last_activation import refuse_logits
from tfrs_distill.knowledge.top_k_knowledge import align_top_k
from tfrs_distill.models.hidden_representations import find
from tfrs_distill.models.rows import rows_of
from tfrs_distill.models.student_outputs import StudentOutputs


class TeacherAnswers:
    """The teacher's side of one step, under `stop_gradient`, computed when first asked for.

    Args:
        teacher: a `Teacher`.
        pupil: the student's contract.
        batch: the batch's columns.
        outputs: what the student said.
    """

    def __init__(
        self, teacher: Any, pupil: Any, batch: dict[str, Any], outputs: StudentOutputs
    ) -> None:
        self.teacher, self.pupil, self.batch, self.outputs = teacher, pupil, batch, outputs
        self.weights = pupil.row_weights(batch)
        self._raw_logits: tf.Tensor | None = None
        self._logits: tf.Tensor | None = None
        self._hidden: dict[str, tf.Tensor] | None = None

    @property
    def from_top_k(self) -> bool:
        """Whether the batch carries the teacher's best items instead of its embeddings."""
        return columns.TEACHER_TOP_K_LOGITS in self.batch

    @property
    def raw_logits(self) -> tf.Tensor:
        """What the teacher said, before masks and corrections.

        Raises:
            ValueError: it ends in a softmax or sigmoid.
        """
        if self._raw_logits is None:
            if self.from_top_k:
                said = rows_of(self.batch[columns.TEACHER_TOP_K_LOGITS], self.batch)
            else:
                said = self.teacher.logits(self.batch, self.outputs.candidates.ids)
                refuse_logits(said, "teacher")
            self._raw_logits = self._where_it_counts(tf.cast(tf.stop_gradient(said), tf.float32))
        return self._raw_logits

    @property
    def logits(self) -> tf.Tensor:
        """The teacher's logits, over the student's candidates, corrected and masked like them."""
        if self._logits is None:
            self._logits = self.outputs.candidates.adjust(self.raw_logits)
        return self._logits

    def logits_for(self, loss: tf.keras.losses.Loss) -> tuple[tf.Tensor, tf.Tensor]:
        """Teacher's and student's logits over the same candidates, for one loss.

        Raises:
            ValueError: the teacher's logits are over other candidates, or its top-K cannot answer.
        """
        if self.from_top_k:
            return self._aligned_top_k(loss)
        teacher, student = self.raw_logits, self.outputs.candidates.one_column
        if not teacher.shape.is_compatible_with([None, *student.shape[:1]]):
            raise ValueError(
                "Teacher and student logits must be over the same candidates. Received: teacher "
                f"{teacher.shape}, student {self.outputs.logits.shape}."
            )
        return self.logits, self.outputs.logits

    def _aligned_top_k(self, loss: tf.keras.losses.Loss) -> tuple[tf.Tensor, tf.Tensor]:
        chosen = self.outputs.candidates
        settings = self.pupil.candidates
        if not settings.of_catalogue or chosen.keep is not None or chosen.hard is not None:
            raise ValueError(
                "A teacher's top-K and the sum of the rest are over the whole catalogue, but the "
                f"student's candidates are {settings}. Join the cache with `form='embeddings'`."
            )
        tails = rows_of(self.batch[columns.TEACHER_TAIL], self.batch)
        at = tail_column(loss, getattr(self.teacher, "temperatures", ()))
        return align_top_k(
            self.outputs.logits,
            self.top_k_ids(),
            self.raw_logits,
            tf.gather(tails, at, axis=1),
            loss.temperature,
        )

    def top_k_ids(self) -> tf.Tensor:
        """The teacher's best items, best first, int32 [num_rows, k]."""
        ids = tf.cast(self.batch[columns.TEACHER_TOP_K_IDS], tf.int32)  # a GPU gathers no uint16
        return rows_of(ids, self.batch)

    def hidden_representation(self, name: str) -> tf.Tensor:
        """One of the teacher's hidden representations, `[num_rows, ...]`.

        Raises:
            ValueError: the teacher gives none, or none of that name.
        """
        if self._hidden is None:
            if not callable(getattr(self.teacher, "hidden_representations", None)):
                raise ValueError(
                    f"A loss needs the teacher's hidden representation {name!r}, but "
                    f"{type(self.teacher).__name__} gives none: it has no method "
                    "`hidden_representations(batch)`."
                )
            self._hidden = self.teacher.hidden_representations(self.batch)
        said = find(self._hidden, name, "teacher")
        return self._where_it_counts(tf.stop_gradient(self.pupil.to_rows(said, self.batch)))

    def example_at(self, row: tf.Tensor) -> tf.Tensor:
        """The example that a row of the loss belongs to: its id, or its place in the batch."""
        numbers = self.batch.get(columns.EXAMPLE_ID)
        if numbers is None:
            numbers = tf.range(tf.shape(tf.nest.flatten(self.batch)[0])[0])
        return tf.gather(self.pupil.of_rows(numbers, self.batch), row)

    def _where_it_counts(self, said: tf.Tensor) -> tf.Tensor:
        """The same, but 0 at rows of weight 0, so that not even NaN there has an influence."""
        if self.weights is None or said.shape.rank is None:
            return said
        counts = tf.reshape(self.weights > 0, [-1] + [1] * (said.shape.rank - 1))
        return tf.where(counts, said, tf.zeros_like(said))


def tail_column(loss: Any, temperatures: tuple[float, ...]) -> tf.Tensor:
    """Which of a cache's tails was summed at the loss' temperature, as it is now.

    Raises:
        ValueError: none was.
    """
    if not hasattr(loss, "temperature"):
        raise ValueError(
            f"The loss {loss.name!r} has no temperature, so a top-K cache has no tail for it. Join "
            "with `form='embeddings'`."
        )
    with tf.init_scope():
        now = float(tf.convert_to_tensor(loss.temperature).numpy())
    check_tail(loss.name, now, temperatures)
    distance = tf.abs(tf.constant(temperatures, tf.float32) - loss.temperature)
    return tf.argmin(distance)


def check_tail(name: str, temperature: float, temperatures: tuple[float, ...]) -> None:
    """Raises a ValueError where a cache has no tail at this temperature."""
    if not any(abs(temperature - summed) < 1e-6 * summed for summed in temperatures):
        raise ValueError(
            f"The teacher cache sums its tails at temperatures {list(temperatures)}, but the "
            f"loss {name!r} has temperature {temperature:g}. Cache the teacher with "
            f"`temperatures=({temperature:g},)`, or join with `form='embeddings'`."
        )


def agreement(answers: TeacherAnswers, k: int) -> tf.Tensor:
    """Share of the teacher's k best candidates among the student's k best, float32 [num_rows]."""
    student = answers.outputs.logits
    k = min(k, student.shape[1]) if student.shape[1] else tf.minimum(k, tf.shape(student)[1])
    if answers.from_top_k:
        ids = answers.top_k_ids()
        k = min(k, ids.shape[1])
        teacher_best = ids[:, :k] - 1
    else:
        teacher_best = tf.math.top_k(answers.logits, k).indices
    student_best = tf.math.top_k(student, k).indices
    shared = tf.reduce_any(teacher_best[:, :, None] == student_best[:, None, :], axis=-1)
    return tf.reduce_mean(tf.cast(shared, tf.float32), axis=-1)
