"""What a `Distiller` is made of, checked before any work is done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_distill.distiller.last_activation import refuse_model
from tfrs_distill.losses import HiddenRepresentationDistillation
from tfrs_distill.models.classifier import Classifier
from tfrs_distill.models.multi_task_model import MultiTaskModel
from tfrs_distill.models.retrieval_model import RetrievalModel
from tfrs_distill.teachers.function_teacher import FunctionTeacher
from tfrs_distill.teachers.keras_teacher import KerasTeacher


def as_pupil(student: Any) -> RetrievalModel | Classifier:
    """The student's contract over whatever Keras 2 model was given.

    Raises:
        TypeError: it is no Keras 2 model, or a `tfrs.Model` that was not adopted.
        ValueError: nothing in it can be trained, or it ends in a softmax or sigmoid.
    """
    if not isinstance(student, tf.keras.Model):
        raise TypeError(
            "`student` must be a Keras 2 model: a `RetrievalStudent`, or a `tf.keras.Model` that "
            f"gives logits. Received: {type(student).__module__}.{type(student).__name__}. "
            + keras_3(student)
        )
    if isinstance(student, MultiTaskModel):
        raise TypeError(
            f"`student` is a ranking model, {type(student).__name__}: its rows are pairs of a "
            "query and an item. Give it to "
            "`td.RankingDistiller(student, teachers, distillation_losses)`."
        )
    if isinstance(student, tfrs.Model) and not isinstance(student, RetrievalModel):
        raise TypeError(
            f"`student` is a `tfrs.Model`, {type(student).__name__}. Adopt it first: "
            "`td.models.RetrievalStudent.from_tfrs(model, query_tower=..., candidate_tower=..., "
            "query_column=..., candidate_column=...)`, or with "
            "`td.models.RankingStudent.from_tfrs(model, ...)` for `td.RankingDistiller`."
        )
    if student.built:
        require_trainable(student)
    if isinstance(student, RetrievalModel):
        return student
    refuse_model(student, "student")
    return Classifier(student)


def require_trainable(student: tf.keras.Model) -> None:
    """Raises a ValueError where a built student has nothing to train."""
    if not student.trainable_variables:
        raise ValueError(
            "`student` has no trainable weights, so there is nothing to distil into. See that "
            "`trainable` is True for the student and its layers."
        )


def as_teacher(teacher: Any) -> Any:
    """The teacher's contract over a teacher, a Keras 2 model or a function.

    Raises:
        TypeError: it is none of these.
    """
    answers = getattr(teacher, "logits", None)
    if callable(answers) and not isinstance(answers, tf.keras.layers.Layer):
        return teacher
    if isinstance(teacher, tf.keras.Model):
        return KerasTeacher(teacher)
    if callable(teacher) and not keras_3(teacher):
        return FunctionTeacher(teacher)
    raise TypeError(
        "`teacher` must have a method `logits(batch, candidate_ids)`, as the teachers of "
        "`tfrs_distill.teachers` do, or be a Keras 2 model or a function of these two. Received: "
        f"{type(teacher).__module__}.{type(teacher).__name__}. " + keras_3(teacher)
    )


def keras_3(model: Any) -> str:
    """What to say of a Keras 3 object; nothing of any other."""
    modules = {kind.__module__.split(".")[0] for kind in type(model).__mro__}
    if "keras" not in modules:
        return ""
    return "This is Keras 3: build it with `tf.keras` after `import tfrs_distill`."


def check_losses(losses: Sequence[Any], weights: Sequence[float], student_weight: float) -> None:
    """Hold losses and weights to what the equation needs.

    Raises:
        TypeError: something is no loss.
        ValueError: none, or two of one name; a weight is out of range or one too many.
    """
    if not losses:
        raise ValueError("`distillation_losses` must hold at least one loss. Received: none.")
    for loss in losses:
        if not isinstance(loss, (tf.keras.losses.Loss, HiddenRepresentationDistillation)):
            raise TypeError(
                "`distillation_losses` must be `tf.keras.losses.Loss` objects of (teacher logits, "
                "student logits) or `HiddenRepresentationDistillation` layers. Received: "
                f"{loss!r}."
            )
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
    taken = {"total_loss", "student_loss", "distillation_loss"} & set(names)
    if taken:
        raise ValueError(f"Distillation losses must not be called {sorted(taken)}.")
