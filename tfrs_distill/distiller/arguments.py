"""Validation of a `Distiller`'s arguments, by task, before any work is done."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_distill.distiller.probabilities import refuse_model
from tfrs_distill.losses import HiddenRepresentationDistillation
from tfrs_distill.models.classifier import Classifier
from tfrs_distill.models.student import Student
from tfrs_distill.teachers.function_teacher import FunctionTeacher
from tfrs_distill.teachers.keras_teacher import KerasTeacher

NOT_OF_LOGITS = (  # losses of Keras whose `y_true` is a label, a probability or above 0
    tf.keras.losses.BinaryCrossentropy,
    tf.keras.losses.BinaryFocalCrossentropy,
    tf.keras.losses.CategoricalCrossentropy,
    tf.keras.losses.CategoricalFocalCrossentropy,
    tf.keras.losses.SparseCategoricalCrossentropy,
    tf.keras.losses.KLDivergence,
    tf.keras.losses.Poisson,
    tf.keras.losses.MeanSquaredLogarithmicError,
    tf.keras.losses.Hinge,
    tf.keras.losses.SquaredHinge,
    tf.keras.losses.CategoricalHinge,
)
HIDDEN = "hidden"  # key for losses between layers that belong to no single task

DistillationLoss: TypeAlias = tf.keras.losses.Loss | HiddenRepresentationDistillation


def as_student(student: Any) -> Student:
    """Return a Keras 2 model as a `Student`.

    Raises:
        TypeError: it is not a Keras 2 model, or it is a `tfrs.Model` (which has to be adapted
            first).
        ValueError: it has no trainable weights, it ends in a softmax or sigmoid, or the name of a
            task is reserved.
    """
    if not isinstance(student, tf.keras.Model):
        raise TypeError(
            "`student` must be a Keras 2 model: a `RetrievalStudent`, a `RankingStudent`, or a "
            "`tf.keras.Model` that returns logits. Received: "
            f"{type(student).__module__}.{type(student).__name__}. " + keras_3(student)
        )
    is_student = isinstance(student, Student)
    if isinstance(student, tfrs.Model) and not is_student:
        raise TypeError(
            f"`student` is a `tfrs.Model`, {type(student).__name__}. Adapt it first: "
            "`td.models.RetrievalStudent.from_tfrs(model, query_tower=..., candidate_tower=..., "
            "query_column=..., candidate_column=...)`, or "
            "`td.models.RankingStudent.from_tfrs(model, ...)`."
        )
    if student.built:
        require_trainable(student)
    if not is_student:
        refuse_model(student, "student")
        return Classifier(student)
    if HIDDEN in student.task_names:
        raise ValueError(
            f"No task of the student may be called {HIDDEN!r}: this key is reserved for losses "
            f"between layers. Received: tasks {list(student.task_names)}."
        )
    return student


def require_trainable(student: tf.keras.Model) -> None:
    """Raise a ValueError if a built student has no trainable weights."""
    if not student.trainable_variables:
        raise ValueError(
            "`student` has no trainable weights, so it cannot be trained. Check that "
            "`trainable` is True for the student and its layers."
        )


def as_teacher(teacher: Any) -> Any:
    """Wrap a Keras 2 model or a function as a teacher; return a teacher unchanged.

    Raises:
        TypeError: it is none of these.
    """
    logits = getattr(teacher, "logits", None)
    if callable(logits) and not isinstance(logits, tf.keras.layers.Layer):
        return teacher
    if isinstance(teacher, tf.keras.Model):
        return KerasTeacher(teacher)
    if callable(teacher) and not keras_3(teacher):
        return FunctionTeacher(teacher)
    raise TypeError(
        "`teacher` must have a method `logits(batch, candidate_ids)`, as the teachers of "
        "`tfrs_distill.teachers` do, or be a Keras 2 model or a function of these two arguments. "
        f"Received: {type(teacher).__module__}.{type(teacher).__name__}. " + keras_3(teacher)
    )


def keras_3(model: Any) -> str:
    """Return a hint if the object is from Keras 3, else an empty string."""
    modules = {kind.__module__.split(".")[0] for kind in type(model).__mro__}
    if "keras" not in modules:
        return ""
    return "This is Keras 3: build it with `tf.keras` after `import tfrs_distill`."


def losses_by_task(losses: Any, tasks: Sequence[str]) -> dict[str, list[DistillationLoss]]:
    """Return lists of distillation losses by task, or `"hidden"`.

    Raises:
        TypeError: an object is not a loss, a loss compares probabilities, or a loss of logits is
            under `"hidden"`.
        ValueError: there is no loss, or a loss of a task that the student does not have.
    """
    by_task = {
        key: as_list(given) for key, given in of_tasks(losses, tasks, "distillation_losses").items()
    }
    if not any(by_task.values()):
        raise ValueError("`distillation_losses` must hold at least one loss. Received: none.")
    for key, given in by_task.items():
        for loss in given:
            is_layer = isinstance(loss, HiddenRepresentationDistillation)
            if not is_layer and not isinstance(loss, tf.keras.losses.Loss):
                raise TypeError(
                    "`distillation_losses` must be `tf.keras.losses.Loss` objects of (teacher "
                    "logits, student logits) or `HiddenRepresentationDistillation` layers. "
                    f"Received: {loss!r}."
                )
            if type(loss) in NOT_OF_LOGITS:
                raise TypeError(
                    f"`{type(loss).__name__}` compares labels or probabilities, but distillation "
                    "losses get the teacher's and the student's logits. Use "
                    "`td.losses.SoftTargetKLDivergence(temperature)`, or for tasks of one logit "
                    f"`td.losses.SoftTargetBinaryCrossEntropy(temperature)`. Received: {loss!r}."
                )
            if key == HIDDEN and not is_layer:
                raise TypeError(
                    "Only `HiddenRepresentationDistillation` layers are allowed under "
                    f"{HIDDEN!r} of `distillation_losses`. Received: {loss!r}."
                )
    return by_task


def loss_weights_by_task(
    weights: Any, losses: Mapping[str, Sequence[Any]], tasks: Sequence[str]
) -> dict[str, list[float]]:
    """Return the losses' weights in the structure of the losses; 1 by default.

    Raises:
        ValueError: a weight is out of range, or the numbers of weights and losses differ.
    """
    given: Mapping[str, Any] = {}
    if weights is not None:
        given = of_tasks(weights, tasks, "distillation_loss_weights", losses)
    by_task = {}
    for key, of_key in losses.items():
        numbers = as_list(given[key]) if key in given else [1.0] * len(of_key)
        if len(numbers) != len(of_key):
            raise ValueError(
                "`distillation_loss_weights` must have one number per loss. Received: "
                f"{len(numbers)} weights for {len(of_key)} losses."
            )
        if not all(0 <= weight < math.inf for weight in numbers):
            raise ValueError(
                f"`distillation_loss_weights` must be finite and at least 0. Received: {numbers!r}."
            )
        by_task[key] = numbers
    return by_task


def student_loss_weights_by_task(
    weights: Any, losses: Mapping[str, Sequence[Any]], tasks: Sequence[str]
) -> dict[str, float]:
    """Return the weight w of every task that has distillation losses, and of `"hidden"`.

    Raises:
        ValueError: a weight is out of range, missing, or of a task without distillation losses.
    """
    given = {key: weights for key in losses}
    if isinstance(weights, Mapping):
        given = dict(of_tasks(weights, tasks, "student_loss_weight", losses))
    missing = sorted(set(losses) - set(given))
    if missing:
        raise ValueError(
            "`student_loss_weight` must be one number, or a number for each task that has "
            f"distillation losses. Received: none for {missing}."
        )
    for weight in given.values():
        if not 0 <= weight <= 1:
            raise ValueError(
                "`student_loss_weight` must be within 0 and 1. Received: "
                f"student_loss_weight={weights!r}."
            )
    return {key: given[key] for key in losses}


def teachers_by_task(
    teacher: Any, losses: Mapping[str, Sequence[Any]], tasks: Sequence[str]
) -> dict[str, Any]:
    """Return the teachers by task; a task whose logits are in the batches has none.

    Raises:
        TypeError: an object is not a teacher.
        ValueError: a teacher is of a task that does not exist or has no distillation losses.
    """
    if teacher is None:
        return {}
    if isinstance(teacher, Mapping):
        given = of_tasks(teacher, tasks, "teacher", losses)
        return {key: as_teacher(one) for key, one in given.items()}
    return dict.fromkeys(losses, as_teacher(teacher))


def term_names(losses: Mapping[str, Sequence[Any]], tasks: Sequence[str]) -> dict[str, str]:
    """Return the prefix of each task's loss names; empty if the student has one task."""
    return {key: "" if [key] == list(tasks) else f"{key}_" for key in [*tasks, *losses]}


