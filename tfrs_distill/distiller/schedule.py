"""A callback that changes a loss weight or a temperature of a distiller during training."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from tfrs_distill.distiller.teacher_outputs import check_tail

CURVES = ("constant", "linear", "cosine", "exponential")
TARGETS = ("student_loss_weight", "distillation_loss_weight", "temperature")


class Schedule(tf.keras.callbacks.Callback):
    """Change a temperature or a loss weight from `start` to `end` over optimizer steps.

    With `p = min(step / num_steps, 1)`:
    `constant: start`; `linear: start + p (end - start)`;
    `cosine: end + (start - end) (1 + cos(pi p)) / 2`; `exponential: start (end / start)**p`.

    The step is the optimizer's own count, so the schedule continues in a model that was loaded or
    restored. The value is logged at the end of each epoch.

    Args:
        target: `"student_loss_weight"`, `"distillation_loss_weight"` or `"temperature"`.
        start: the value before the first step.
        end: the value from step `num_steps` on; not for `"constant"`.
        num_steps: optimizer steps from `start` to `end`; not for `"constant"`.
        curve: `"constant"`, `"linear"`, `"cosine"` or `"exponential"`.
        loss: name of the distillation loss; None if there is only one. For `"student_loss_weight"`:
            name of the task; None for all tasks.

    Raises:
        ValueError: the target or the curve is not one of these, or the target cannot have the
            values.

    Example:
    >>> schedule = Schedule("temperature", 4.0, 1.0, num_steps=100, curve="linear")
    >>> schedule.value(50)
    2.5
    """

    def __init__(
        self,
        target: str,
        start: float,
        end: float | None = None,
        num_steps: int | None = None,
        *,
        curve: str = "linear",
        loss: str | None = None,
    ) -> None:
        super().__init__()
        if target not in TARGETS:
            raise ValueError(f"`target` must be one of {TARGETS}. Received: target={target!r}.")
        if curve not in CURVES:
            raise ValueError(f"`curve` must be one of {CURVES}. Received: curve={curve!r}.")
        if curve == "constant":
            end, num_steps = start, 1
        if end is None or num_steps is None or num_steps < 1:
            raise ValueError(
                f"A {curve} schedule needs `end` and `num_steps` >= 1. Received: end={end!r}, "
                f"num_steps={num_steps!r}."
            )
        low, high = (0.0, 1.0) if target == "student_loss_weight" else (0.0, math.inf)
        above = target == "temperature" or curve == "exponential"
        for value in (start, end):
            if not (low < value if above else low <= value) or not value <= high:
                bound = "above" if above else "at least"
                most = " and at most 1" if high == 1 else ""
                raise ValueError(
                    f"A {curve} schedule of {target} needs values {bound} 0{most}. Received: "
                    f"start={start!r}, end={end!r}."
                )
        if not (math.isfinite(start) and math.isfinite(end)):
            raise ValueError(f"Values must be finite. Received: start={start!r}, end={end!r}.")
        self.target, self.loss, self.curve = target, loss, curve
        self.start, self.end, self.num_steps = float(start), float(end), num_steps

    def value(self, step: int) -> float:
        """Return the value at an optimizer step."""
        p = min(step / self.num_steps, 1.0)
        if self.curve == "cosine":
            return self.end + (self.start - self.end) * (1.0 + math.cos(math.pi * p)) / 2.0
        if self.curve == "exponential":
            return self.start * (self.end / self.start) ** p
        return self.start + p * (self.end - self.start)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Find the variable and check the schedule's values against the data."""
        self.variables = self._find()
        self._check_data()
        self._assign()

    def _check_data(self) -> None:
        weighs = self.target == "student_loss_weight" and max(self.start, self.end) > 0
        if weighs and not self.model.has_labels(self.loss):
            raise ValueError(
                "The batches have no labels, so `student_loss_weight` must stay 0. Received: a "
                f"schedule from {self.start:g} to {self.end:g}."
            )
        if self.target == "temperature" and self.model.untracked.tails is not None:
            for value in (self.start, self.end):
                check_tail(self.name, value, self.model.untracked.tails)
            if self.start != self.end:
                raise ValueError(
                    "A top-K cache has tails at fixed temperatures, so a schedule cannot change "
                    "the temperature. Join the cache with `form='embeddings'`."
                )

    def _find(self) -> list[tf.Variable]:
        if self.target == "student_loss_weight":
            self.name = self.loss or self.target
            return self.model.student_loss_weights_of(self.loss)
        weights, temperatures = self.model.distillation_loss_weights, self.model.temperatures
        among = weights if self.target == "distillation_loss_weight" else temperatures
        name = self.loss if self.loss is not None or len(among) != 1 else next(iter(among))
        if name not in among:
            raise ValueError(
                f"`loss` must name the distillation loss whose {self.target} is meant, one of "
                f"{sorted(among)}. Received: loss={self.loss!r}."
            )
        self.name = str(name)
        return [among[name]]

    def _assign(self) -> None:
        for variable in self.variables:
            variable.assign(self.value(int(self.model.optimizer.iterations)))

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the value for the next step or steps."""
        self._check_data()  # without an element spec, possible from the second step
        self._assign()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Log the value."""
        if logs is not None:
            short = self.name == self.target
            logs[self.target if short else f"{self.name}_{self.target}"] = float(self.variables[0])
