"""The training of a ranking run's students and twins, and what teachers share with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.distiller import Distiller
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.tasks import RankingTask
from tfrs_distill.pipeline.fit_until_best import fit_until_best
from tfrs_distill.pipeline.ranking.dataset import RankingData
from tfrs_distill.pipeline.ranking.models import make_student
from tfrs_distill.pipeline.ranking.tasks import distillation_loss
from tfrs_distill.pipeline.ranking.validation import ValidationScore
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.progress import Progress

STUDENT_FILE = "student.keras"


def save_ranking(model: RankingModel, path: Path) -> None:
    """Write a model without its optimizer: what it weighs is what serving it needs."""
    alone = model.from_config(model.get_config())
    alone.set_weights(model.get_weights())
    alone.save(path)


def train_ranking_student(
    recipe: Recipe,
    data: RankingData,
    tasks: Sequence[RankingTask],
    examples: RankingExamples,
    folder: Path,
    progress: Progress,
    *,
    description: str,
    taught: bool,
) -> tuple[dict[str, Any], str]:
    """Train a student on rows with a teacher's logits, or its twin on the labels alone.

    Both have the same architecture, labelled rows, batch size, number of epochs at most and seed;
    the learning rate and the dropout are each one's own, chosen on validation.

    Args:
        recipe: the run.
        data: its rows; validation chooses the epoch.
        tasks: what is learnt.
        examples: the training rows, with a teacher's logits if it is `taught`, and then perhaps
            rows without a label too.
        folder: where `STUDENT_FILE` is written.
        progress: told of every epoch.
        description: what is trained, for the bar.
        taught: whether there is a teacher.
    """
    own = recipe.distillation if taught else recipe.twin
    student = make_student(recipe, data, tasks, own.dropout)
    model: tf.keras.Model = student
    if taught:
        temperature = recipe.distillation.temperature
        model = Distiller(
            student,
            None,
            {task.name: distillation_loss(task, temperature) for task in tasks},
            student_loss_weight=recipe.distillation.student_loss_weight,
        )
    curves = fit_until_best(
        model,
        examples.batches(recipe.training.batch_size, seed=recipe.seed),
        ValidationScore(student, data.splits.validation, recipe.evaluation.k),
        learning_rate=own.learning_rate,
        max_epochs=recipe.training.max_epochs,
        patience=recipe.training.patience,
        progress=progress,
        description=description,
    )
    save_ranking(student, folder / STUDENT_FILE)
    return {"curves": curves}, score_line(student, curves)


def score_line(model: RankingModel, curves: dict[str, Any]) -> str:
    """A trained model in a sentence's part."""
    return (
        f"{model.num_parameters:,} parameters, validation score "
        f"{max(curves['validation_score']):.4f} at epoch {curves['best_epoch']}"
    )


def seed_of_fold(recipe: Recipe, fold: int) -> int:
    """A seed of its own for each fold's teacher."""
    return recipe.seed + 1000 * (fold + 1)