def check_names(
    losses: Mapping[str, Sequence[Any]], prefixes: Mapping[str, str], taken: Sequence[str]
) -> None:
    """Require that all terms in the logs have different names.

    Args:
        losses: by task.
        prefixes: prefix of the names of each task's terms.
        taken: names of metrics.

    Raises:
        ValueError: two terms share a name.
    """
    names = ["total_loss", *taken]
    for key, prefix in prefixes.items():
        names += [f"{prefix}student_loss"] * (key != HIDDEN)
        if key in losses:
            names += [f"{prefix}distillation_loss", *(prefix + loss.name for loss in losses[key])]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            "Distillation losses must have unique names that no other term or metric has; with "
            "several tasks, the task's name and `_` are the prefix. These names occur twice: "
            f"{twice}. Give the losses other names."
        )


def of_tasks(
    given: Any,
    tasks: Sequence[str],
    argument: str,
    losses: Mapping[str, Sequence[Any]] | None = None,
) -> Mapping[str, Any]:
    """Return an argument as a dict by task; with one task the dict may be omitted."""
    if not isinstance(given, Mapping):
        if len(tasks) > 1 or (losses is not None and HIDDEN in losses):
            raise ValueError(
                f"`{argument}` must name the task: a dict by the names of "
                f"{[*tasks, HIDDEN]}. Received: {given!r}."
            )
        return {tasks[0]: given}
    known = [*tasks, HIDDEN] if losses is None else list(losses)
    unknown = sorted(set(given) - set(known))
    if unknown:
        having = "the student has" if losses is None else "there are distillation losses of"
        raise ValueError(f"`{argument}` names {unknown}, but {having} {known}.")
    return given


def as_list(given: Any) -> list[Any]:
    """Return a single object or a sequence as a list."""
    return list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
