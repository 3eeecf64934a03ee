"""Eager checks of a `Distiller`'s first batch, before any weight changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfrs_distill import columns
from tfrs_distill.distiller.arguments import DistillationLoss
from tfrs_distill.distiller.probabilities import refuse_values, warn_of_single_probabilities
from tfrs_distill.distiller.teacher_outputs import TeacherOutputs
from tfrs_distill.losses import HiddenRepresentationDistillation, SoftTargetBinaryCrossEntropy
from tfrs_distill.losses.candidate_lists import MASKED
from tfrs_distill.models.step import Term
from tfrs_distill.models.student import Student
from tfrs_distill.models.student_outputs import StudentOutputs


class Step(NamedTuple):
    """One forward pass of student and teachers.

    Args:
        terms: every loss term by its name in the logs; `total_loss` is minimised.
        batch: the batch's columns.
        outputs: the student's outputs.
        teacher_outputs: the teachers' outputs.
    """

    terms: dict[str, Term]
    batch: dict[str, Any]
    outputs: StudentOutputs
    teacher_outputs: TeacherOutputs


def check_first_batch(
    step: Step,
    student: Student,
    losses: Mapping[str, Sequence[DistillationLoss]],
    term_name: Callable[[str, DistillationLoss], str],
) -> None:
    """Require that the outputs of student and teacher are valid and comparable.

    Args:
        step: an eager forward pass.
        student: the student.
        losses: the distillation losses by task.
        term_name: returns the name of a loss term from the task and the loss.

    Raises:
        ValueError: they are not; the message names the example.
    """
    teacher_outputs = step.teacher_outputs
    for key, of_key in losses.items():
        for loss in of_key:
            name = term_name(key, loss)
            if isinstance(loss, HiddenRepresentationDistillation):
                values, weights = teacher_outputs.hidden_representation(key, loss.teacher_layer)
                _require_finite(step, name, values.numpy(), weights, key)
                continue
            logits = teacher_outputs.logits_of(key)
            _require_finite(step, name, logits.raw.numpy(), logits.weights, key)
            if not teacher_outputs.from_top_k(key):
                refuse_values(logits.raw, logits.weights, "teacher")
            if isinstance(loss, SoftTargetBinaryCrossEntropy):
                warn_of_single_probabilities(logits.raw, logits.weights, key)
            if getattr(loss, "of_lists", False) and not student.rows_are_lists(key):
                _require_lists(step, name)
    for head in step.outputs.heads.values():
        refuse_values(head.logits, teacher_outputs.row_weights, "student")


def _require_finite(step: Step, name: str, values: np.ndarray, weights: Any, key: str) -> None:
    """Raise a ValueError if a teacher's values or their loss are not finite."""
    teacher_outputs = step.teacher_outputs
    rows = values.reshape([len(values), -1])
    # Values that overflow at a temperature count as infinite; a row of masks alone has no logits.
    fine = (np.isfinite(rows) & (rows < -MASKED)).all(axis=1) & (rows > MASKED).any(axis=1)
    fine |= False if weights is None else weights.numpy() == 0
    if not fine.all():
        row = int(np.argmin(fine))
        example = teacher_outputs.example_at(row)
        if teacher_outputs.teachers.get(key) is None:
            raise ValueError(
                f"The teacher outputs of {key!r} in the batch are infinite or partly NaN (a row "
                f"of NaN alone means that there is no teacher output), for example {example}"
            )
        of = "" if len(step.outputs.heads) == 1 else f" of {key!r}"
        raise ValueError(f"The teacher{of} returns NaN or infinite values for example {example}")
    of_rows = step.terms[name].values
    assert of_rows is not None
    of_loss = of_rows.numpy()
    finite = np.isfinite(of_loss)
    if weights is not None and len(of_loss) == len(rows):
        finite |= weights.numpy() == 0
    if not finite.all():
        row = int(np.argmin(finite))
        where = f" Example {teacher_outputs.example_at(row)}" if len(of_loss) == len(rows) else ""
        whose = f"distillation loss `{name}` is NaN or infinite, though the teacher outputs"
        if all(np.isfinite(head.logits.numpy()).all() for head in step.outputs.heads.values()):
            raise ValueError(
                f"The {whose} and the student's logits are finite: they are too large for the loss."
                f"{where}"
            )
        raise ValueError(
            f"The student has diverged: its {whose} are finite. Lower the learning rate.{where}"
        )


def _require_lists(step: Step, name: str) -> None:
    """Raise a ValueError if every query of the batch has one row."""
    queries = np.asarray(step.batch[columns.QUERY_ID]).ravel()
    if 1 < len(queries) == len(np.unique(queries)):
        raise ValueError(
            f"The loss `{name}` compares the candidates of a query, but each query of the batch "
            f"(column {columns.QUERY_ID!r}) has one row. Use batches of whole lists, "
            "`examples.list_batches(num_queries)`, and queries with several candidates. Received: "
            f"number of rows {len(queries)}."
        )
