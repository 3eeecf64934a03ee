"""The kinds of teachers that a recipe can name; all have the same interface.

Each kind is one file with one class, and one line of `KINDS`.
"""

from __future__ import annotations

from importlib import import_module

from tfrs_distill.pipeline.recipe.kinds import KINDS
from tfrs_distill.pipeline.teacher_kinds.ensemble import EnsembleOf
from tfrs_distill.pipeline.teacher_kinds.kind import TeacherContext, TeacherKind

__all__ = ["EnsembleOf", "TeacherContext", "TeacherKind", "teacher_kind"]


def teacher_kind(context: TeacherContext) -> TeacherKind:
    """Return the kind of teacher in the recipe."""
    named = context.recipe.teacher
    if named.kind != "ensemble":
        return _single(named.kind, context)
    return EnsembleOf(context, {member: _single(member, context) for member in named.members})


def _single(name: str, context: TeacherContext) -> TeacherKind:
    module, _, of_class = KINDS[name].where.partition(":")
    kind: TeacherKind = getattr(import_module(f"{__name__}.{module}"), of_class)(context)
    return kind
