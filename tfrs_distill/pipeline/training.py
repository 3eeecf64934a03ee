"""Stages 4 and 5: train the twin and the student; and the fit that teachers share with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.data.splits import Queries, Splits
from tfrs_distill.distiller import Distiller
from tfrs_distill.evaluation import ValidationNDCG
from tfrs_distill.losses import SoftTargetKLDivergence
from tfrs_distill.progress import Advance, Progress
from tfrs_distill.recipe import Recipe
from tfrs_distill.students import RetrievalStudent
from tfrs_distill.teacher_cache import CachedTeacher
from tfrs_distill.towers import TwoTower


class BestEpoch(tf.keras.callbacks.EarlyStopping):
    """Stops when the monitored value has not risen for `patience` epochs; keeps the best weights.

    Keras' own `EarlyStopping` keeps the last weights where the epochs run out first.
    """

    def __init__(self, monitor: str, patience: int) -> None:
        super().__init__(monitor, patience=patience, mode="max", restore_best_weights=True)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Put the best epoch's weights back."""
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)


class ShowEpochs(tf.keras.callbacks.Callback):
    """Moves a progress bar at every epoch."""

    def __init__(self, advance: Advance, monitor: str) -> None:
        super().__init__()
        self.advance, self.monitor = advance, monitor

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Say the epoch and its validation NDCG."""
        value = (logs or {}).get(self.monitor, float("nan"))
        self.advance(note=f"epoch {epoch + 1}  {self.monitor} {value:.4f}")


def fit(
    model: tf.keras.Model,
    asked: TwoTower,
    batches: tf.data.Dataset,
    validation: Queries,
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
        `loss` and the validation NDCG by epoch, and `best_epoch`, counted from 1.
    """
    ndcg = ValidationNDCG(validation, k=k, model=asked)
    model.compile(optimizer=tf.keras.optimizers.Adam(learning_rate))
    with progress.bar(description, max_epochs) as advance:
        callbacks = [
            ndcg,
            BestEpoch(ndcg.log_name, patience),
            ShowEpochs(advance, ndcg.log_name),
        ]
        history = model.fit(batches, epochs=max_epochs, verbose=0, callbacks=callbacks).history
    loss = history["total_loss" if "total_loss" in history else "loss"]
    curve = history[ndcg.log_name]
    return {
        "loss": [float(value) for value in loss],
        f"validation_ndcg@{k}": [float(value) for value in curve],
        "best_epoch": int(np.argmax(curve)) + 1,
    }


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
    curves = fit(
        model,
        student,
        train.batches(recipe.training.batch_size, seed=recipe.seed),
        splits.validation,
        learning_rate=own.learning_rate,
        max_epochs=recipe.training.max_epochs,
        patience=recipe.training.patience,
        k=recipe.evaluation.k,
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
