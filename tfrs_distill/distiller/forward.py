"""One forward pass: what the student says, what the teacher says, and every term between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.distiller.arguments import as_teacher, require_trainable
from tfrs_distill.distiller.last_activation import refuse_logits
from tfrs_distill.distiller.teacher_answers import TeacherAnswers
from tfrs_distill.distiller.value_checks import (
    refuse_probabilities,
    require_finite,
    same_candidates,
)
from tfrs_distill.losses import HiddenRepresentationDistillation
from tfrs_distill.losses.weighted_mean import weighted_mean
from tfrs_distill.models.hidden_representations import find, recorded
from tfrs_distill.models.retrieval_model import RetrievalModel
from tfrs_distill.models.student_outputs import StudentOutputs

if TYPE_CHECKING:
    from tfrs_distill.distiller.distiller import Distiller

DistillationLoss = tf.keras.losses.Loss | HiddenRepresentationDistillation


class Step(NamedTuple):
    """What a forward pass gives.

    Args:
        mixed: the mixed loss, without regularisation.
        terms: every term by its name, means over the rows.
        weight: the rows' summed weight, or their number.
        weights: of each row, [num_rows]; None where all count 1.
        outputs: what the student said.
        answers: what the teacher said.
    """

    mixed: tf.Tensor
    terms: dict[str, tf.Tensor]
    weight: tf.Tensor
    weights: tf.Tensor | None
    outputs: StudentOutputs
    answers: TeacherAnswers


def forward(distiller: Distiller, data: Any, training: bool) -> Step:
    """Ask student and teacher about a batch, once each, and compare them.

    Raises:
        ValueError: there is no teacher; the batch has no labels but the student loss a weight; or
            student and teacher cannot be compared.
    """
    pupil, batch = distiller.guests.pupil, as_batch(distiller.student, data)
    outputs = _student_outputs(distiller, batch, training)
    require_trainable(distiller.student)
    outputs = outputs._replace(logits=_of_student(outputs.logits, pupil.row_weights(batch)))
    answers = TeacherAnswers(as_teacher(_teacher_of(distiller)), pupil, batch, outputs)
    if answers.from_top_k:
        distiller.guests.tails = getattr(answers.teacher, "temperatures", ())
    weights = answers.weights
    by_name = {
        name: weighted_mean(_rows(name, loss, answers), weights)
        for name, loss in distiller.distillation_losses.items()
    }
    loss_weights, student_weight = (
        distiller.distillation_loss_weights,
        distiller.student_loss_weight,
    )
    distillation_loss = tf.add_n([loss_weights[name] * term for name, term in by_name.items()])
    mixed = (1.0 - student_weight) * distillation_loss
    terms = {"distillation_loss": distillation_loss} | by_name
    distiller.guests.labelled = outputs.candidates.labels is not None
    if not distiller.guests.labelled:
        _require_no_student_loss(student_weight)
    else:
        terms["student_loss"] = weighted_mean(pupil.hard_loss(batch, outputs), weights)
        mixed += student_weight * terms["student_loss"]
    terms["total_loss"] = mixed + sum(distiller.losses)
    distiller.built = True  # student and projectors have their weights by now
    num_rows = tf.cast(tf.shape(outputs.logits)[0], tf.float32)
    weight = num_rows if weights is None else tf.reduce_sum(tf.cast(weights, tf.float32))
    return Step(mixed, terms, weight, weights, outputs, answers)


def as_batch(student: tf.keras.Model, data: Any) -> dict[str, Any]:
    """A dict of columns from whatever `fit` hands over: a dict, or Keras' `(x, y, weight)`."""
    x, y, sample_weight = tf.keras.utils.unpack_x_y_sample_weight(data)
    plain = not isinstance(student, RetrievalModel)
    if plain and not (isinstance(x, dict) and columns.INPUTS in x):
        x = {columns.INPUTS: x}
    batch = dict(x)
    if y is not None:
        batch[columns.LABELS] = tf.convert_to_tensor(y)
    if sample_weight is not None:
        batch[columns.SAMPLE_WEIGHT] = tf.convert_to_tensor(sample_weight)
    return batch


def _student_outputs(distiller: Distiller, batch: dict[str, Any], training: bool) -> StudentOutputs:
    pupil = distiller.guests.pupil
    layers = [isinstance(loss, tf.keras.layers.Layer) for loss in distiller.guests.losses]
    if not any(layers):
        return pupil(batch, training=training)
    with recorded(distiller.student) as hidden:
        outputs = pupil(batch, training=training)
    if outputs.query_embeddings is not None:
        hidden["query_embeddings"] = outputs.query_embeddings
    return outputs._replace(hidden_representations=hidden)


def _of_student(logits: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
    """The student's logits, unless they are probabilities."""
    refuse_logits(logits, "student")
    return refuse_probabilities(logits, logits, weights, "student")


def _rows(name: str, loss: DistillationLoss, answers: TeacherAnswers) -> tf.Tensor:
    """One value a row: the mean of whatever more axes the loss leaves."""
    if isinstance(loss, HiddenRepresentationDistillation):
        hidden = find(answers.outputs.hidden_representations, loss.student_layer, "student")
        student = answers.pupil.to_rows(hidden, answers.batch)
        said = answers.hidden_representation(loss.teacher_layer)
        values = loss((student, said))
    else:
        with tf.control_dependencies(same_candidates(answers)):
            values = loss.call(*answers.logits_for(loss))
        said = answers.raw_logits
        values = tf.reduce_mean(values, axis=list(range(1, values.shape.rank)))
        if not answers.from_top_k:
            values = refuse_probabilities(values, said, answers.weights, "teacher")
    return require_finite(values, name, said, answers.example_at)


def _teacher_of(distiller: Distiller) -> Any:
    if distiller.teacher is None:
        raise ValueError(
            "This distiller has no teacher: files do not hold it. Call "
            "`distiller.set_teacher(teacher)` first."
        )
    return distiller.teacher


def _require_no_student_loss(student_loss_weight: tf.Variable) -> None:
    with tf.init_scope():
        weight = float(student_loss_weight.numpy())
    if weight > 0:
        raise ValueError(
            f"The batch has no labels, but `student_loss_weight` is {weight:g}. Give the batch "
            f"a column {columns.LABELS!r}, or set the weight to 0."
        )
