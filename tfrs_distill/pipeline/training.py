"""Stages 4 and 5: train the twin and the student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrs_distill.data.splits import Splits
from tfrs_distill.distiller import Distiller
from tfrs_distill.evaluation import ValidationNDCG
from tfrs_distill.knowledge import CachedTeacher
from tfrs_distill.losses import SoftTargetKLDivergence
from tfrs_distill.models import RetrievalStudent, TwoTower
from tfrs_distill.pipeline.fit_until_best import fit_until_best
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.progress import Progress


def save(model: TwoTower, path: Path) -> None:
    """Write a model without its optimizer: what it weighs is what serving it needs."""
    alone = model.from_config(model.get_config())
    alone.query_tower.set_weights(model.query_tower.get_weights())
    alone.save(path)


def train_student(
    recipe: Recipe,
    splits: Splits,
    knowledge: CachedTeacher | None,
    folder: Path,
    progress: Progress,
) -> tuple[dict[str, Any], str]:
    """Train a student, or without knowledge its twin.

    Both have the same architecture, data, batches, budget and seed; the learning rate and the
    dropout are each one's own, chosen on validation.
    """
    own = recipe.twin if knowledge is None else recipe.distillation
    student = RetrievalStudent.from_history(
        num_items=splits.catalogue.num_items,
        max_history=recipe.data.max_history,
        embedding_dim=recipe.student.embedding_dim,
        dropout=own.dropout,
        seed=recipe.seed,
    )
    model: tf.keras.Model = student
    train = splits.train
    if knowledge is not None:
        distillation = recipe.distillation
        model = Distiller(
            student,
            knowledge,
            SoftTargetKLDivergence(temperature=distillation.temperature),
            student_loss_weight=distillation.student_loss_weight,
        )
        form = recipe.knowledge.form
        train = knowledge.join(train, form=None if form == "auto" else form)
    curves = fit_until_best(
        model,
        train.batches(recipe.training.batch_size, seed=recipe.seed),
        ValidationNDCG(splits.validation, k=recipe.evaluation.k, model=student),
        learning_rate=own.learning_rate,
        max_epochs=recipe.training.max_epochs,
        patience=recipe.training.patience,
        progress=progress,
        description="twin" if knowledge is None else "student",
    )
    save(student, folder / "student.keras")
    best = max(curves[f"validation_ndcg@{recipe.evaluation.k}"])
    line = (
        f"{student.num_parameters:,} parameters, validation NDCG@{recipe.evaluation.k} "
        f"{best:.4f} at epoch {curves['best_epoch']}"
    )
    return {"curves": curves}, line
