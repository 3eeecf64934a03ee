"""Train any model of a run, until validation no longer gets better or for some epochs; save it.

What is trained here ends with averaged weights, see `AveragedWeights`.
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

AVERAGED = 0.999  # of the average that a step keeps, at most


class ValidationCallback(Protocol):
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


class AveragedWeights(tf.keras.callbacks.Callback):
    """Judges and keeps the moving average of a model's weights in place of its last ones.

    After step n `average = d average + (1 - d) weights` with `d = min(AVERAGED, (1 + n) / (10 +
    n))`: about a mean over the last ninth of the steps, so that few steps are no hindrance.
    Training goes on from the weights themselves. One step's chance no longer decides which epoch
    is best.

    Reference: [Polyak and Juditsky, 1992](https://doi.org/10.1137/0330046).

    Args:
        callbacks: see the averaged weights at the end of an epoch.
    """

    def __init__(self, callbacks: Sequence[tf.keras.callbacks.Callback] = ()) -> None:
        super().__init__()
        self.callbacks = list(callbacks)

    def set_model(self, model: tf.keras.Model) -> None:
        """Take the model that is fitted, and give it to the callbacks."""
        super().set_model(model)
        for callback in self.callbacks:
            callback.set_model(model)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begin from the weights of now."""
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
        """Take the step's weights in."""
        self.update()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Tell the callbacks."""
        for callback in self.callbacks:
            callback.on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Show the callbacks the averaged weights."""
        weights = [weight.numpy() for weight in self.model.trainable_variables]
        self._assign_averages()
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, logs)
        for variable, weight in zip(self.model.trainable_variables, weights):
            variable.assign(weight)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Leave the average, or what a callback kept of an earlier epoch."""
        self._assign_averages()
        for callback in self.callbacks:
            callback.on_train_end(logs)

    def _assign_averages(self) -> None:
        for variable in self.model.trainable_variables:
            variable.assign(self.average.average(variable))


class ShowEpochs(tf.keras.callbacks.Callback):
    """Moves a progress bar at every epoch, and tells its score to whoever wants to know."""

    def __init__(
        self,
        advance: Advance,
        monitor: str,
        after_epoch: Callable[[int, float], None] | None,
    ) -> None:
        super().__init__()
        self.advance, self.monitor, self.after_epoch = advance, monitor, after_epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Say the epoch and its validation score."""
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
    """Fit `model` until `validation` no longer finds it better, and keep its best epoch.

    Returns:
        `loss` and the validation score by epoch, and `best_epoch`, counted from 1. The score is
        called as in the logs, with "validation" for "val".
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
    """Fit `model` for as many epochs as another one needed."""
    model.compile(optimizer=adam(learning_rate, weight_decay))
    model.fit(batches, epochs=epochs, verbose=0, callbacks=[AveragedWeights()])


def adam(learning_rate: float, weight_decay: float = 0.0) -> tf.keras.optimizers.Optimizer:
    """Adam, with decoupled weight decay where it is not 0.

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
