"""What a `Distiller` sees of its first batch, eagerly, before any weight changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.distiller.arguments import DistillationLoss
from tfrs_distill.distiller.teacher_answers import TeacherAnswers
from tfrs_distill.losses import HiddenRepresentationDistillation
from tfrs_distill.losses.candidate_lists import MASKED
from tfrs_distill.models.step import Term
from tfrs_distill.models.student import Student
from tfrs_distill.models.student_outputs import StudentOutputs

ROWS = 8  # enough to tell probabilities, few enough to cost no time


class Step(NamedTuple):
    """One forward pass of student and teachers.

    Args:
        terms: every term of the loss by its name in the logs; `total_loss` is minimised.
        batch: the batch's columns.
        outputs: the student's.
        answers: the teachers'.
    """

    terms: dict[str, Term]
    batch: dict[str, Any]
    outputs: StudentOutputs
    answers: TeacherAnswers


def check_first_batch(
    step: Step,
    student: Student,
    losses: Mapping[str, Sequence[DistillationLoss]],
    term_name: Callable[[str, DistillationLoss], str],
) -> None:
    """Require that student and teacher can be compared and learnt from.

    Args:
        step: an eager forward pass.
        student: the student's contract.
        losses: the distillation losses by task.
        term_name: of a task and its loss, what the loss' term is called.

    Raises:
        ValueError: they cannot; names the example.
    """
    for key, of_key in losses.items():
        for loss in of_key:
            name = term_name(key, loss)
            if isinstance(loss, HiddenRepresentationDistillation):
                values, weights = step.answers.hidden_representation(key, loss.teacher_layer)
                _require_finite(step, name, values.numpy(), weights, key)
                continue
            answer = step.answers.answer(key)
            _require_finite(step, name, answer.raw_logits.numpy(), answer.weights, key)
            if not step.answers.from_top_k(key):
                _refuse_probabilities(answer.raw_logits, answer.weights, "teacher")
            if getattr(loss, "of_lists", False) and not student.rows_are_lists(key):
                _require_lists(step, name)
    for head in step.outputs.heads.values():
        _refuse_probabilities(head.logits, step.answers.row_weights, "student")


def _require_finite(step: Step, name: str, values: np.ndarray, weights: Any, key: str) -> None:
    """Hold a teacher's values, and the loss that they give, to be finite."""
    answers = step.answers
    rows = values.reshape([len(values), -1])
    # What overflows by a temperature is no better than infinite, and masks alone are no answer.
    fine = (np.isfinite(rows) & (rows < -MASKED)).all(axis=1) & (rows > MASKED).any(axis=1)
    fine |= False if weights is None else weights.numpy() == 0
    if not fine.all():
        row = int(np.argmin(fine))
        example = answers.example_at(row)
        if answers.teachers.get(key) is None:
            raise ValueError(
                f"What the batch says of the teacher of {key!r} is infinite, or NaN in part (NaN "
                f"throughout: it says nothing of the row), for example {example}"
            )
        of = "" if len(step.outputs.heads) == 1 else f" of {key!r}"
        raise ValueError(f"The teacher{of} gives NaN or infinite values for example {example}")
    of_loss = step.terms[name].values.numpy()
    finite = np.isfinite(of_loss)
    if weights is not None and len(of_loss) == len(rows):
        finite |= weights.numpy() == 0
    if not finite.all():
        row = int(np.argmin(finite))
        where = f" Example {answers.example_at(row)}" if len(of_loss) == len(rows) else ""
        raise ValueError(
            f"The student has diverged: its distillation loss `{name}` is NaN or infinite, though "
            f"what the teacher said is finite. Lower the learning rate.{where}"
        )


def _refuse_probabilities(logits: tf.Tensor, weights: Any, whose: str) -> None:
    """Raises a ValueError where logits are at least 0 and every row of them sums to 1."""
    rows = logits.numpy()
    if weights is not None:
        rows = rows[weights.numpy() > 0]
    rows = rows[:ROWS]
    if rows.shape[-1] == 1 or not rows.size:
        return
    if (rows >= 0.0).all() and (np.abs(rows.sum(axis=-1) - 1.0) <= 1e-3).all():
        raise ValueError(
            f"The {whose}'s logits are probabilities: none is negative and every row sums to 1. "
            "Give logits (from before the softmax), or the probabilities' logarithm."
        )


def _require_lists(step: Step, name: str) -> None:
    """Raises a ValueError where every query of the batch has one row."""
    queries = np.asarray(step.batch[columns.QUERY_ID]).ravel()
    if 1 < len(queries) == len(np.unique(queries)):
        raise ValueError(
            f"The loss `{name}` compares the candidates of a query, but each query of the batch "
            f"(column {columns.QUERY_ID!r}) has one row. Take whole lists, "
            "`examples.list_batches(num_queries)`, of queries with several candidates. Received: "
            f"number of rows {len(queries)}."
        )
