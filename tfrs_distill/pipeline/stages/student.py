"""Train a student with a teacher's knowledge, or without one."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tfrs_distill.pipeline.fit_until_best import fit_until_best, save_alone
from tfrs_distill.pipeline.run_folder import (
    GENERATED,
    KNOWLEDGE,
    LISTS,
    PLAIN,
    STUDENT_FILE,
    UNLABELLED,
    WORDS,
    Run,
)
from tfrs_distill.pipeline.stage import Result, Stage
from tfrs_distill.pipeline.students import (
    KNOWLEDGE_OF,
    Chosen,
    ListStudents,
    RowStudents,
    WindowStudents,
    learns_alone,
    students_of,
)
from tfrs_distill.pipeline.two_stage import ValidationLists


def student_stage(run: Run, name: str) -> Stage:
    """Return the stage that trains the student of this name; its result has the `curves`.

    All students have the same architecture, labelled examples, batch size, maximum number of epochs
    and seed. Students with a teacher use the same distillation settings; of the students without,
    the plain one differs from the twin in its label smoothing.
    """
    recipe, students = run.recipe, students_of(run, name)
    alone = learns_alone(name)
    chosen: Chosen = recipe.twin if alone else recipe.distillation
    if name == PLAIN:
        chosen = replace(chosen, label_smoothing=0.0)
    also: list[Any] = [recipe.evaluation.k]
    if isinstance(students, RowStudents):
        also.insert(0, students.names or recipe.labels.tasks)
    elif not alone and not isinstance(students, ListStudents):
        also.append(recipe.knowledge.form)

    def settings() -> Any:
        sections = [asdict(getattr(recipe, part)) for part in students.sections]
        for section in sections:
            section.pop("controls", None)  # the other trained students
        transfer = students.transfer if isinstance(students, WindowStudents) else None
        of_other_run = [] if transfer is None else [transfer.fingerprint("student")]
        return [sections, asdict(chosen), also, *of_other_run]

    def work(folder: Path) -> tuple[Result, str]:
        model = student = students.new(chosen, recipe.seed)
        validation, examples = students.validation_callback(student), students.examples
        if not alone:
            setup = students.distillation_setup(name)
            examples = setup.examples
            model = setup.distiller(student)
        curves = fit_until_best(
            model,
            students.batches(examples, recipe.seed),
            validation,
            learning_rate=chosen.learning_rate,
            weight_decay=chosen.weight_decay,
            max_epochs=recipe.training.max_epochs,
            patience=recipe.training.patience,
            progress=run.progress,
            description=name.replace("_", " "),
            after_epoch=run.after_epoch_of(name),
        )
        students.finish(student)
        save_alone(student, folder / STUDENT_FILE)
        epoch = curves["best_epoch"]
        result: Result = {"curves": curves}
        if isinstance(validation, ValidationLists):
            result["retrieval_weight"] = validation.weights[epoch - 1]
        line = (
            f"{student.num_parameters:,} parameters, validation {students.score} "
            f"{best_score(curves):.4f} at epoch {epoch}"
        )
        return result, line

    reads_words = isinstance(students, WindowStudents) and recipe.item_texts.read
    after = (*_after(run, name, alone, students), *([WORDS] if reads_words else []))
    return Stage(name, work, settings, after=after)


def best_score(curves: dict[str, Any]) -> float:
    """Return the validation score of the best epoch."""
    (score,) = (values for name, values in curves.items() if name.startswith("validation_"))
    return float(max(score))


def _after(run: Run, name: str, alone: bool, students: Any) -> tuple[str, ...]:
    """Return the stages whose results the student is trained on."""
    of_examples = LISTS if isinstance(students, ListStudents) else "data"
    if alone:
        return (of_examples,)
    if name in KNOWLEDGE_OF:
        # The twins' knowledge is read in the same form as the teacher's.
        of_form = () if isinstance(students, (ListStudents, RowStudents)) else (KNOWLEDGE,)
        return (of_examples, KNOWLEDGE_OF[name], *of_form)
    if isinstance(students, ListStudents):
        return (LISTS,)
    more = ((UNLABELLED, run.num_unlabelled), (GENERATED, run.num_generated))
    return (KNOWLEDGE, *(stage for stage, number in more if number))
