"""Stages 2 and 4: train the teacher, the twin and the student, each with the same care."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.data.splits import Queries, Splits
from tfrs_distill.data.windows import Windows
from tfrs_distill.distiller import Distiller
from tfrs_distill.evaluation import ValidationNDCG
from tfrs_distill.losses import SoftTargetKLDivergence
from tfrs_distill.progress import Advance, Progress
from tfrs_distill.recipe import Recipe
from tfrs_distill.students import RetrievalStudent
from tfrs_distill.teacher_cache import CachedTeacher
from tfrs_distill.teachers import BertTwoTower, TextEncoder, finetune
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


def new_teacher(recipe: Recipe, text_vectors: np.ndarray, seed: int) -> BertTwoTower:
    """An untrained teacher that reads these text vectors."""
    return BertTwoTower(
        text_vectors,
        max_history=recipe.data.max_history,
        embedding_dim=recipe.teacher.embedding_dim,
        num_blocks=recipe.teacher.num_blocks,
        num_heads=recipe.teacher.num_heads,
        dropout=recipe.teacher.dropout,
        seed=seed,
    )


def train_teacher(
    recipe: Recipe, splits: Splits, encoder_folder: str, folder: Path, progress: Progress
) -> tuple[dict[str, Any], str]:
    """Read every item's text through the BERT, then train the towers on top until they are best."""
    encoder = TextEncoder(encoder_folder)
    texts = splits.catalogue.texts
    with progress.bar("item texts", len(texts)) as advance:
        vectors = encoder.encode(texts, advance=advance)
    teacher = new_teacher(recipe, vectors, recipe.seed)
    if recipe.teacher.finetune_layers:
        teacher = _finetuned(recipe, teacher, encoder, splits, progress)
    curves = _fit_teacher(recipe, teacher, splits, progress)
    save(teacher, folder / "teacher.keras")
    best = max(curves[f"validation_ndcg@{recipe.evaluation.k}"])
    result = {
        "curves": curves,
        "encoder_parameters": encoder.num_parameters,
        "encoder_bytes": encoder.num_bytes,
        "encoder_fingerprint": encoder.fingerprint(),
    }
    line = (
        f"BERT of {encoder.num_parameters / 1e6:.1f} M parameters, validation "
        f"NDCG@{recipe.evaluation.k} {best:.4f} at epoch {curves['best_epoch']}"
    )
    return result, line


def _fit_teacher(
    recipe: Recipe, teacher: BertTwoTower, splits: Splits, progress: Progress
) -> dict[str, Any]:
    return fit(
        teacher,
        teacher,
        splits.train.batches(recipe.teacher.batch_size, seed=recipe.seed),
        splits.validation,
        learning_rate=recipe.teacher.learning_rate,
        max_epochs=recipe.teacher.max_epochs,
        patience=recipe.teacher.patience,
        k=recipe.evaluation.k,
        progress=progress,
        description="teacher",
    )


def _finetuned(
    recipe: Recipe,
    teacher: BertTwoTower,
    encoder: TextEncoder,
    splits: Splits,
    progress: Progress,
) -> BertTwoTower:
    """A fresh teacher that reads the vectors of a BERT whose top layers were trained."""
    _fit_teacher(recipe, teacher, splits, progress)
    with progress.bar("BERT steps", recipe.teacher.finetune_steps) as advance:
        finetune(
            teacher,
            encoder,
            splits.train,
            num_layers=recipe.teacher.finetune_layers,
            num_steps=recipe.teacher.finetune_steps,
            seed=recipe.seed,
            advance=advance,
        )
    return new_teacher(recipe, teacher.candidate_tower.item_text_vectors(), recipe.seed)


def train_fold_teacher(
    recipe: Recipe, text_vectors: np.ndarray, windows: Windows, fold: int, epochs: int
) -> BertTwoTower:
    """A fold's teacher: the same, on fewer users, for as many epochs as the whole one needed."""
    seed = recipe.seed + 1000 * (fold + 1)
    teacher = new_teacher(recipe, text_vectors, seed)
    teacher.compile(optimizer=tf.keras.optimizers.Adam(recipe.teacher.learning_rate))
    batches = windows.batches(recipe.teacher.batch_size, seed=seed)
    teacher.fit(batches, epochs=epochs, verbose=0)
    return teacher


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
        train = knowledge.join(train, form=recipe.knowledge.form)
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
