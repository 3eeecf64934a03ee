"""Label the training examples with teachers that were not trained on them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfrs_distill.files import save_arrays, whole_file
from tfrs_distill.knowledge import cross_fit
from tfrs_distill.knowledge.maintenance import prune
from tfrs_distill.pipeline.fit_until_best import fit_for
from tfrs_distill.pipeline.run_folder import (
    CACHE,
    GENERATED,
    KNOWLEDGE,
    LOGITS_FILE,
    SELF_KNOWLEDGE,
    TWIN,
    Run,
)
from tfrs_distill.pipeline.stage import Result, Stage, forget_other_trainings
from tfrs_distill.pipeline.stages.generated import write_generated
from tfrs_distill.pipeline.students import ListStudents, students_of
from tfrs_distill.pipeline.tasks import logits_of_tasks


def knowledge_stage(run: Run) -> Stage:
    """Return the stage; its folder holds the cache; folds on disk are not trained again."""
    recipe = run.recipe

    def work(folder: Path) -> tuple[Result, str]:
        forget_other_trainings(folder, run.fingerprint(KNOWLEDGE))
        teachers = folder / "teachers"  # kept until all folds are labelled

        def train(examples: Any, fold: int) -> Any:
            of_fold = teachers / str(fold)
            of_fold.mkdir(parents=True, exist_ok=True)
            return run.teacher.train_fold(examples, fold, run.file("teacher"), of_fold)

        _cross_fit(run, KNOWLEDGE, train, run.data.rows_of_teacher, _kept(run))
        shutil.rmtree(teachers, ignore_errors=True)
        which = "a teacher that was not trained on it"
        if "array" in recipe.teacher.kinds:
            which = "a teacher that may have been trained on it, depending on its array"
        return {}, _line(run, which)

    return Stage(KNOWLEDGE, work, lambda: [recipe.knowledge.folds, _kept(run)], after=("teacher",))


def self_knowledge_stage(run: Run) -> Stage:
    """Return the stage; its folder holds the cross-fitted outputs of twins.

    Each is trained for as many epochs as the twin of all examples needed. That twin labels the rows
    that only the teacher labels, and extends histories.
    """
    recipe, students = run.recipe, students_of(run, TWIN)

    def kept() -> dict[str, Any]:
        return {} if isinstance(students, ListStudents) else _kept(run)

    def work(folder: Path) -> tuple[Result, str]:
        forget_other_trainings(folder, run.fingerprint(SELF_KNOWLEDGE))
        epochs = run.result(TWIN)["curves"]["best_epoch"]

        def train(examples: Any, fold: int) -> Any:
            seed = run.teacher_context.seed_of_fold(fold)
            twin = students.new(recipe.twin, seed)
            fit_for(
                twin,
                students.batches(examples, seed),
                learning_rate=recipe.twin.learning_rate,
                weight_decay=recipe.twin.weight_decay,
                epochs=epochs,
            )
            return twin

        _cross_fit(run, SELF_KNOWLEDGE, train, students.examples, kept())
        if run.num_unlabelled:
            tasks = [task.name for task in run.tasks]
            logits = logits_of_tasks(run.student(TWIN), run.drawn, tasks)
            with whole_file(folder / LOGITS_FILE) as file:
                save_arrays(file, logits)
        if run.num_generated and not isinstance(students, ListStudents):
            write_generated(run, run.student(TWIN), folder / GENERATED)
        return {}, _line(run, f"a twin of {epochs} epochs that was not trained on it")

    return Stage(
        SELF_KNOWLEDGE,
        work,
        lambda: [recipe.knowledge.folds, kept(), run.num_unlabelled, run.num_generated],
        after=(TWIN,),
    )


def _cross_fit(
    run: Run,
    stage: str,
    train: Callable[[Any, int], Any],
    examples: Any,
    kept: dict[str, Any],
) -> None:
    cache = run.file(stage, CACHE)
    cross_fit(
        train,
        examples,
        cache,
        fingerprint=run.fingerprint(stage),
        num_folds=run.recipe.knowledge.folds,
        seed=run.recipe.seed,
        progress=run.progress,
        **kept,
    )
    prune(cache)


def _line(run: Run, which: str) -> str:
    of = "rows" if run.tasks else "users"
    return f"{run.recipe.knowledge.folds} folds of {of}, each labelled by {which}"


def _kept(run: Run) -> dict[str, Any]:
    """The assignment of rows to folds, or the part of a window's logits that is stored."""
    return {"by": run.recipe.knowledge.by} if run.tasks else run.kept_of_logits
