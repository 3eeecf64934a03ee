"""The item-item teacher of a run: EASE, its l2 and decay chosen on validation."""

from __future__ import annotations

from tfrs_distill.evaluation.baselines import best_ease
from tfrs_distill.pipeline.teacher_kinds.closed_form import ClosedForm
from tfrs_distill.teachers import ItemItemTeacher


class ItemItem(ClosedForm):
    """`ItemItemTeacher`, calibrated."""

    title = "EASE"
    choose = staticmethod(best_ease)
    solve = ItemItemTeacher
