"""One forward pass over ranking rows: student, teachers, and every term between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.distiller.arguments import require_trainable
from tfrs_distill.distiller.last_activation import refuse_logits
from tfrs_distill.distiller.ranking_answers import Answer, RankingAnswers, require_rows
from tfrs_distill.distiller.ranking_arguments import HIDDEN, term_name
from tfrs_distill.distiller.ranking_lists import lists_of
from tfrs_distill.distiller.value_checks import (
    after,
    fail_with,
    refuse_probabilities,
    require_finite,
    unless,
)
from tfrs_distill.losses.candidate_lists import MASKED
from tfrs_distill.losses.weighted_mean import weighted_mean
from tfrs_distill.models.hidden_representations import find, recorded
from tfrs_distill.models.plain_errors import MARK
from tfrs_distill.models.ranking_outputs import RankingOutputs
from tfrs_distill.models.replicas import mean_over_global_batch, num_replicas
from tfrs_distill.models.tasks import NextItem, RankingTask

if TYPE_CHECKING:
    from tfrs_distill.distiller.ranking_distiller import RankingDistiller


class Term(NamedTuple):
    """A weighted mean over rows.

    Args:
        part: on one of several replicas, this replica's part of the global batch's mean; the parts
            add up to it.
        weight: the summed weight of the global batch's rows.
    """

    part: tf.Tensor
    weight: tf.Tensor

    @property
    def mean(self) -> tf.Tensor:
        """The mean, or what the mean over replicas makes the mean."""
        return self.part * num_replicas()


class RankingStep(NamedTuple):
    """What a forward pass gives.

    Args:
        total: what is minimised, without regularisation; a replica's part of it.
        terms: every term by its name in the logs.
        outputs: what the student said.
        batch: the batch's columns, those that are missing as all NaN.
    """

    total: tf.Tensor
    terms: dict[str, Term]
    outputs: RankingOutputs
    batch: dict[str, tf.Tensor]


def ranking_forward(
    distiller: RankingDistiller, data: Any, training: bool, tape: tf.GradientTape | None
) -> RankingStep:
    """Ask student and teachers about a batch, once each, and compare them.

    Args:
        distiller: whose student, teachers and losses.
        data: a batch of columns.
        training: whether the student is trained.
        tape: records the pass, for a balance of tasks that learns; None where nothing is learnt.

    Raises:
        ValueError: teachers are missing, labels are where they have a weight, or student and
            teacher cannot be compared.
    """
    batch, _, _ = tf.keras.utils.unpack_x_y_sample_weight(data)
    _require_teachers(distiller)
    outputs = _student_outputs(distiller, batch, training)
    require_trainable(distiller.student)
    num_rows = tf.shape(next(iter(outputs.logits.values())))[0]
    answers = RankingAnswers(distiller.guests.teachers, batch, num_rows)
    outputs = outputs._replace(
        logits={
            name: _of_student(distiller.student.tasks[name], logits, answers.row_weights)
            for name, logits in outputs.logits.items()
        }
    )
    with_labels, unlabelled = _with_label_columns(distiller, batch, num_rows)
    distiller.guests.unlabelled |= unlabelled
    terms: dict[str, Term] = {}
    totals: dict[str, tf.Tensor] = {}
    for task, (values, weights) in distiller.student.task_losses(with_labels, outputs).items():
        student_loss = _term(values, weights)
        totals[task] = student_loss.part
        if task in distiller.guests.losses:
            distillation_loss = _task_terms(distiller, task, answers, outputs, terms)
            w = distiller.student_loss_weights[task]
            totals[task] = w * student_loss.part + (1.0 - w) * distillation_loss.part
            terms[f"{task}_distillation_loss"] = distillation_loss
        if task not in unlabelled:
            terms[f"{task}_student_loss"] = student_loss
    student = distiller.student
    total = student.task_balance.combine(totals, tape, student.shared_variables)
    if HIDDEN in distiller.guests.losses:
        distillation_loss = _hidden_terms(distiller, answers, outputs, terms)
        terms[f"{HIDDEN}_distillation_loss"] = distillation_loss
        total += (1.0 - distiller.student_loss_weights[HIDDEN]) * distillation_loss.part
    regularised = total + sum(distiller.losses) / num_replicas()
    terms["total_loss"] = Term(regularised, _weight(answers.row_weights))
    distiller.built = True  # student and projectors have their weights by now
    return RankingStep(total, terms, outputs, with_labels)


def _require_teachers(distiller: RankingDistiller) -> None:
    if distiller.guests.awaited:
        raise ValueError(
            f"This distiller was saved with teachers of {sorted(distiller.guests.awaited)}: files "
            "do not hold them. Call `distiller.set_teachers(teachers)` first."
        )


def _student_outputs(
    distiller: RankingDistiller, batch: dict[str, Any], training: bool
) -> RankingOutputs:
    if HIDDEN not in distiller.guests.losses:
        return distiller.student(batch, training=training)
    with recorded(distiller.student) as hidden:
        outputs = distiller.student(batch, training=training)
    return outputs._replace(hidden_representations=hidden | outputs.hidden_representations)


def _of_student(task: RankingTask, logits: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """The student's logits of a task, unless they are probabilities where its loss reads logits."""
    if task.keras_loss().get_config().get("from_logits"):
        refuse_logits(logits, "student")
    return refuse_probabilities(logits, logits, weights, "student")


