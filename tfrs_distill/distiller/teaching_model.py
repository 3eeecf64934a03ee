"""What every model has in common that trains a student with a teacher's help."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any, NamedTuple

import tensorflow as tf

from tfrs_distill.models.plain_errors import plain_errors


class Guests(SimpleNamespace):
    """Holds what Keras must not look at: it is not tracked, trained, counted or saved."""


class BalanceGroup(NamedTuple):
    """Distillation losses whose weights a balance sets against student losses.

    Args:
        student_losses: the names of the terms whose sum is the reference.
        losses: the names of the distillation losses.
        labels: the batch's column without which there is no reference.
    """

    student_losses: tuple[str, ...]
    losses: tuple[str, ...]
    labels: str


class TeachingModel(tf.keras.Model):
    """Trains a student in place; teachers are guests that Keras does not see.

    A subclass sets `student`, `guests`, `distillation_losses`, `distillation_loss_weights`,
    `temperatures` and `built`, and says what a step is.
    """

    never_saved: tuple[str, ...] = ()  # attributes that hold teachers
    own_loss = "cross-entropy"  # what the student learns from labels by

    def __init__(self, name: str) -> None:
        # Towers cast what they read; columns such as sampling probabilities keep their precision.
        super().__init__(name=name, autocast=False)

    def __dir__(self) -> list[str]:
        """All names but the teachers': Keras saves every Keras object that it finds here."""
        return [name for name in super().__dir__() if name not in self.never_saved]

    @property
    def balance_groups(self) -> list[BalanceGroup]:
        """Which distillation losses are balanced against which student losses."""
        raise NotImplementedError

    def student_loss_weights_of(self, loss: str | None) -> list[tf.Variable]:
        """The variables that a schedule of the student loss' weight moves.

        Args:
            loss: what the schedule names.
        """
        raise NotImplementedError

    def has_labels(self, loss: str | None) -> bool:
        """Whether the batches so far had the labels of what the schedule names."""
        raise NotImplementedError

    def hold_losses(self, losses: dict[str, Any], weights: dict[str, float]) -> None:
        """Keep the distillation losses by name, with their weights and temperatures as variables.

        `guests` must be there.

        Args:
            losses: the caller's own; a layer is kept, a loss is copied before its temperature
                becomes a variable of ours.
            weights: one a loss.
        """
        self.distillation_losses = {
            name: copy.copy(loss) if isinstance(loss, tf.keras.losses.Loss) else loss
            for name, loss in losses.items()
        }
        self.distillation_loss_weights = {
            name: number(weight, f"{name}_weight") for name, weight in weights.items()
        }
        self.temperatures = {  # whole before it is assigned, or Keras would not save what is in it
            name: number(loss.temperature, f"{name}_temperature")
            for name, loss in self.distillation_losses.items()
            if hasattr(loss, "temperature")
        }
        for name, temperature in self.temperatures.items():
            self.distillation_losses[name].temperature = temperature
        # Written to files. They stay, for Keras takes two objects of one address for one object.
        self.guests.saved_losses = {name: copy.copy(losses[name]) for name in self.temperatures}

    def saved_loss(self, name: str, loss: Any) -> dict[str, Any]:
        """A loss as it is written to a file, with its temperature of now."""
        if name in self.temperatures:
            loss = self.guests.saved_losses[name]
            loss.temperature = float(self.temperatures[name].numpy())
        return tf.keras.utils.serialize_keras_object(loss)

    def before_fit(self, data: Any) -> None:
        """What `fit` has to know before its first batch."""

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Keras' `fit`.

        Raises:
            ValueError: `compile` was given a loss, or the teacher cannot be learnt from.
        """
        if getattr(self, "loss", None):
            raise ValueError(
                f"`compile` takes no loss: the student brings its own {self.own_loss}, and the "
                f"distillation losses are the distiller's. Received: loss={self.loss!r}."
            )
        self.before_fit(args[0] if args else kwargs.get("x"))
        try:
            with plain_errors():
                return super().fit(*args, **kwargs)
        except Exception:
            self.train_function = None  # half traced: a corrected call starts afresh
            raise

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Keras' `evaluate`; a teacher that cannot be compared with raises a ValueError."""
        with plain_errors():
            return super().evaluate(*args, **kwargs)

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Keras' `train_on_batch`; a teacher that cannot be learnt from raises a ValueError."""
        with plain_errors():
            return super().train_on_batch(*args, **kwargs)

    def get_build_config(self) -> dict[str, Any]:
        """Student and distillation layers bring their own; Keras takes an empty dict for none."""
        return {"built": self.built}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Every weight exists once student and distillation layers are loaded, if they had any."""
        self.built = config["built"]


def number(value: float, name: str) -> tf.Variable:
    """A number of the step that callbacks may move."""
    return tf.Variable(value, trainable=False, dtype=tf.float32, name=name)
