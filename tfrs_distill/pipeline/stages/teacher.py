"""Train the teacher on all training data."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tfrs_distill.knowledge.generate_histories import check_continued
from tfrs_distill.pipeline.run_folder import Run
from tfrs_distill.pipeline.stage import Result, Stage, forget_other_trainings
from tfrs_distill.pipeline.tasks import logits_of_tasks


def _check_rows(run: Run, folder: Path) -> None:
    """Check early that a user's own teacher has the row labels that later stages need.

    Raises:
        InputError: it does not label every task and row.
    """
    teacher, tasks = run.teacher.open(folder), [task.name for task in run.tasks]
    logits_of_tasks(teacher, run.data.splits.test, tasks)
    if run.num_unlabelled:
        logits_of_tasks(teacher, run.drawn, tasks)


def teacher_stage(run: Run) -> Stage:
    """Return the stage; its result is from the kind of teacher: `parameters`, `bytes`, `curves`."""
    recipe = run.recipe

    def settings() -> Any:
        run.check_unlabelled()  # before a teacher is trained
        if run.num_generated:
            check_continued(run.data.splits.train)
        sections = [asdict(getattr(recipe, name)) for name in recipe.read_by_teacher]
        return [sections, run.teacher.settings(), recipe.evaluation.k]

    def work(folder: Path) -> tuple[Result, str]:
        forget_other_trainings(folder, run.fingerprint("teacher"))
        facts = run.teacher.train(folder)
        if run.tasks and {"array", "python"} & set(recipe.teacher.kinds):
            _check_rows(run, folder)
        return facts, facts.pop("line")

    return Stage("teacher", work, settings, after=("data",))