def _with_label_columns(
    distiller: RankingDistiller, batch: dict[str, Any], num_rows: tf.Tensor
) -> tuple[dict[str, Any], set[str]]:
    """The batch with a column of labels for every task, and the tasks for which it had none.

    Raises:
        ValueError: a task without labels learns from labels.
    """
    missing = {
        name: columns.label(name)
        for name, task in distiller.student.tasks.items()
        if not isinstance(task, NextItem) and columns.label(name) not in batch
    }
    for task, column in missing.items():
        w = distiller.student_loss_weights.get(task)
        with tf.init_scope():
            weight = 1.0 if w is None else float(w.numpy())
        if weight > 0:
            said = f"`student_loss_weight` of {task!r} is {weight:g}"
            if w is None:
                said = f"the task {task!r} has no distillation losses to learn from"
            raise ValueError(
                f"The batch has no labels of task {task!r}, but {said}. Give the batch a column "
                f"{column!r}" + (", or set the weight to 0." if w is not None else ".")
            )
    none = tf.fill([num_rows], float("nan"))
    return batch | {column: none for column in missing.values()}, set(missing)


def _task_terms(
    distiller: RankingDistiller,
    task: str,
    answers: RankingAnswers,
    outputs: RankingOutputs,
    terms: dict[str, Term],
) -> Term:
    """The task's distillation losses, added up; each also into `terms`."""
    answer = answers.answer(task, outputs.logits[task])
    parts = []
    for loss in distiller.guests.losses[task]:
        name = term_name(task, loss)
        own = distiller.distillation_losses[name]  # whose temperature is a variable
        kind = distiller.student.tasks[task]
        of_queries = getattr(loss, "of_lists", False) and not isinstance(kind, NextItem)
        compare = _over_queries if of_queries else _over_rows
        values, weights = compare(own, name, kind, answer, outputs.logits[task], answers, distiller)
        terms[name] = _term(values, weights)
        parts.append(distiller.distillation_loss_weights[name] * terms[name].part)
    return Term(tf.add_n(parts), _weight(answer.weights))


def _over_rows(
    loss: tf.keras.losses.Loss,
    name: str,
    task: RankingTask,
    answer: Answer,
    student_logits: tf.Tensor,
    answers: RankingAnswers,
    distiller: RankingDistiller,
) -> tuple[tf.Tensor, tf.Tensor]:
    """One value a row, and the rows' weights."""
    values = loss.call(answer.logits, student_logits)
    values = tf.reduce_mean(values, axis=list(range(1, values.shape.rank)))
    return require_finite(values, name, answer.logits, answers.example_at), answer.weights


def _over_queries(
    loss: tf.keras.losses.Loss,
    name: str,
    task: RankingTask,
    answer: Answer,
    student_logits: tf.Tensor,
    answers: RankingAnswers,
    distiller: RankingDistiller,
) -> tuple[tf.Tensor, tf.Tensor]:
    """One value a query's list of rows, and the lists' weights: the sums of their rows'."""
    if columns.QUERY_ID not in answers.batch:
        raise ValueError(
            f"The loss {name!r} compares the candidates of a query, but the batch has no column "
            f"{columns.QUERY_ID!r} that says which rows belong together."
        )
    query_ids = tf.reshape(answers.batch[columns.QUERY_ID], [-1])
    check = _require_lists(query_ids, name, distiller)
    score: Callable[[tf.Tensor], tf.Tensor] = task.predict
    if task.width == 1:
        score = lambda logits: logits[:, 0]  # noqa: E731
    lists = lists_of(query_ids, answer.weights > 0.0)
    teacher = lists.padded(score(answer.logits), float(MASKED))
    student = lists.padded(after(check, score(student_logits)), 0.0)
    values = loss.call(teacher, student)
    values = require_finite(
        values, name, teacher, lambda index: answers.example_at(lists.first_row(index))
    )
    return values, lists.total(answer.weights)


def _require_lists(query_ids: tf.Tensor, name: str, distiller: RankingDistiller) -> tf.Tensor:
    """Fails where every query of the first batch has one row; later ones may end in such."""
    num_rows, num_queries = tf.size(query_ids), tf.size(tf.unique(query_ids).y)
    fine = (num_queries < num_rows) | (num_rows < 2)
    optimizer = getattr(distiller, "optimizer", None)
    if optimizer is not None:
        fine = fine | (optimizer.iterations > 0)
    words = (
        f"{MARK}The loss `{name}` compares the candidates of a query, but each query of the batch "
        f"(column {columns.QUERY_ID!r}) has one row. Take whole lists, "
        "`examples.list_batches(num_queries)`, of queries with several candidates. Received: "
        "number of rows"
    )
    return unless(fine, lambda: fail_with([words, num_rows]))


def _hidden_terms(
    distiller: RankingDistiller,
    answers: RankingAnswers,
    outputs: RankingOutputs,
    terms: dict[str, Term],
) -> Term:
    """The losses between layers, added up; each also into `terms`."""
    parts = []
    for layer in distiller.guests.losses[HIDDEN]:
        name = term_name(HIDDEN, layer)
        student = find(outputs.hidden_representations, layer.student_layer, "student")
        student = require_rows(
            student, answers.num_rows, f"The student's layer {layer.student_layer!r}"
        )
        said, weights = answers.hidden_representation(layer.teacher_layer)
        values = require_finite(layer((student, said)), name, said, answers.example_at)
        terms[name] = _term(values, weights)
        parts.append(distiller.distillation_loss_weights[name] * terms[name].part)
    return Term(tf.add_n(parts), _weight(answers.row_weights))


def _term(values: tf.Tensor, weights: tf.Tensor) -> Term:
    """The weighted mean over the rows of all replicas."""
    mean, own = weighted_mean(values, weights), tf.reduce_sum(weights)
    return Term(mean_over_global_batch(mean, own, 0.0), _weight(weights))


def _weight(weights: tf.Tensor) -> tf.Tensor:
    """The summed weight of the rows of all replicas."""
    weight = tf.reduce_sum(weights)
    if num_replicas() == 1:
        return weight
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, weight)
