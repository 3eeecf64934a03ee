"""What a `RankingDistiller` is made of, by task, checked before any work is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfrs_distill.distiller.arguments import check_losses, keras_3, require_trainable
from tfrs_distill.losses import HiddenRepresentationDistillation
from tfrs_distill.models.multi_task_model import MultiTaskModel
from tfrs_distill.models.retrieval_model import RetrievalModel

HIDDEN = "hidden"  # beside the tasks: what is learnt from layers rather than from logits


def check_ranking_student(student: Any) -> None:
    """Hold a student to what a ranking student is.

    Raises:
        TypeError: it is no ranking model.
        ValueError: nothing in it can be trained, or a task has a name that is taken.
    """
    if not isinstance(student, MultiTaskModel):
        advice = (
            "Give a retrieval student to `td.Distiller`. "
            if isinstance(student, RetrievalModel)
            else "Adopt a TensorFlow Recommenders model with "
            "`td.models.RankingStudent.from_tfrs(model, ...)`. "
        )
        raise TypeError(
            "`student` must be a `td.models.RankingStudent`. Received: "
            f"{type(student).__module__}.{type(student).__name__}. {advice}" + keras_3(student)
        )
    if student.built:
        require_trainable(student)
    if HIDDEN in student.tasks:
        raise ValueError(
            f"No task of the student may be called {HIDDEN!r}: this is where the losses between "
            "layers are named. Received: tasks " + f"{list(student.tasks)}."
        )


def losses_by_key(losses: Any, student: MultiTaskModel) -> dict[str, list[Any]]:
    """Distillation losses by task, or `"hidden"`, each a list.

    Raises:
        TypeError: something is no loss, or a layer where a loss belongs.
        ValueError: no loss, of no task of the student, or not said of which task.
    """
    by_key = {
        key: _as_list(given)
        for key, given in _of_tasks(losses, student, "distillation_losses").items()
    }
    if not by_key:
        raise ValueError("`distillation_losses` must hold at least one loss. Received: none.")
    for key, given in by_key.items():
        for loss in given:
            if isinstance(loss, HiddenRepresentationDistillation) != (key == HIDDEN):
                raise TypeError(
                    "`HiddenRepresentationDistillation` layers, and only these, stand under the "
                    f"key {HIDDEN!r} of `distillation_losses`, for tasks share the layers. "
                    f"Received: {loss!r} under {key!r}."
                )
    return by_key


def weights_by_key(
    weights: Any, losses: Mapping[str, Sequence[Any]], student: MultiTaskModel
) -> dict[str, list[float]]:
    """The losses' weights in the shape of the losses; 1 where none is given.

    Raises:
        ValueError: a weight of no loss, or of a task without losses.
    """
    given = (
        {} if weights is None else _of_tasks(weights, student, "distillation_loss_weights", losses)
    )
    return {
        key: _as_list(given[key]) if key in given else [1.0] * len(of_key)
        for key, of_key in losses.items()
    }


def student_loss_weights_by_key(
    weights: Any, losses: Mapping[str, Sequence[Any]], student: MultiTaskModel
) -> dict[str, float]:
    """The weight w of every task that has distillation losses, and of `"hidden"`.

    Raises:
        ValueError: one is missing, or of a task without losses.
    """
    if not isinstance(weights, Mapping):
        return {key: weights for key in losses}
    given = _of_tasks(weights, student, "student_loss_weight", losses)
    missing = sorted(set(losses) - set(given))
    if missing:
        raise ValueError(
            "`student_loss_weight` must be one number, or a number for each task that has "
            f"distillation losses. Received: none for {missing}."
        )
    return {key: given[key] for key in losses}


def teachers_by_key(
    teachers: Any, losses: Mapping[str, Sequence[Any]], student: MultiTaskModel
) -> dict[str, Any]:
    """Who is asked about each task; nobody for those whose answers the batches hold.

    Raises:
        TypeError: a teacher cannot be asked.
        ValueError: a teacher of no task, or of a task without losses.
    """
    if teachers is None:
        return {}
    if not isinstance(teachers, Mapping):
        teachers = {key: teachers for key in losses}
    by_key = _of_tasks(teachers, student, "teachers", losses)
    for key, teacher in by_key.items():
        answers = getattr(teacher, "ranking_logits", None)
        if (answers is None and not callable(teacher)) or keras_3(teacher):
            raise TypeError(
                "A teacher must have a method `ranking_logits(batch)` that gives logits by task, "
                "or be a Keras 2 model or a function of the batch. Received for "
                f"{key!r}: {type(teacher).__module__}.{type(teacher).__name__}. {keras_3(teacher)}"
            )
    return dict(by_key)


def check_terms(
    losses: Mapping[str, Sequence[Any]],
    weights: Mapping[str, Sequence[float]],
    student_loss_weights: Mapping[str, float],
    student: MultiTaskModel,
) -> None:
    """Hold every key's losses and weights to what the equation needs, and all names to be apart.

    Raises:
        TypeError: something is no loss.
        ValueError: a weight is out of range or one too many, or two terms share a name.
    """
    for key, of_key in losses.items():
        check_losses(of_key, weights[key], student_loss_weights[key])
    taken = ["total_loss", *(metric.name for metric in student.task_metrics)]
    taken += [f"{task}_student_loss" for task in student.tasks]
    taken += [f"{key}_distillation_loss" for key in losses]
    taken += [term_name(key, loss) for key, of_key in losses.items() for loss in of_key]
    twice = sorted({name for name in taken if taken.count(name) > 1})
    if twice:
        raise ValueError(
            "Every loss is logged as its task's name, `_` and its own. Two terms would be called "
            f"{twice}: give the losses other names."
        )


def term_name(key: str, loss: Any) -> str:
    """What a distillation loss is called in logs."""
    return f"{key}_{loss.name}"


def _of_tasks(
    given: Any,
    student: MultiTaskModel,
    argument: str,
    losses: Mapping[str, Sequence[Any]] | None = None,
) -> Mapping[str, Any]:
    """What was given, by task; a student of one task need not name it."""
    if not isinstance(given, Mapping):
        if len(student.tasks) > 1 or (losses is not None and HIDDEN in losses):
            raise ValueError(
                f"`{argument}` must say of which task: a dict by the names of "
                f"{[*student.tasks, HIDDEN]}. Received: {given!r}."
            )
        return {next(iter(student.tasks)): given}
    known = [*student.tasks, HIDDEN] if losses is None else list(losses)
    unknown = sorted(set(given) - set(known))
    if unknown:
        having = "the student has" if losses is None else "there are distillation losses of"
        raise ValueError(f"`{argument}` names {unknown}, but {having} {known}.")
    return given


def _as_list(given: Any) -> list[Any]:
    return list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
