"""Train a compressed student further, unless that makes it worse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

FineTune = Callable[[Any], Any]


def fine_tune_unless_worse(
    student: Any, fine_tune: FineTune, score: Callable[[Any], float]
) -> tuple[float, float, Any]:
    """Train a student in place; where its score falls, it gets its old weights back.

    Args:
        student: a compressed student.
        fine_tune: trains it.
        score: of a student, such as `Measure.of_student`; more is better.

    Returns:
        The score before, that of the weights it is left with, and what `fine_tune` returned.
    """
    before, weights = score(student), student.get_weights()
    returned = fine_tune(student)
    after = score(student)
    if not after >= before:  # NaN too
        student.set_weights(weights)
        after = before
    return before, after, returned
