"""Train any model of a run until validation no longer gets better, and save it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfrs_distill.progress import Advance, Progress


class Judge(Protocol):
    """A Keras callback that adds a score to the logs after every epoch; more is better."""

    log_name: str  # under which it does, such as "val_ndcg@10"


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
        """Say the epoch and its validation score."""
        value = (logs or {}).get(self.monitor, float("nan"))
        self.advance(note=f"epoch {epoch + 1}  {self.monitor} {value:.4f}")


def fit_until_best(
    model: tf.keras.Model,
    batches: tf.data.Dataset,
    judge: Judge,
    *,
    learning_rate: float,
    max_epochs: int,
    patience: int,
    progress: Progress,
    description: str,
    weight_decay: float = 0.0,
) -> dict[str, Any]:
    """Fit `model` until `judge` no longer finds it better, and keep its best epoch.

    Returns:
        `loss` and the validation score by epoch, and `best_epoch`, counted from 1. The score is
        called as in the logs, with "validation" for "val".
    """
    model.compile(optimizer=adam(learning_rate, weight_decay))
    score = judge.log_name
    with progress.bar(description, max_epochs) as advance:
        callbacks = [judge, BestEpoch(score, patience), ShowEpochs(advance, score)]
        history = model.fit(batches, epochs=max_epochs, verbose=0, callbacks=callbacks).history
    loss = history["total_loss" if "total_loss" in history else "loss"]
    return {
        "loss": [float(value) for value in loss],
        score.replace("val_", "validation_", 1): [float(value) for value in history[score]],
        "best_epoch": int(np.argmax(history[score])) + 1,
    }


def adam(learning_rate: float, weight_decay: float = 0.0) -> tf.keras.optimizers.Optimizer:
    """Adam, with decoupled weight decay where it is not 0.

    Reference: [Loshchilov and Hutter, 2019](https://arxiv.org/abs/1711.05101).
    """
    return tf.keras.optimizers.Adam(learning_rate, weight_decay=weight_decay or None)


def save_alone(model: tf.keras.Model, path: Path) -> None:
    """Write a model without its optimizer, whole or not at all: serving needs only its weights."""
    alone = model.from_config(model.get_config())
    alone.set_weights(model.get_weights())
    partial = path.with_name(f".partial-{path.name}")
    alone.save(partial)
    os.replace(partial, path)
