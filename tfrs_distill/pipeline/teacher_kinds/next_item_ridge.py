"""Ridge regression of the next item on the decayed history as the teacher of a run."""

from __future__ import annotations

from tfrs_distill.evaluation.baselines import best_next_item_ridge
from tfrs_distill.pipeline.teacher_kinds.closed_form import ClosedForm
from tfrs_distill.teachers import NextItemRidgeTeacher


class NextItemRidge(ClosedForm):
    """`NextItemRidgeTeacher`, calibrated."""

    title = "next-item ridge"
    choose = staticmethod(best_next_item_ridge)
    solve = NextItemRidgeTeacher
