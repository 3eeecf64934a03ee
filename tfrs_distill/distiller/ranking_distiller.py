"""The model that wraps teachers and a ranking student: labels and soft targets, task by task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.distiller.forward import DistillationLoss
from tfrs_distill.distiller.ranking_arguments import (
    HIDDEN,
    check_ranking_student,
    check_terms,
    losses_by_key,
    student_loss_weights_by_key,
    teachers_by_key,
    term_name,
    weights_by_key,
)
from tfrs_distill.distiller.ranking_forward import RankingStep, ranking_forward
from tfrs_distill.distiller.teaching_model import BalanceGroup, Guests, TeachingModel, number
from tfrs_distill.models.multi_task_model import MultiTaskModel
from tfrs_distill.models.ranking_outputs import RankingOutputs
from tfrs_distill.models.replicas import num_replicas
from tfrs_distill.models.step import take_step

Losses = DistillationLoss | Sequence[DistillationLoss]


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class RankingDistiller(TeachingModel):
    """Trains a ranking student on labels and on what teachers say of the same rows, in one step.

    `total_t = w_t * student_loss_t + (1 - w_t) * sum_i c_ti * distillation_loss_ti` for each task
    t; a task without distillation losses learns from its labels, `total_t = student_loss_t`.
    `total_loss = balance(total_1, total_2, ...) + (1 - w_hidden) * sum_j c_j * hidden_loss_j +
    regularisation`, with the student's own `task_balance`, so that a twin, the same student trained
    alone, differs in the losses only.

    Every loss is a weighted mean over those rows that say something of it,
    `sum_r weight_r loss_r / sum_r weight_r`: rows with a label for a student loss, rows of which
    the teacher speaks for a distillation loss, weighted by `columns.SAMPLE_WEIGHT` where the
    batch has it. Gradients go to the student and to the projectors of distillation layers, never to
    a teacher.

    A loss of lists (its class attribute `of_lists` is true, or `losses.OverLists` is around it)
    compares the rows of one `columns.QUERY_ID`. A row's score is its logit; in a task of several
    logits a row, its prediction. Rows of weight 0 are not in their list; a list of fewer than two
    rows counts nothing, any other as much as its rows' weights together. A `NextItem` task's row is
    a list already: the catalogue's.

    Reference: [Hinton et al., 2015](https://arxiv.org/abs/1503.02531); teachers that see what the
    student will not have, [Lopez-Paz et al., 2016](https://arxiv.org/abs/1511.03643).

    Args:
        student: a `RankingStudent` (also one made of your own `tfrs.Model`). It is trained in
            place; afterwards `distiller.student` is the student alone.
        teachers: one for all tasks, or one a task in a dict. A teacher has a method
            `ranking_logits(batch)` that gives logits `[num_rows, width]` by task, or is a Keras
            model or a function of the batch that gives such a dict, or the logits of its one task.
            It may read columns that the student does not. For a task without a teacher the batch's
            column `columns.teacher_logits(task)` says what a teacher said beforehand; of a row of
            NaN it said nothing. None: so for all tasks. Teachers are never trained, tracked,
            saved or changed; after loading, `set_teachers`.
        distillation_losses: by task: Keras losses of (teacher logits, student logits), one or
            several. Under `"hidden"`: `HiddenRepresentationDistillation` layers, whose teacher is
            `teachers["hidden"]`, or a column of the batch that is called as their `teacher_layer`.
            A student of one task may be given its losses, and weights, without a dict.
        distillation_loss_weights: numbers >= 0 in the shape of the losses; 1 by default.
        student_loss_weight: w, within 0 and 1: one number, or one for each task that has losses
            (and `"hidden"`). With 0 the task's labels are not used and may be absent.

    `student_loss_weights[task]`, `distillation_loss_weights[name]` and `temperatures[name]` are
    variables, saved with the model; `Schedule` and the balance callbacks move them. Losses are
    called `<task>_<loss name>`.

    Raises:
        TypeError: student, a teacher or a loss are not what they must be.
        ValueError: a weight is out of range or of no loss, or losses, weights or teachers are of no
            task. At the first batch, before any weight changes: neither teacher nor column of a
            task, NaN or infinite values or probabilities instead of several logits, another width
            than the student's, or lists of one candidate each; or the student gives
            probabilities. (Of a single logit a row the numbers do not tell: a student's last
            sigmoid is seen in graphs, not with `run_eagerly=True`, and a teacher's is not.)

    Losses of lists do not run under XLA (`jit_compile=True`): lists are as long as the batch has
    them. Under `tf.distribute` a list is of the rows that are on one replica.

    Logs: `total_loss`, and of every task `<task>_student_loss`, `<task>_distillation_loss` and each
    loss; `evaluate` and validation also the tasks' metrics.

    Example:
    >>> from tfrs_distill import losses
    >>> from tfrs_distill.models.features import IdFeature, ItemFeature
    >>> from tfrs_distill.models.ranking_model import RankingModel
    >>> from tfrs_distill.models.tasks import Binary
    >>> student = RankingModel([IdFeature("user_id", 9, 4, "query")], [Binary("like")], seed=0)
    >>> distiller = RankingDistiller(student, None, losses.SoftTargetBinaryCrossEntropy())
    >>> batch = {"user_id": tf.constant([1, 2]), "label/like": tf.constant([1.0, float("nan")]),
    ...          "teacher_logits/like": tf.constant([[2.0], [-1.0]])}
    >>> sorted(distiller.loss_terms(batch, training=False))[:2]
    ['like_distillation_loss', 'like_soft_target_binary_cross_entropy']
    """

    never_saved = ("teachers",)
    own_loss = "tasks' losses"

    def __init__(
        self,
        student: MultiTaskModel,
        teachers: Any | Mapping[str, Any] | None,
        distillation_losses: Losses | Mapping[str, Losses],
        distillation_loss_weights: Any = None,
        *,
        student_loss_weight: float | Mapping[str, float] = 0.5,
        name: str = "ranking_distiller",
    ) -> None:
        super().__init__(name)
        check_ranking_student(student)
        losses = losses_by_key(distillation_losses, student)
        weights = weights_by_key(distillation_loss_weights, losses, student)
        student_weights = student_loss_weights_by_key(student_loss_weight, losses, student)
        check_terms(losses, weights, student_weights, student)
        self.student = student
        self.guests = Guests(
            given=None, teachers={}, awaited=set(), losses=losses, tails=None, unlabelled=set()
        )
        self.set_teachers(teachers)
        self.student_loss_weights = {
            key: number(weight, f"{key}_student_loss_weight")
            for key, weight in student_weights.items()
        }
        names = [(key, loss) for key, of_key in losses.items() for loss in of_key]
        self.hold_losses(
            {term_name(key, loss): loss for key, loss in names},
            dict(zip((term_name(*pair) for pair in names), sum(weights.values(), []))),
        )
        terms = [f"{task}_student_loss" for task in student.tasks]
        terms += [f"{key}_distillation_loss" for key in losses]
        self.means = {
            name: tf.keras.metrics.Mean(name=name)
            for name in ["total_loss", *terms, *self.distillation_loss_weights]
        }
        # Keras asks before it saves, backs up or builds an optimizer: projectors come with a batch.
        self.built = student.built and all(layer.built for layer in losses.get(HIDDEN, ()))

    @property
    def teachers(self) -> Any:
        """The caller's own teachers, as given; None after loading, until `set_teachers`."""
        return self.guests.given

    def set_teachers(self, teachers: Any | Mapping[str, Any] | None) -> None:
        """Give teachers to a distiller that was loaded: files do not hold them.

        Args:
            teachers: as for the constructor.
        """
        self.guests.teachers = teachers_by_key(teachers, self.guests.losses, self.student)
        self.guests.given, self.guests.awaited = teachers, set()

    @property
    def balance_groups(self) -> list[BalanceGroup]:
        """A task's distillation losses against its student loss; layers against all of them."""
        groups = []
        for key, losses in self.guests.losses.items():
            tasks = list(self.student.tasks) if key == HIDDEN else [key]
            references = tuple(f"{task}_student_loss" for task in tasks)
            names = tuple(term_name(key, loss) for loss in losses)
            groups.append(BalanceGroup(references, names, columns.label(tasks[0])))
        return groups

    def student_loss_weights_of(self, loss: str | None) -> list[tf.Variable]:
        """Those of all tasks, or of the one that is named.

        Raises:
            ValueError: it has none.
        """
        if loss is None:
            return list(self.student_loss_weights.values())
        if loss not in self.student_loss_weights:
            raise ValueError(
                "`loss` must name the task whose student_loss_weight is meant, one of "
                f"{sorted(self.student_loss_weights)}, or be None for all. Received: "
                f"loss={loss!r}."
            )
        return [self.student_loss_weights[loss]]

    def has_labels(self, loss: str | None) -> bool:
        """Whether the batches so far had labels of the task, or of all that learn from teachers."""
        tasks = set(self.student_loss_weights) if loss is None else {loss}
        return not tasks & self.guests.unlabelled

    def before_fit(self, data: Any) -> None:
        """Forget what another data set did not have."""
        self.guests.unlabelled = set()

    def compile(self, optimizer: Any = "rmsprop", **kwargs: Any) -> None:
        """Keras' `compile`, of an optimizer.

        Raises:
            ValueError: metrics are given.
        """
        for argument in ("metrics", "weighted_metrics"):
            if kwargs.get(argument):
                raise ValueError(
                    f"`compile` takes no {argument}: every task brings its own. Received: "
                    f"{argument}={kwargs[argument]!r}."
                )
        super().compile(optimizer=optimizer, **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as it was saved, optimizer state included."""
        self.compile(**tf.keras.utils.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """What is logged and reset: every term, and the tasks' metrics."""
        return [*self.means.values(), *self.student.task_metrics]

    def call(self, inputs: Any, training: bool | None = None) -> RankingOutputs:
        """What the student says."""
        return self.student(inputs, training=training)

    def predict_step(self, data: Any) -> dict[str, tf.Tensor]:
        """The student's predictions by task, which is what `predict` gives."""
        return self.student.predict_step(data)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One step on `total_loss`, for the weights of student and projectors."""
        with tf.GradientTape(persistent=self.student.task_balance.needs_gradients) as tape:
            step = ranking_forward(self, data, True, tape)
            total = step.total + sum(self.losses) / num_replicas()
        with tf.control_dependencies([total]):  # no weight moves before the step's checks
            take_step(self, total, tape)
        return self._logged(step)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """The same terms without a step, and the tasks' metrics."""
        step = ranking_forward(self, data, False, None)
        logged = self._logged(step)
        return logged | self.student.update_task_metrics(step.batch, step.outputs)

    def loss_terms(self, batch: Any, training: bool) -> dict[str, tf.Tensor]:
        """Every term of the loss by its name, scalars; one forward pass of the student."""
        terms = ranking_forward(self, batch, training, None).terms
        return {name: term.mean for name, term in terms.items()}

    def _logged(self, step: RankingStep) -> dict[str, tf.Tensor]:
        for name, term in step.terms.items():
            self.means[name].update_state(term.mean, sample_weight=term.weight / num_replicas())
        return {name: self.means[name].result() for name in self.means if name in step.terms}

    def get_config(self) -> dict[str, Any]:
        """The student, the losses, temperatures and weights as they are now; no teacher."""
        weights = self.distillation_loss_weights
        losses = self.guests.losses
        return {
            "name": self.name,
            "student": tf.keras.utils.serialize_keras_object(self.student),
            "distillation_losses": {
                key: [self.saved_loss(term_name(key, loss), loss) for loss in of_key]
                for key, of_key in losses.items()
            },
            "distillation_loss_weights": {
                key: [float(weights[term_name(key, loss)].numpy()) for loss in of_key]
                for key, of_key in losses.items()
            },
            "student_loss_weight": {
                key: float(weight.numpy()) for key, weight in self.student_loss_weights.items()
            },
            "taught": sorted(self.guests.awaited | set(self.guests.teachers)),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> RankingDistiller:
        """A distiller that awaits the teachers it had: give it these with `set_teachers`."""

        def restored(item: Any) -> Any:
            return tf.keras.utils.deserialize_keras_object(item, custom_objects=custom_objects)

        config = dict(config)
        student, taught = restored(config.pop("student")), config.pop("taught")
        losses = {
            key: [restored(item) for item in items]
            for key, items in config.pop("distillation_losses").items()
        }
        distiller = cls(student, None, losses, **config)
        distiller.guests.awaited = set(taught)
        return distiller
