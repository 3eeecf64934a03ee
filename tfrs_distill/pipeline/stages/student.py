"""Train a student with its teacher's knowledge, or its twin without."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrs_distill.distiller import Distiller
from tfrs_distill.evaluation import ValidationNDCG
from tfrs_distill.losses import SoftTargetKLDivergence
from tfrs_distill.models import RetrievalStudent
from tfrs_distill.models.tasks import RankingTask
from tfrs_distill.pipeline.fit_until_best import Judge, fit_until_best, save_alone
from tfrs_distill.pipeline.models import make_student
from tfrs_distill.pipeline.recipe import RankingRecipe
from tfrs_distill.pipeline.run_folder import LISTS, STUDENT_FILE, UNLABELLED, Run
from tfrs_distill.pipeline.stage import Result, Stage
from tfrs_distill.pipeline.tasks import make_tasks
from tfrs_distill.pipeline.two_stage import LIST_LOSSES, ValidationLists, make_second_stage
from tfrs_distill.pipeline.validation import ValidationScore
from tfrs_distill.teachers.candidate_lists import RELEVANCE


@dataclass(frozen=True)
class Training:
    """What one student is trained on and chosen by.

    Args:
        student: not trained.
        batches: of its training examples.
        judge: scores it on validation after every epoch.
        score: what the judge's score is, for people.
        losses: the distillation losses; None without a teacher.
        teacher: answers for the batches, where they do not hold its logits.
    """

    student: Any
    batches: tf.data.Dataset
    judge: Judge
    score: str
    losses: Any = None
    teacher: Any = None


def student_stage(run: Run, name: str) -> Stage:
    """Train the student or the twin of this name; its result has the `curves`.

    Student and twin have the same architecture, labelled examples, batch size, number of epochs at
    most and seed; learning rate and dropout are each one's, chosen on validation.
    """
    recipe, taught = run.recipe, not name.startswith("twin")
    sections: tuple[str, ...]
    also: list[Any]
    after: tuple[str, ...]
    chosen = recipe.distillation if taught else recipe.twin
    if isinstance(recipe, RankingRecipe):
        alone = name.removeprefix("twin_of_")
        names = recipe.labels.tasks if alone == name else (alone,)
        make = partial(_of_rows, run, names, chosen.dropout, taught)
        sections, also = ("student", "words", "training", "labels"), [names, recipe.evaluation.k]
        after = ("knowledge", UNLABELLED)[: 1 + bool(run.num_unlabelled)] if taught else ("data",)
    elif recipe.task == "two-stage" and name != "retrieval":
        make = partial(_of_lists, run, chosen.dropout, taught)
        sections, also = ("student", "lists", "training"), [recipe.evaluation.k]
        after = (LISTS,)
    else:
        make = partial(_of_windows, run, chosen.dropout, taught)
        sections, also = ("student", "training"), [recipe.evaluation.k]
        also += [recipe.knowledge.form] * taught
        after = ("knowledge",) if taught else ("data",)

    def settings() -> Any:
        return [[asdict(getattr(recipe, part)) for part in sections], asdict(chosen), also]

    def work(folder: Path) -> tuple[Result, str]:
        training = make()
        model = training.student
        if taught:
            model = Distiller(
                training.student,
                training.teacher,
                training.losses,
                student_loss_weight=recipe.distillation.student_loss_weight,
            )
        curves = fit_until_best(
            model,
            training.batches,
            training.judge,
            learning_rate=chosen.learning_rate,
            max_epochs=recipe.training.max_epochs,
            patience=recipe.training.patience,
            progress=run.progress,
            description=name.replace("_", " "),
        )
        save_alone(training.student, folder / STUDENT_FILE)
        epoch = curves["best_epoch"]
        result: Result = {"curves": curves}
        if isinstance(training.judge, ValidationLists):
            result["retrieval_weight"] = training.judge.weights[epoch - 1]
        line = (
            f"{training.student.num_parameters:,} parameters, validation {training.score} "
            f"{best_score(curves):.4f} at epoch {epoch}"
        )
        return result, line

    return Stage(name, work, settings, after=after)


def best_score(curves: dict[str, Any]) -> float:
    """The validation score of the best epoch."""
    (score,) = (values for name, values in curves.items() if name.startswith("validation_"))
    return float(max(score))


def _of_windows(run: Run, dropout: float, taught: bool) -> Training:
    recipe, splits = run.recipe, run.data.splits
    student = RetrievalStudent.from_history(
        num_items=splits.catalogue.num_items,
        max_history=recipe.data.max_history,
        embedding_dim=recipe.student.embedding_dim,
        dropout=dropout,
        seed=recipe.seed,
    )
    train = splits.train
    if taught:
        form = recipe.knowledge.form
        train = run.knowledge.join(train, form=None if form == "auto" else form)
    k = recipe.evaluation.k
    return Training(
        student,
        train.batches(recipe.training.batch_size, seed=recipe.seed),
        ValidationNDCG(splits.validation, k=k, model=student),
        f"NDCG@{k}",
        SoftTargetKLDivergence(temperature=recipe.distillation.temperature),
        run.knowledge if taught else None,
    )


def _of_rows(run: Run, names: tuple[str, ...], dropout: float, taught: bool) -> Training:
    recipe, data = run.recipe, run.data
    tasks: list[RankingTask] = make_tasks(recipe, data, names)
    student = make_student(recipe, data, tasks, dropout)
    examples = run.labelled_rows() if taught else data.splits.train
    temperature = recipe.distillation.temperature
    return Training(
        student,
        examples.batches(recipe.training.batch_size, seed=recipe.seed),
        ValidationScore(student, data.splits.validation, recipe.evaluation.k),
        "score",
        {task.name: task.distillation_loss(temperature) for task in tasks},
    )


def _of_lists(run: Run, dropout: float, taught: bool) -> Training:
    """A ranking student over lists that its teachers have ordered, or its twin without."""
    recipe = run.recipe
    student = make_second_stage(
        recipe,
        run.first_stage.catalogue_embeddings().numpy()[1:],
        run.item_item.weights,
        run.lists,
        dropout,
    )
    return Training(
        student,
        run.lists.list_batches(recipe.training.batch_size, seed=recipe.seed),
        ValidationLists(recipe, student, run.first_stage, run.data.splits.validation),
        f"NDCG@{recipe.evaluation.k} of both stages",
        {RELEVANCE: LIST_LOSSES[recipe.lists.list_loss](recipe)},
    )
