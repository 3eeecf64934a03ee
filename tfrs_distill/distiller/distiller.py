"""The model that trains a student on labels and a teacher's outputs."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeAlias

import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.distiller.arguments import (
    HIDDEN,
    DistillationLoss,
    as_student,
    check_names,
    loss_weights_by_task,
    losses_by_task,
    require_trainable,
    student_loss_weights_by_task,
    teachers_by_task,
    term_names,
)
from tfrs_distill.distiller.first_batch import Step, check_first_batch
from tfrs_distill.distiller.probabilities import refuse_logits
from tfrs_distill.distiller.query_lists import lists_of
from tfrs_distill.distiller.teacher_outputs import (
    TeacherOutputs,
    agreement,
    nan_where_infinite,
    require_rows,
)
from tfrs_distill.losses import HiddenRepresentationDistillation
from tfrs_distill.losses.candidate_lists import MASKED
from tfrs_distill.losses.weighted_mean import weighted_mean
from tfrs_distill.models.first_batch import ChecksFirstBatch
from tfrs_distill.models.hidden_representations import find, recorded
from tfrs_distill.models.replicas import num_replicas, sum_over_replicas
from tfrs_distill.models.step import Term, take_step, term_of, total_weight
from tfrs_distill.models.student_outputs import StudentOutputs
from tfrs_distill.teachers.teacher import Teacher

Losses: TypeAlias = DistillationLoss | Sequence[DistillationLoss]


class Untracked(SimpleNamespace):
    """Holds objects that Keras must not track, train, count or save."""


class BalanceGroup(NamedTuple):
    """Distillation losses whose weights a callback sets relative to student losses.

    Args:
        student_losses: the names of the terms whose sum is the reference.
        losses: the names of the distillation losses.
        labels: the column of the batch that the reference needs.
    """

    student_losses: tuple[str, ...]
    losses: tuple[str, ...]
    labels: str


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class Distiller(ChecksFirstBatch):
    """Train a student on labels and on a teacher's outputs for the same rows, in one step.

    `total_t = w_t * student_loss_t + (1 - w_t) * sum_i c_ti * distillation_loss_ti` for each task
    t. A task without distillation losses uses its labels only: `total_t = student_loss_t`. A
    student with one task minimises `total_t + regularisation`. A student with several minimises
    `balance(total_1, total_2, ...) + (1 - w_hidden) * sum_j c_j * hidden_loss_j +
    regularisation` with its own `task_balance`. So a twin, the same student trained alone, differs
    only in the losses.

    Every loss is a weighted mean over rows, `sum_r weight_r loss_r / sum_r weight_r`, with the
    weights of `columns.SAMPLE_WEIGHT` if the batch has this column. The rows are labelled positions
    (retrieval), (query, item) pairs (ranking: rows with a label for a student loss, rows with
    teacher logits for a distillation loss), or examples (a classifier). For a retrieval student a
    weight -w marks a dislike: the student loss is the unlikelihood of the label, and every term
    counts the row with weight w, because the teacher's output for a history does not depend on
    whether its label was liked. Teacher and student logits are over the same candidates, with the
    same corrections and masks. Gradients go to the student and to the projectors of distillation
    layers, never to a teacher.

    A loss of lists (its class attribute `of_lists` is true, or it is wrapped in `losses.OverLists`)
    compares the candidates of a row; in ranking, the rows with the same `columns.QUERY_ID`. The
    score of a ranking row is its logit; in a task with several logits per row, its prediction. Rows
    of weight 0 are not in their list. A list of fewer than two rows is ignored; the weight of any
    other list is the sum of its rows' weights.

    Reference: [Hinton et al., 2015](https://arxiv.org/abs/1503.02531); teachers with inputs that
    the student does not have, [Lopez-Paz et al., 2016](https://arxiv.org/abs/1511.03643).

    Args:
        student: a `RetrievalStudent` or `RankingStudent` (also one made from your own `tfrs.Model`
            by `from_tfrs`), or a plain `tf.keras.Model` that returns logits over classes. It is
            trained in place; afterwards `distiller.student` is the student alone. It comes before
            the teacher, unlike in `keras.distillation.Distiller`.
        teacher: a `Teacher`; a `tf.keras.Model` that returns logits over the student's candidates;
            or a function `(batch, candidate_ids) -> logits`. With several tasks, these return a
            dict by task, or `teacher` is a dict with one teacher per task. A `CachedTeacher` reads
            the columns that `cached_teacher.join(windows)` adds to the batches. A ranking task
            without a teacher reads the column `columns.teacher_logits(task)`; rows of NaN are
            ignored. A teacher may read columns that the student does not read. It is never trained,
            tracked, saved or changed; after loading a distiller, call `set_teacher`.
        distillation_losses: Keras losses of (teacher logits, student logits), or
            `HiddenRepresentationDistillation` layers; one or several; with several tasks, a dict by
            task. Layers that belong to no single task, and their teacher, have the key `"hidden"`;
            without a teacher, the column with the name of `teacher_layer` is read.
        distillation_loss_weights: numbers >= 0 in the structure of the losses; 1 by default.
        student_loss_weight: w, within 0 and 1: one number, or one for each task that has
            distillation losses (and `"hidden"`). With 0 the task's labels are not used and may be
            missing.
        agreement_k: k of the metric `agreement@k` of `evaluate`.
        name: name of the Keras model.

    `student_loss_weights[task]`, `distillation_loss_weights[name]` and `temperatures[name]` are
    variables, saved with the model. `Schedule` and the balance callbacks change them.

    Batches are dicts of `columns`; for a classifier also `(x, y)` and `(x, y, sample_weight)`, as
    in Keras. Labels of candidates are ids, one-hot or soft.

    Raises:
        TypeError: the student, a teacher or a loss has the wrong type.
        ValueError: a weight is out of range; a loss, weight or teacher belongs to no task; or the
            student has no trainable weights or ends in a softmax or sigmoid.

    The first batch of `fit` and `evaluate` is checked eagerly, before any weight changes and also
    under XLA. A ValueError reports: a teacher whose outputs are NaN, infinite or for other
    candidates than the student's; probabilities instead of logits; impossible labels; lists with
    one candidate each; a missing hidden representation. (With a single logit per row, probabilities
    cannot be detected from the values; a final sigmoid is detected in graphs.) If a loss becomes
    NaN or infinite later, `fit` stops and reports the step.

    Losses of lists of ranking rows do not run under XLA (`jit_compile=True`), because the lengths
    of the lists vary between batches. Under `tf.distribute` a list holds the rows on one replica.

    Logs: `total_loss`, `student_loss`, `distillation_loss`, each distillation loss by its name and
    the metrics given to `compile`; with several tasks, the task's name and `_` are the prefix of
    all but the first. `evaluate` and validation also log the tasks' metrics and, for tasks with
    candidates, `agreement@k`: the share of the teacher's top k that is in the student's top k.

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

    loss_name = "total_loss"

    def __init__(
        self,
        student: tf.keras.Model,
        teacher: Teacher | tf.keras.Model | Any | Mapping[str, Any] | None,
        distillation_losses: Losses | Mapping[str, Losses],
        distillation_loss_weights: Any = None,
        *,
        student_loss_weight: float | Mapping[str, float] = 0.5,
        agreement_k: int = 10,
        name: str = "distiller",
    ) -> None:
        # Towers cast their inputs; columns such as sampling probabilities keep their precision.
        super().__init__(name=name, autocast=False)
        student_of_tasks = as_student(student)
        tasks = student_of_tasks.task_names
        losses = losses_by_task(distillation_losses, tasks)
        weights = loss_weights_by_task(distillation_loss_weights, losses, tasks)
        student_weights = student_loss_weights_by_task(student_loss_weight, losses, tasks)
        prefixes = term_names(losses, tasks)
        metrics = [*student_of_tasks.step_metrics, *student_of_tasks.evaluation_metrics]
        check_names(losses, prefixes, [metric.name for metric in metrics])
        self.student = student
        self.untracked = Untracked(
            student=student_of_tasks, losses=losses, prefixes=prefixes, teacher=None, teachers={}
        )
        self.untracked.missing_teachers, self.untracked.unlabelled = set(), set()
        self.untracked.tails = None  # temperatures of a top-K cache's tails
        self.set_teacher(teacher)
        self.student_loss_weights = {
            key: number(weight, f"{key}_student_loss_weight")
            for key, weight in student_weights.items()
        }
        self._hold_losses(losses, weights)
        self.agreement_k = agreement_k
        terms = ["total_loss", *(f"{prefixes[task]}student_loss" for task in tasks)]
        terms += [f"{prefixes[key]}distillation_loss" for key in losses]
        terms += list(self.distillation_loss_weights)
        self.means = {name: tf.keras.metrics.Mean(name=name) for name in terms}
        self.agreement_mean = tf.keras.metrics.Mean(name=f"agreement@{agreement_k}")
        # Keras reads `built` before saving, backup and optimizer building; projectors need a batch
        # first.
        layers = [loss for of_key in losses.values() for loss in of_key if _is_layer(loss)]
        self.built = student.built and all(layer.built for layer in layers)

    def _hold_losses(
        self, losses: Mapping[str, Sequence[Any]], weights: Mapping[str, Sequence[float]]
    ) -> None:
        """Store the distillation losses by name, with weights and temperatures as variables.

        A loss is copied before its temperature becomes a variable; a layer is stored as it is.
        """
        by_name = {self.term_name(key, loss): loss for key in losses for loss in losses[key]}
        numbers = [weight for key in losses for weight in weights[key]]
        self.distillation_losses = {
            name: loss if _is_layer(loss) else copy.copy(loss) for name, loss in by_name.items()
        }
        self.distillation_loss_weights = {
            name: number(weight, f"{name}_weight") for name, weight in zip(by_name, numbers)
        }
        self.temperatures = {  # complete before assignment, or Keras would not save its contents
            name: number(loss.temperature, f"{name}_temperature")
            for name, loss in by_name.items()
            if hasattr(loss, "temperature")
        }
        for name, temperature in self.temperatures.items():
            self.distillation_losses[name].temperature = temperature
        # For saving. Kept alive, because Keras treats two objects with the same address as one.
        self.untracked.saved = {name: copy.copy(by_name[name]) for name in self.temperatures}

    def term_name(self, key: str, loss: Any) -> str:
        """Return the name of a distillation loss in logs."""
        return f"{self.untracked.prefixes[key]}{loss.name}"

    def __dir__(self) -> list[str]:
        """Return all names except `teacher`: Keras saves every Keras object that it finds here."""
        return [name for name in super().__dir__() if name != "teacher"]

    @property
    def teacher(self) -> Any:
        """The teacher, or teachers, as given; None after loading."""
        return self.untracked.teacher

    def set_teacher(self, teacher: Any) -> None:
        """Set the teacher, for example after loading: files do not contain it.

        Args:
            teacher: as in the constructor.
        """
        known = self.untracked
        known.teachers = teachers_by_task(teacher, known.losses, known.student.task_names)
        known.teacher, known.missing_teachers = teacher, set()

    @property
    def balance_groups(self) -> list[BalanceGroup]:
        """Return each task's losses with its student loss; `"hidden"` with all student losses."""
        groups, known = [], self.untracked
        for key, losses in known.losses.items():
            tasks = list(known.student.task_names) if key == HIDDEN else [key]
            references = tuple(f"{known.prefixes[task]}student_loss" for task in tasks)
            names = tuple(self.term_name(key, loss) for loss in losses)
            groups.append(BalanceGroup(references, names, known.student.label_column(tasks[0])))
        return groups

    def student_loss_weights_of(self, task: str | None) -> list[tf.Variable]:
        """Return the variables that a schedule of the student loss' weight changes.

        Args:
            task: name of a task; None for all tasks.

        Raises:
            ValueError: the task has no such weight.
        """
        if task is None:
            return list(self.student_loss_weights.values())
        if task not in self.student_loss_weights:
            raise ValueError(
                "`loss` must name the task whose student_loss_weight is meant, one of "
                f"{sorted(self.student_loss_weights)}, or be None for all. Received: "
                f"loss={task!r}."
            )
        return [self.student_loss_weights[task]]

    def has_labels(self, task: str | None) -> bool:
        """Whether all batches so far had labels of the task, or of all tasks with a teacher."""
        tasks = set(self.student_loss_weights) if task is None else {task}
        return not tasks & self.untracked.unlabelled

    def compile(self, optimizer: Any = "rmsprop", **kwargs: Any) -> None:
        """Compile as in Keras, with an optimizer; metrics are of labels and logits over candidates.

        Raises:
            ValueError: a loss is given, or metrics for ranking tasks, which have their own.
        """
        given = {"loss": kwargs.get("loss")}
        if not self.untracked.student.takes_metrics:
            given |= {name: kwargs.get(name) for name in ("metrics", "weighted_metrics")}
        for argument, value in given.items():
            if value:
                raise ValueError(
                    f"`compile` takes no {argument}: the student has its own, and the distillation "
                    f"losses are arguments of the distiller. Received: {argument}={value!r}."
                )
        super().compile(optimizer=optimizer, **kwargs)

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """All metrics that are logged and reset."""
        given = [] if self.compiled_metrics is None else self.compiled_metrics.metrics
        student = self.untracked.student
        terms = [*self.means.values(), self.agreement_mean]
        return [*terms, *student.step_metrics, *given, *student.evaluation_metrics]

    def call(self, inputs: Any, training: bool | None = None) -> StudentOutputs | tf.Tensor:
        """Return the student's outputs; for a plain Keras model, its output."""
        is_plain = self.student is not self.untracked.student
        if is_plain and isinstance(inputs, dict) and columns.INPUTS in inputs:
            inputs = inputs[columns.INPUTS]
        return self.student(inputs, training=training)

    def predict_step(self, data: Any) -> tf.Tensor | dict[str, tf.Tensor]:
        """Return logits over candidates, or a ranking student's predictions by task."""
        student = self.untracked.student
        batch = student.as_batch(data)
        return student.predictions_of(student(batch, training=False), batch)

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Train as in Keras; the class docstring lists the checks of the first batch."""
        data = args[0] if args else kwargs.get("x")
        self.untracked.unlabelled = set()  # until a batch without labels is seen
        self.untracked.tails = self._tails_of(data)
        return super().fit(*args, **kwargs)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Take one step on `total_loss` for the weights of student and projectors."""
        with tf.GradientTape(persistent=self.untracked.student.needs_task_gradients) as tape:
            step = self.forward(data, True, tape)
            total = step.terms["total_loss"].part
        take_step(self, total, tape)
        return self._logged(step)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Compute the same terms without a step, and the agreement and evaluation metrics."""
        step = self.forward(data, False, None)
        logged, teacher_outputs = self._logged(step), step.teacher_outputs
        for task, head in step.outputs.heads.items():
            losses = self.untracked.losses.get(task, [])
            if head.candidates is not None and not all(map(_is_layer, losses)):
                weights = teacher_outputs.logits_of(task).weights
                self.agreement_mean.update_state(
                    weighted_mean(agreement(teacher_outputs, task, self.agreement_k), weights),
                    total_weight(weights, step.outputs.num_rows),
                )
                logged[self.agreement_mean.name] = self.agreement_mean.result()
        student = self.untracked.student
        student.update_evaluation_metrics(step.batch, step.outputs)
        return logged | {metric.name: metric.result() for metric in student.evaluation_metrics}

    def loss_terms(self, batch: Any, training: bool) -> dict[str, tf.Tensor]:
        """Compute every loss term, scalars by name, in one forward pass of the student.

        With several replicas: the means over this replica's rows.
        """
        return {name: term.mean for name, term in self.forward(batch, training).terms.items()}

    def check_batch(self, data: Any) -> None:
        """Check labels, student and teacher, see `ChecksFirstBatch`."""
        student, known = self.untracked.student, self.untracked
        step = self.forward(data, training=False)
        student.check_batch_labels(step.batch, step.outputs)
        check_first_batch(step, student, known.losses, self.term_name)

    def forward(self, data: Any, training: bool, tape: tf.GradientTape | None = None) -> Step:
        """Run student and teachers once on a batch and compute every loss term.

        Args:
            data: a batch.
            training: whether the student runs in training mode.
            tape: records the pass for a trainable task balance; None if nothing is trained.

        Raises:
            ValueError: a teacher or labels with a positive weight are missing, or the outputs of
                student and teacher cannot be compared.
        """
        student, known = self.untracked.student, self.untracked
        if known.missing_teachers:
            raise ValueError(
                f"The teacher of {sorted(known.missing_teachers)} is missing: a saved distiller "
                "does not contain it. Call `distiller.set_teacher(teacher)` first."
            )
        batch = student.as_batch(data)
        outputs = self._student_outputs(batch, training)
        require_trainable(self.student)
        teacher_outputs = TeacherOutputs(known.teachers, student, batch, outputs)
        labelled = [task for task in student.task_names if student.has_labels(task, outputs, batch)]
        for task in set(student.task_names) - set(labelled):
            self._require_no_student_loss(task)
            known.unlabelled.add(task)
        terms: dict[str, Term] = {}
        totals: dict[str, tf.Tensor] = {}
        hard_losses = student.hard_losses(batch, outputs, labelled)
        for task in student.task_names:
            if task in hard_losses:
                term = term_of(*hard_losses[task])
                terms[f"{known.prefixes[task]}student_loss"] = term
                totals[task] = term.part
            if task in known.losses:
                distillation_loss = self._distillation_loss(task, teacher_outputs, terms).part
                w = self.student_loss_weights[task]
                student_loss = w * totals[task] if task in totals else 0.0
                totals[task] = student_loss + (1.0 - w) * distillation_loss
        total = student.combine(totals, tape)
        if HIDDEN in known.losses:
            hidden_loss = self._distillation_loss(HIDDEN, teacher_outputs, terms).part
            total += (1.0 - self.student_loss_weights[HIDDEN]) * hidden_loss
        regularised = total + sum(self.losses) / num_replicas()
        terms["total_loss"] = Term(
            regularised, _global_weight(teacher_outputs.row_weights, outputs)
        )
        self.built = True  # student and projectors now have weights
        return Step(terms, batch, outputs, teacher_outputs)

    def _student_outputs(self, batch: dict[str, Any], training: bool) -> StudentOutputs:
        student = self.untracked.student
        if not any(map(_is_layer, self.distillation_losses.values())):
            outputs = student(batch, training=training)
        else:
            with recorded(self.student) as hidden:
                outputs = student(batch, training=training)
            hidden = hidden | outputs.hidden_representations
            outputs = outputs._replace(hidden_representations=hidden)
        for task, head in outputs.heads.items():
            if student.reads_logits(task):
                refuse_logits(head.logits, "student")
        return outputs

    def _distillation_loss(
        self, key: str, teacher_outputs: TeacherOutputs, terms: dict[str, Term]
    ) -> Term:
        """Compute a task's distillation losses and their weighted sum, and add all to `terms`."""
        parts, weights = [], teacher_outputs.row_weights
        rows_are_lists = key == HIDDEN or self.untracked.student.rows_are_lists(key)
        for loss_as_given in self.untracked.losses[key]:
            name = self.term_name(key, loss_as_given)
            loss = self.distillation_losses[name]  # its temperature is a variable
            if _is_layer(loss):
                values, loss_weights = self._between_layers(loss, key, teacher_outputs)
            elif getattr(loss, "of_lists", False) and not rows_are_lists:
                values, loss_weights = self._over_queries(loss, name, key, teacher_outputs)
                weights = teacher_outputs.logits_of(key).weights
            else:
                values = loss.call(*teacher_outputs.logits_for(key, loss))
                values = tf.reduce_mean(values, axis=list(range(1, values.shape.rank)))
                values = nan_where_infinite(values, teacher_outputs.logits_of(key).raw)
                loss_weights = weights = teacher_outputs.logits_of(key).weights
                if teacher_outputs.from_top_k(key):
                    teacher = self.untracked.teachers.get(key)
                    self.untracked.tails = getattr(teacher, "temperatures", ())
            terms[name] = term_of(values, loss_weights)
            parts.append(self.distillation_loss_weights[name] * terms[name].part)
        term = Term(tf.add_n(parts), _global_weight(weights, teacher_outputs.outputs))
        terms[f"{self.untracked.prefixes[key]}distillation_loss"] = term
        return term

    def _between_layers(
        self, layer: HiddenRepresentationDistillation, key: str, teacher_outputs: TeacherOutputs
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Return one value per row, and the rows' weights."""
        name, outputs = layer.student_layer, teacher_outputs.outputs
        student = find(outputs.hidden_representations, name, "student")
        student = self.untracked.student.to_rows(student, teacher_outputs.batch)
        require_rows(student, outputs, f"The student's layer {name!r}")
        teacher, weights = teacher_outputs.hidden_representation(key, layer.teacher_layer)
        return layer((student, teacher), row_weights=weights), weights

    def _over_queries(
        self, loss: tf.keras.losses.Loss, name: str, task: str, teacher_outputs: TeacherOutputs
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return one value per query's list of rows, and the sums of the rows' weights."""
        if columns.QUERY_ID not in teacher_outputs.batch:
            raise ValueError(
                f"The loss {name!r} compares the candidates of a query, but the batch has no "
                f"column {columns.QUERY_ID!r} with the query of each row."
            )
        logits, student = teacher_outputs.logits_of(task), self.untracked.student
        weights = logits.weights
        if weights is None:
            weights = tf.ones([teacher_outputs.outputs.num_rows])
        query_ids = tf.reshape(teacher_outputs.batch[columns.QUERY_ID], [-1])
        lists = lists_of(query_ids, weights > 0.0)
        teacher = lists.padded(student.row_scores(task, logits.adjusted), float(MASKED))
        values = loss.call(teacher, lists.padded(student.row_scores(task, logits.head.logits), 0.0))
        return nan_where_infinite(values, teacher), lists.total(weights)

    def _require_no_student_loss(self, task: str) -> None:
        w, column = self.student_loss_weights.get(task), self.untracked.student.label_column(task)
        with tf.init_scope():
            weight = 1.0 if w is None else float(w.numpy())
        if weight > 0:
            but = f"`student_loss_weight` of {task!r} is {weight:g}"
            if w is None:
                but = f"the task {task!r} has no distillation losses to train on"
            raise ValueError(
                f"The batch has no labels of task {task!r}, but {but}. Give the batch a column "
                f"{column!r}" + (", or set the weight to 0." if w is not None else ".")
            )

    def _logged(self, step: Step) -> dict[str, tf.Tensor]:
        for name, term in step.terms.items():
            term.update(self.means[name])
        logged = {name: self.means[name].result() for name in self.means if name in step.terms}
        student, outputs = self.untracked.student, step.outputs
        chosen = outputs.candidates if student.takes_metrics else None
        labels = None if chosen is None else chosen.label_columns
        if labels is None:
            return logged
        weights = student.label_weights(step.batch)
        self.compiled_metrics.update_state(labels, outputs.logits, weights)
        (task,) = student.task_names
        losses = step.terms[f"{self.untracked.prefixes[task]}student_loss"].values
        student.update_step_metrics(step.batch, outputs, losses)
        fed = [*self.compiled_metrics.metrics, *student.step_metrics]
        return logged | {metric.name: metric.result() for metric in fed}

    def _tails_of(self, data: Any) -> tuple[float, ...] | None:
        """Return the temperatures of the tails in the data, or None if there are none."""
        x = getattr(data, "element_spec", data)
        if isinstance(x, tuple):
            x = x[0]
        if isinstance(x, dict) and columns.TEACHER_TOP_K_LOGITS in x:
            return getattr(self.teacher, "temperatures", ())
        return None

    def get_build_config(self) -> dict[str, Any]:
        """Return a non-empty dict: Keras treats an empty one as none."""
        return {"built": self.built}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Mark as built: all weights exist once the student and the layers are loaded."""
        self.built = config["built"]

    def get_config(self) -> dict[str, Any]:
        """Return the student and the current losses, temperatures and weights; no teacher."""
        known, weights = self.untracked, self.distillation_loss_weights
        return {
            "name": self.name,
            "student": tf.keras.utils.serialize_keras_object(self.student),
            "distillation_losses": {
                key: [self._saved_loss(self.term_name(key, loss), loss) for loss in of_key]
                for key, of_key in known.losses.items()
            },
            "distillation_loss_weights": {
                key: [float(weights[self.term_name(key, loss)]) for loss in of_key]
                for key, of_key in known.losses.items()
            },
            "student_loss_weight": {
                key: float(weight) for key, weight in self.student_loss_weights.items()
            },
            "agreement_k": self.agreement_k,
            "taught": sorted(known.missing_teachers | set(known.teachers)),
        }

    def _saved_loss(self, name: str, loss: Any) -> dict[str, Any]:
        """Return a loss as it is saved, with its current temperature."""
        if name in self.temperatures:
            loss = self.untracked.saved[name]
            loss.temperature = float(self.temperatures[name].numpy())
        return tf.keras.utils.serialize_keras_object(loss)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Distiller:
        """Build a distiller without its teacher: set it with `set_teacher`."""

        def restored(item: Any) -> Any:
            return tf.keras.utils.deserialize_keras_object(item, custom_objects=custom_objects)

        config = dict(config)
        student, taught_tasks = restored(config.pop("student")), config.pop("taught")
        losses = {
            key: [restored(item) for item in items]
            for key, items in config.pop("distillation_losses").items()
        }
        distiller = cls(student, None, losses, **config)
        distiller.untracked.missing_teachers = set(taught_tasks)
        return distiller


def number(value: float, name: str) -> tf.Variable:
    """Return a variable for a value that callbacks may change."""
    return tf.Variable(value, trainable=False, dtype=tf.float32, name=name)


def _global_weight(weights: tf.Tensor | None, outputs: StudentOutputs) -> tf.Tensor:
    """Add up the row weights of the global batch."""
    return sum_over_replicas(total_weight(weights, outputs.num_rows))


def _is_layer(loss: Any) -> bool:
    return isinstance(loss, tf.keras.layers.Layer)
