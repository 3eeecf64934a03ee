"""Alternating least squares with a decayed fold-in as the teacher of a run."""

from __future__ import annotations

from typing import Any

from tfrs_distill.evaluation.baselines import best_als
from tfrs_distill.pipeline.teacher_kinds.closed_form import ClosedForm
from tfrs_distill.teachers import ALSTeacher
from tfrs_distill.teachers.als_teacher import require_implicit


class ALS(ClosedForm):
    """`ALSTeacher`, calibrated."""

    title = "ALS"
    choose = staticmethod(best_als)
    solve = ALSTeacher

    def settings(self) -> Any:
        """Return the version of `implicit`; checks before training that it is installed."""
        return require_implicit().__version__
