"""The model that wraps teacher and student: one step mixes cross-entropy and distillation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.distiller.arguments import as_pupil, as_teacher, check_losses
from tfrs_distill.distiller.forward import DistillationLoss, Step, as_batch, forward
from tfrs_distill.distiller.teacher_answers import agreement
from tfrs_distill.distiller.teaching_model import BalanceGroup, Guests, TeachingModel, number
from tfrs_distill.losses.weighted_mean import weighted_mean
from tfrs_distill.models.replicas import mean_over_global_batch
from tfrs_distill.models.retrieval_model import RetrievalModel
from tfrs_distill.models.step import take_step
from tfrs_distill.models.student_outputs import StudentOutputs
from tfrs_distill.teachers.teacher import Teacher


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class Distiller(TeachingModel):
    """Trains a student on labels and on what a teacher says, in one step.

    `total_loss = w * student_loss + (1 - w) * sum_i c_i * distillation_loss_i + regularisation`,
    with `w = student_loss_weight`, `student_loss` the categorical cross-entropy with the labels,
    and every loss a mean over the same rows, weighted by `columns.SAMPLE_WEIGHT` where the batch
    has it: `sum_r weight_r loss_r / sum_r weight_r`. Teacher and student logits are over the same
    candidates, corrected and masked alike. Gradients go to the student and to the projectors of
    distillation layers, never to the teacher.

    Reference: [Hinton et al., 2015](https://arxiv.org/abs/1503.02531).

    Args:
        student: a `RetrievalStudent` (also one made of your own `tfrs.Model` by
            `RetrievalStudent.from_tfrs`) or a plain `tf.keras.Model` that gives logits over
            classes. It is trained in place; afterwards `distiller.student` is the student alone.
        teacher: a `Teacher`; a `tf.keras.Model` that gives logits over the student's candidates; or
            a function `(batch, candidate_ids) -> logits`. A `CachedTeacher` answers from the
            columns that `cached_teacher.join(windows)` adds to the batches. It is never trained,
            tracked, saved or changed. None after loading, until `set_teacher`.
        distillation_losses: Keras losses of (teacher logits, student logits), or
            `HiddenRepresentationDistillation` layers; one or several.
        distillation_loss_weights: one number >= 0 a loss; 1 each by default.
        student_loss_weight: w, within 0 and 1. With 0 the labels are not used and may be absent.
        agreement_k: length of the lists that `evaluate` compares.

    `student_loss_weight`, `distillation_loss_weights[name]` and `temperatures[name]` are variables,
    saved with the model; `Schedule` and the balance callbacks move them.

    Batches are dicts of `columns`, or for a classifier also `(x, y)` and `(x, y, sample_weight)`
    as in Keras. Labels are ids, one-hot or soft.

    Raises:
        TypeError: student, teacher or a loss are not what they must be.
        ValueError: a weight is negative, NaN or of another number than the losses, or the student
            has nothing to train or ends in a softmax or sigmoid. At the first batch, before any
            weight changes: the teacher gives NaN or another number of candidates than the
            student, either gives probabilities instead of logits, or a loss asks for a hidden
            representation that is not there. (A sigmoid in a model's own `call` is seen in graphs,
            not with `run_eagerly=True`.)

    Under XLA (`jit_compile=True`) TensorFlow leaves out what looks at values, so that NaN and
    probabilities pass unseen there: train a first epoch without it.

    Logs: `total_loss`, `student_loss`, `distillation_loss`, each distillation loss by its name and
    the metrics given to `compile`; `evaluate` and validation also `agreement@k`, the share of the
    teacher's k best candidates that are among the student's k best.

    Example:
    >>> import numpy as np
    >>> from tfrs_distill import losses, models, teachers
    >>> student = models.RetrievalStudent.from_history(num_items=9, max_history=4, seed=0)
    >>> teacher = teachers.BertTwoTower(np.eye(9), max_history=4, embedding_dim=8, seed=0)
    >>> distiller = Distiller(student, teacher, losses.SoftTargetKLDivergence(temperature=2.0))
    >>> batch = {"history": tf.constant([[0, 0, 3, 5]]), "labels": tf.constant([[0, 0, 5, 7]])}
    >>> sorted(distiller.loss_terms(batch, training=False))
    ['distillation_loss', 'soft_target_kl_divergence', 'student_loss', 'total_loss']
    """

    never_saved = ("teacher",)

    def __init__(
        self,
        student: tf.keras.Model,
        teacher: Teacher | tf.keras.Model | Any | None,
        distillation_losses: DistillationLoss | Sequence[DistillationLoss],
        distillation_loss_weights: Sequence[float] | None = None,
        *,
        student_loss_weight: float = 0.5,
        agreement_k: int = 10,
        name: str = "distiller",
    ) -> None:
        super().__init__(name)
        if not isinstance(distillation_losses, Sequence):
            distillation_losses = [distillation_losses]
        if distillation_loss_weights is None:
            distillation_loss_weights = [1.0] * len(distillation_losses)
        pupil = as_pupil(student)
        check_losses(distillation_losses, distillation_loss_weights, student_loss_weight)
        self.student = student
        self.guests = Guests(
            pupil=pupil, teacher=None, losses=list(distillation_losses), tails=None, labelled=True
        )
        if teacher is not None:
            self.set_teacher(teacher)
        names = [loss.name for loss in distillation_losses]
        self.student_loss_weight = number(student_loss_weight, "student_loss_weight")
        self.hold_losses(
            dict(zip(names, distillation_losses)), dict(zip(names, distillation_loss_weights))
        )
        self.agreement_k = agreement_k
        terms = ["total_loss", "student_loss", "distillation_loss", *names]
        self.means = {name: tf.keras.metrics.Mean(name=name) for name in terms}
        self.agreement_mean = tf.keras.metrics.Mean(name=f"agreement@{agreement_k}")
        # Keras asks before it saves, backs up or builds an optimizer: projectors come with a batch.
        layers = [loss for loss in distillation_losses if isinstance(loss, tf.keras.layers.Layer)]
        self.built = student.built and all(layer.built for layer in layers)

    @property
    def teacher(self) -> Any:
        """The caller's own teacher object; None after loading, until `set_teacher`."""
        return self.guests.teacher

    def set_teacher(self, teacher: Any) -> None:
        """Give a teacher to a distiller that was loaded: files do not hold it."""
        as_teacher(teacher)
        self.guests.teacher = teacher

    @property
    def balance_groups(self) -> list[BalanceGroup]:
        """All distillation losses against the one student loss."""
        names = tuple(self.distillation_loss_weights)
        return [BalanceGroup(("student_loss",), names, columns.LABELS)]

    def student_loss_weights_of(self, loss: str | None) -> list[tf.Variable]:
        """The one there is."""
        return [self.student_loss_weight]

    def has_labels(self, loss: str | None) -> bool:
        """Whether the batches so far had labels."""
        return self.guests.labelled

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """What is logged and reset: every term, the agreement, the metrics given to `compile`."""
        given = [] if self.compiled_metrics is None else self.compiled_metrics.metrics
        task = getattr(self.student, "task_metrics", [])
        corpus = getattr(self.student, "corpus_metrics", [])
        return [*self.means.values(), self.agreement_mean, *task, *given, *corpus]

    def call(self, inputs: Any, training: bool | None = None) -> StudentOutputs | tf.Tensor:
        """What the student says."""
        plain = not isinstance(self.student, RetrievalModel)
        if plain and isinstance(inputs, dict) and columns.INPUTS in inputs:
            inputs = inputs[columns.INPUTS]
        return self.student(inputs, training=training)

    def predict_step(self, data: Any) -> tf.Tensor:
        """The student's logits, which is what `predict` gives."""
        return self.guests.pupil(as_batch(self.student, data), training=False).logits

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One step on `total_loss`, for the weights of student and projectors."""
        with tf.GradientTape() as tape:
            step = forward(self, data, training=True)
            total = mean_over_global_batch(step.mixed, step.weight, sum(self.losses))
        with tf.control_dependencies([total]):  # no weight moves before the step's checks
            take_step(self, total, tape)
        return self._logged(step)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """The same terms without a step, and how far student and teacher agree."""
        step = forward(self, data, training=False)
        logged = self._logged(step)
        if any(isinstance(loss, tf.keras.losses.Loss) for loss in self.guests.losses):
            self.agreement_mean.update_state(
                weighted_mean(agreement(step.answers, self.agreement_k), step.weights), step.weight
            )
            logged[self.agreement_mean.name] = self.agreement_mean.result()
        if isinstance(self.student, RetrievalModel):
            self.student.update_factorized_metrics(step.outputs, step.weights)
            logged |= {metric.name: metric.result() for metric in self.student.corpus_metrics}
        return logged

    def loss_terms(self, batch: Any, training: bool) -> dict[str, tf.Tensor]:
        """Every term of the loss by its name, scalars; one forward pass of the student.

        On one of several replicas: the means over this replica's rows.
        """
        return forward(self, batch, training).terms

    def _logged(self, step: Step) -> dict[str, tf.Tensor]:
        for name, term in step.terms.items():
            self.means[name].update_state(term, sample_weight=step.weight)
        logged = {name: self.means[name].result() for name in step.terms}
        labels = step.outputs.candidates.label_columns
        if labels is not None:
            self.compiled_metrics.update_state(labels, step.outputs.logits, step.weights)
            logged |= {metric.name: metric.result() for metric in self.compiled_metrics.metrics}
            if isinstance(self.student, RetrievalModel):
                loss = step.terms["student_loss"]
                self.student.update_task_metrics(step.outputs, loss, step.weights)
                logged |= {metric.name: metric.result() for metric in self.student.task_metrics}
        return logged

    def before_fit(self, data: Any) -> None:
        """See what a cache's tails were summed at."""
        self.guests.tails = self._tails_of(data)
        self.guests.labelled = True  # until a batch shows otherwise

    def _tails_of(self, data: Any) -> tuple[float, ...] | None:
        """The temperatures of the tails that the data carry, if they carry any."""
        x = getattr(data, "element_spec", data)
        if isinstance(x, tuple):
            x = x[0]
        if isinstance(x, dict) and columns.TEACHER_TOP_K_LOGITS in x:
            return getattr(self.teacher, "temperatures", ())
        return None

    def get_config(self) -> dict[str, Any]:
        """The student, the losses, temperatures and weights as they are now; not the teacher."""
        return {
            "name": self.name,
            "student": tf.keras.utils.serialize_keras_object(self.student),
            "distillation_losses": [
                self.saved_loss(loss.name, loss) for loss in self.guests.losses
            ],
            "distillation_loss_weights": [
                float(weight.numpy()) for weight in self.distillation_loss_weights.values()
            ],
            "student_loss_weight": float(self.student_loss_weight.numpy()),
            "agreement_k": self.agreement_k,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Distiller:
        """A distiller without a teacher: give it one with `set_teacher`."""

        def restored(item: Any) -> Any:
            return tf.keras.utils.deserialize_keras_object(item, custom_objects=custom_objects)

        config = dict(config)
        student = restored(config.pop("student"))
        losses = [restored(item) for item in config.pop("distillation_losses")]
        return cls(student, None, losses, **config)
