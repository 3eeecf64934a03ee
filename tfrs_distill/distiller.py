"""The model that wraps teacher and student: one step mixes cross-entropy and distillation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.teacher_cache.cached_teacher import CachedTeacher
from tfrs_distill.teacher_cache.top_k_knowledge import align_top_k
from tfrs_distill.teachers.teacher import Teacher
from tfrs_distill.towers.two_tower import TwoTower, TwoTowerOutputs, labelled_rows


class _Guest:
    """Holds the teacher where Keras does not look: it is not tracked, trained, counted or saved."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class Distiller(tf.keras.Model):
    """Trains a student on labels and on what a teacher says, in one step.

    `total_loss = w * student_loss + (1 - w) * sum_i c_i * distillation_loss_i + regularisation`,
    with `w = student_loss_weight`, `student_loss` the mean categorical cross-entropy with the
    labels and each distillation loss a mean over the same rows: the positions of the batch that
    have a label. Teacher and student logits are over the same candidates. Gradients go to the
    student only.

    Reference: [Hinton et al., 2015](https://arxiv.org/abs/1503.02531).

    Args:
        student: a `RetrievalStudent`; afterwards `distiller.student` is the student alone.
        teacher: a `Teacher`. A `CachedTeacher` answers from the columns that
            `cached_teacher.join(windows)` adds to the batches. It is never changed.
        distillation_losses: Keras losses of (teacher logits, student logits), one or several.
        distillation_loss_weights: one number >= 0 a loss; 1 each by default.
        student_loss_weight: w, within 0 and 1.

    Raises:
        TypeError: student or teacher are not what they must be.
        ValueError: a weight is negative, NaN or of another number than the losses, or the student
            has nothing to train.

    Logs: `total_loss`, `student_loss`, `distillation_loss` and each distillation loss by its name.

    Example:
    >>> import numpy as np
    >>> from tfrs_distill import losses, students, teachers
    >>> student = students.RetrievalStudent.from_history(num_items=9, max_history=4, seed=0)
    >>> teacher = teachers.BertTwoTower(np.eye(9), max_history=4, embedding_dim=8, seed=0)
    >>> distiller = Distiller(student, teacher, losses.SoftTargetKLDivergence(temperature=2.0))
    >>> batch = {"history": tf.constant([[0, 0, 3, 5]]), "labels": tf.constant([[0, 0, 5, 7]])}
    >>> sorted(distiller.loss_terms(batch, training=False))
    ['distillation_loss', 'soft_target_kl_divergence', 'student_loss', 'total_loss']
    """

    def __init__(
        self,
        student: TwoTower,
        teacher: Teacher,
        distillation_losses: tf.keras.losses.Loss | Sequence[tf.keras.losses.Loss],
        distillation_loss_weights: Sequence[float] | None = None,
        *,
        student_loss_weight: float = 0.5,
        name: str = "distiller",
    ) -> None:
        super().__init__(name=name)
        if isinstance(distillation_losses, tf.keras.losses.Loss):
            distillation_losses = [distillation_losses]
        if distillation_loss_weights is None:
            distillation_loss_weights = [1.0] * len(distillation_losses)
        _check_models(student, teacher)
        _check_weights(distillation_losses, distillation_loss_weights, student_loss_weight)
        self.student = student
        self.guest = _Guest(teacher)
        self.distillation_losses = list(distillation_losses)
        self.distillation_loss_weights = [float(weight) for weight in distillation_loss_weights]
        self.student_loss_weight = float(student_loss_weight)
        names = ["total_loss", "student_loss", "distillation_loss"]
        names += [loss.name for loss in self.distillation_losses]
        self.means = {name: tf.keras.metrics.Mean(name=name) for name in names}

    @property
    def teacher(self) -> Teacher:
        """The caller's own teacher object."""
        return self.guest.teacher

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """The running means that `fit` and `evaluate` log and reset."""
        return list(self.means.values())

    def call(self, batch: dict[str, tf.Tensor], training: bool | None = None) -> TwoTowerOutputs:
        """The student's outputs."""
        return self.student(batch, training=training)

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One step on `total_loss`, for the student's weights alone."""
        with tf.GradientTape() as tape:
            terms = self.loss_terms(batch, training=True)
        self.optimizer.minimize(terms["total_loss"], self.student.trainable_variables, tape=tape)
        return self._logged(terms)

    def test_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The same terms without a step."""
        return self._logged(self.loss_terms(batch, training=False))

    def loss_terms(self, batch: dict[str, tf.Tensor], training: bool) -> dict[str, tf.Tensor]:
        """Every term of the loss by its name, scalars; one forward pass of the student."""
        batch, _, _ = tf.keras.utils.unpack_x_y_sample_weight(batch)
        outputs = self.student(batch, training=training)
        student_loss = tf.reduce_mean(self.student.hard_loss(batch, outputs))
        by_name = {
            loss.name: tf.reduce_mean(loss.call(*self._aligned(batch, outputs, loss)))
            for loss in self.distillation_losses
        }
        distillation_loss = tf.add_n(
            [w * term for w, term in zip(self.distillation_loss_weights, by_name.values())]
        )
        weight = self.student_loss_weight
        total = weight * student_loss + (1.0 - weight) * distillation_loss
        return {
            "total_loss": total + sum(self.student.losses),
            "student_loss": student_loss,
            "distillation_loss": distillation_loss,
        } | by_name

    def _aligned(
        self, batch: dict[str, tf.Tensor], outputs: TwoTowerOutputs, loss: tf.keras.losses.Loss
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Teacher's and student's logits over the same candidates."""
        if columns.TEACHER_TOP_K_LOGITS not in batch:
            candidates = tf.range(1, self.student.num_items + 1)
            teacher_logits = tf.stop_gradient(self.teacher.logits(batch, candidates))
            return teacher_logits, outputs.logits
        tail = labelled_rows(batch, columns.TEACHER_TAIL)[:, self._tail_column(loss)]
        return align_top_k(
            outputs.logits,
            labelled_rows(batch, columns.TEACHER_TOP_K_IDS),
            labelled_rows(batch, columns.TEACHER_TOP_K_LOGITS),
            tail,
            loss.temperature,
        )

    def _tail_column(self, loss: tf.keras.losses.Loss) -> int:
        temperatures = self.teacher.temperatures if isinstance(self.teacher, CachedTeacher) else ()
        if loss.temperature not in temperatures:
            raise ValueError(
                f"The teacher cache sums its tails at temperatures {list(temperatures)}, but the "
                f"loss {loss.name!r} has temperature {loss.temperature}. Cache the teacher with "
                f"`temperatures=({loss.temperature},)`, or join with `form='embeddings'`."
            )
        return list(temperatures).index(loss.temperature)

    def _logged(self, terms: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        for name, term in terms.items():
            self.means[name].update_state(term)
        return {name: mean.result() for name, mean in self.means.items()}


def _check_models(student: Any, teacher: Any) -> None:
    if not isinstance(student, TwoTower):
        raise TypeError(
            "`student` must be a `RetrievalStudent` (a Keras 2 model with `hard_loss`). Received: "
            f"{type(student).__module__}.{type(student).__name__}."
        )
    if not student.trainable_variables:
        raise ValueError(
            "`student` has no trainable weights, so there is nothing to distil into. Build it "
            "first (call it on a batch) and see that `trainable` is True."
        )
    if not callable(getattr(teacher, "logits", None)):
        raise TypeError(
            "`teacher` must have a method `logits(batch, candidate_ids)`, as the teachers of "
            f"`tfrs_distill.teachers` do. Received: {type(teacher).__module__}."
            f"{type(teacher).__name__}."
        )


def _check_weights(losses: Sequence[Any], weights: Sequence[float], student_weight: float) -> None:
    if not losses:
        raise ValueError("`distillation_losses` must hold at least one loss. Received: none.")
    if len(weights) != len(losses):
        raise ValueError(
            "`distillation_loss_weights` must have one number a loss. Received: "
            f"{len(weights)} weights for {len(losses)} losses."
        )
    for weight in weights:
        if not 0 <= weight < math.inf:
            raise ValueError(
                "`distillation_loss_weights` must be finite and at least 0. Received: "
                f"{list(weights)!r}."
            )
    if not 0 <= student_weight <= 1:
        raise ValueError(
            "`student_loss_weight` must be within 0 and 1. Received: "
            f"student_loss_weight={student_weight!r}."
        )
    names = [loss.name for loss in losses]
    if len(set(names)) != len(names):
        raise ValueError(f"Distillation losses must have different names. Received: {names}.")
