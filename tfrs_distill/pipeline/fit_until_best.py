"""Train a model of a run until validation stops improving, or for some epochs; save it.

Training ends with averaged weights, see `AveragedWeights`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfrs_distill.models.ordered_weights import copy_weights
from tfrs_distill.progress import Advance, Progress

AVERAGED = 0.999  # largest decay of the moving average


class ValidationCallback(Protocol):
    """A Keras callback that adds a score to the logs after every epoch; more is better."""

    log_name: str  # its key in the logs, such as "val_ndcg@10"


class BestEpoch(tf.keras.callbacks.EarlyStopping):
    """Stops after `patience` epochs without a rise of the monitored value; restores the best.

    Keras' own `EarlyStopping` keeps the last weights if the epochs run out first.
    """

    def __init__(self, monitor: str, patience: int) -> None:
        super().__init__(monitor, patience=patience, mode="max", restore_best_weights=True)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Restore the best epoch's weights."""
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)


class AveragedWeights(tf.keras.callbacks.Callback):
    """Evaluates and keeps the moving average of a model's weights instead of its last ones.

    After step n `average = d average + (1 - d) weights` with `d = min(AVERAGED, (1 + n) / (10 +
    n))`: about a mean over the last ninth of the steps, so it also works after few steps.
    Training continues from the weights themselves. The choice of the best epoch depends less on the
    noise of single steps.

    Reference: [Polyak and Juditsky, 1992](https://doi.org/10.1137/0330046).

    Args:
        callbacks: they see the averaged weights at the end of an epoch.
    """

    def __init__(self, callbacks: Sequence[tf.keras.callbacks.Callback] = ()) -> None:
        super().__init__()
        self.callbacks = list(callbacks)

    def set_model(self, model: tf.keras.Model) -> None:
        """Set the fitted model, also of the callbacks."""
        super().set_model(model)
        for callback in self.callbacks:
            callback.set_model(model)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start from the current weights."""
        self.num_steps = tf.Variable(0.0)
        average = tf.train.ExponentialMovingAverage(AVERAGED, num_updates=self.num_steps)
        weights = self.model.trainable_variables

        @tf.function
        def update() -> None:
            average.apply(weights)
            self.num_steps.assign_add(1.0)

        update()
        self.update, self.average = update, average
        for callback in self.callbacks:
            callback.on_train_begin(logs)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Update the average with the step's weights."""
        self.update()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Call the callbacks."""
        for callback in self.callbacks:
            callback.on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Call the callbacks with the averaged weights."""
        weights = [weight.numpy() for weight in self.model.trainable_variables]
        self._assign_averages()
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, logs)
        for variable, weight in zip(self.model.trainable_variables, weights):
            variable.assign(weight)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Keep the average, or the weights that a callback restores from an earlier epoch."""
        self._assign_averages()
        for callback in self.callbacks:
            callback.on_train_end(logs)

    def _assign_averages(self) -> None:
        for variable in self.model.trainable_variables:
            variable.assign(self.average.average(variable))


class ShowEpochs(tf.keras.callbacks.Callback):
    """Advances a progress bar at every epoch, and passes its score to a callback."""

    def __init__(
        self,
        advance: Advance,
        monitor: str,
        after_epoch: Callable[[int, float], None] | None,
    ) -> None:
        super().__init__()
        self.advance, self.monitor, self.after_epoch = advance, monitor, after_epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Report the epoch and its validation score."""
        value = (logs or {}).get(self.monitor, float("nan"))
        self.advance(note=f"epoch {epoch + 1}  {self.monitor} {value:.4f}")
        if self.after_epoch is not None:
            self.after_epoch(epoch + 1, value)


def fit_until_best(
    model: tf.keras.Model,
    batches: tf.data.Dataset,
    validation: ValidationCallback,
    *,
    learning_rate: float,
    max_epochs: int,
    patience: int,
    progress: Progress,
    description: str,
    weight_decay: float = 0.0,
    after_epoch: Callable[[int, float], None] | None = None,
) -> dict[str, Any]:
    """Fit `model` until `validation` stops improving, and keep its best epoch.

    Returns:
        `loss` and the validation score by epoch, and `best_epoch`, counted from 1. The score has
        its name in the logs, with "validation" for "val".
    """
    model.compile(optimizer=adam(learning_rate, weight_decay))
    score = validation.log_name
    with progress.bar(description, max_epochs) as advance:
        show = ShowEpochs(advance, score, after_epoch)
        averaged = AveragedWeights([validation, BestEpoch(score, patience), show])
        history = model.fit(batches, epochs=max_epochs, verbose=0, callbacks=[averaged]).history
    loss = history["total_loss" if "total_loss" in history else "loss"]
    return {
        "loss": [float(value) for value in loss],
        score.replace("val_", "validation_", 1): [float(value) for value in history[score]],
        "best_epoch": int(np.argmax(history[score])) + 1,
    }


def fit_for(
    model: tf.keras.Model,
    batches: tf.data.Dataset,
    *,
    learning_rate: float,
    epochs: int,
    weight_decay: float = 0.0,
) -> None:
    """Fit `model` for as many epochs as another model needed."""
    model.compile(optimizer=adam(learning_rate, weight_decay))
    model.fit(batches, epochs=epochs, verbose=0, callbacks=[AveragedWeights()])


def adam(learning_rate: float, weight_decay: float = 0.0) -> tf.keras.optimizers.Optimizer:
    """Return Adam, with decoupled weight decay if it is not 0.

    Reference: [Loshchilov and Hutter, 2019](https://arxiv.org/abs/1711.05101).
    """
    return tf.keras.optimizers.Adam(learning_rate, weight_decay=weight_decay or None)


def save_alone(model: tf.keras.Model, path: Path) -> None:
    """Write a model without its optimizer, atomically: serving needs only its weights."""
    alone = model.from_config(model.get_config())
    copy_weights(model, alone)
    partial = path.with_name(f".partial-{path.name}")
    alone.save(partial)
    os.replace(partial, path)
