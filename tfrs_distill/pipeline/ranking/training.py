"""The training that teachers, twins and students of a ranking run share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.distiller.ranking_distiller import RankingDistiller
from tfrs_distill.pipeline.ranking.dataset import RankingData
from tfrs_distill.pipeline.ranking.models import make_student
from tfrs_distill.pipeline.ranking.tasks import distillation_loss
from tfrs_distill.pipeline.ranking.validation import SCORE, ValidationScore
from tfrs_distill.pipeline.training import BestEpoch, ShowEpochs
from tfrs_distill.progress import Progress
from tfrs_distill.recipe import Recipe
from tfrs_distill.towers.ranking_model import RankingModel
from tfrs_distill.towers.ranking_tasks import RankingTask

STUDENT_FILE = "student.keras"


def fit_ranking(
    model: tf.keras.Model,
    asked: RankingModel,
    batches: tf.data.Dataset,
    validation: RankingExamples,
    *,
    learning_rate: float,
    max_epochs: int,
    patience: int,
    k: int,
    progress: Progress,
    description: str,
) -> dict[str, Any]:
    """Fit `model` until `asked` no longer gets better on validation, and keep its best epoch.

    Returns:
        `loss` and `validation_score` by epoch, and `best_epoch`, counted from 1.
    """
    model.compile(optimizer=tf.keras.optimizers.Adam(learning_rate))
    with progress.bar(description, max_epochs) as advance:
        callbacks = [
            ValidationScore(asked, validation, k),
            BestEpoch(SCORE, patience),
            ShowEpochs(advance, SCORE),
        ]
        history = model.fit(batches, epochs=max_epochs, verbose=0, callbacks=callbacks).history
    loss = history["total_loss" if "total_loss" in history else "loss"]
    curve = history[SCORE]
    return {
        "loss": [float(value) for value in loss],
        "validation_score": [float(value) for value in curve],
        "best_epoch": int(np.argmax(curve)) + 1,
    }


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

    Both have the same architecture, rows, batches, budget and seed; the learning rate and the
    dropout are each one's own, chosen on validation.

    Args:
        recipe: the run.
        data: its rows; validation chooses the epoch.
        tasks: what is learnt.
        examples: the training rows, with a teacher's logits if it is `taught`.
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
        model = RankingDistiller(
            student,
            None,
            {task.name: distillation_loss(task, temperature) for task in tasks},
            student_loss_weight=recipe.distillation.student_loss_weight,
        )
    curves = fit_ranking(
        model,
        student,
        examples.batches(recipe.training.batch_size, seed=recipe.seed),
        data.splits.validation,
        learning_rate=own.learning_rate,
        max_epochs=recipe.training.max_epochs,
        patience=recipe.training.patience,
        k=recipe.evaluation.k,
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
