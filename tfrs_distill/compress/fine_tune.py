"""Fine-tune a compressed student, unless that lowers its score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

FineTune = Callable[[Any], Any]


def fine_tune_unless_worse(
    student: Any, fine_tune: FineTune, score: Callable[[Any], float]
) -> tuple[float, float, Any]:
    """Train a student in place; if its score falls, restore its previous weights.

    Args:
        student: a compressed student.
        fine_tune: trains it.
        score: returns a student's score, such as `Measure.of_student`; more is better.

    Returns:
        The score before, the score of the final weights, and the result of `fine_tune`.
    """
    before, weights = score(student), student.get_weights()
    returned = fine_tune(student)
    after = score(student)
    if not after >= before:  # NaN too
        student.set_weights(weights)
        after = before
    return before, after, returned
