"""The base class of the tasks of a ranking model."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_distill.errors import InputError
from tfrs_distill.losses import (
    LogitMeanSquaredError,
    SoftTargetBinaryCrossEntropy,
    SoftTargetKLDivergence,
)
from tfrs_distill.losses.categorical_cross_entropy import checked_label_smoothing
from tfrs_distill.models.seeded import seeded
from tfrs_distill.models.tasks.task_metrics import MeanAbsoluteError, RootMeanSquaredError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class RankingTask:
    """A task: the labels that a row may have, the logits that predict them, and their loss.

    A model runs it as a `tfrs.tasks.Ranking` (`as_tfrs`) whose loss reads logits and returns one
    value per row. By default, `tfrs.tasks.Ranking()` reads logits as probabilities: its
    `BinaryCrossentropy()` clips them to 0 and 1, so that logits of +3 and -3 for labels 1 and 0
    have loss 0 instead of 0.049, and wrong predictions have no gradient.

    Args:
        name: name of the task; its labels are in the column `columns.label(name)`.
        width: number of logits per row.
        label_smoothing: s, for classes: the loss uses the labels
            `(1 - s) * labels + s / num_classes`, as in Keras' cross-entropies.

    Raises:
        ValueError: the name is not made of letters, digits and `_.-`, or `label_smoothing` is not
            at least 0 and below 1.
    """

    # How logits become predictions: "linear", each logit is a value; "sigmoid", each is the
    # log-odds of class 1; "softmax", they are log-probabilities of classes. It decides the loss of
    # distillation, how logits are averaged, and how another model's probabilities become logits.
    activation = "linear"
    leading_metric = "rmse"  # the metric by which models of the task are compared
    valid_label = 0.0  # replaces a missing label, in a row of weight 0
    initial_bias = 0.0  # of the head

    def __init__(self, name: str, width: int, label_smoothing: float = 0.0) -> None:
        if not NAME.fullmatch(name):
            raise ValueError(
                "A task's name must be of letters, digits and `_.-`, a letter or digit first. "
                f"Received: {name!r}."
            )
        self.name, self.width = name, width
        self.label_smoothing = checked_label_smoothing(label_smoothing)

    @property
    def num_classes(self) -> int | None:
        """Number of classes whose probabilities sum to 1; None if there are no classes."""
        return self.width if self.activation == "softmax" else None

    def distillation_loss(self, temperature: float) -> tf.keras.losses.Loss:
        """The loss between a student's and its teacher's logits of the task.

        Args:
            temperature: temperature of the probabilities; ignored if logits are values.
        """
        if self.activation == "linear":
            return LogitMeanSquaredError()
        if self.activation == "sigmoid":
            return SoftTargetBinaryCrossEntropy(temperature=temperature)
        return SoftTargetKLDivergence(temperature=temperature)

    @property
    def label_range(self) -> str:
        """The valid labels, in words."""
        raise NotImplementedError

    def keras_loss(self) -> tf.keras.losses.Loss:
        """The loss of (targets, logits), computed from logits and not reduced."""
        raise NotImplementedError

    def targets(self, labels: tf.Tensor) -> tf.Tensor:
        """Labels [num_rows] as the Keras loss takes them, [num_rows, 1] by default."""
        return tf.cast(labels, tf.float32)[:, None]

    def predict(self, logits: tf.Tensor) -> tf.Tensor:
        """Predict labels, in their unit: [num_rows, width] to float [num_rows]."""
        raise NotImplementedError

    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """New Keras metrics of (labels, logits): by default the errors of the predictions."""
        return [RootMeanSquaredError(self), MeanAbsoluteError(self)]

    def are_labels(self, labels: Any) -> Any:
        """Return which labels are valid: bools, for a float32 NumPy array or tensor."""
        raise NotImplementedError

    def have_labels(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Return which rows have a label for training: bool [num_rows].

        Args:
            labels: float32 [num_rows], NaN for a missing label.
            logits: float32 [num_rows, width].
        """
        return ~tf.math.is_nan(labels)

    def head(self, seed: int | None, dtype: Any) -> tf.keras.layers.Layer:
        """The layer that computes the logits, from hidden units to [num_rows, width]."""
        return tf.keras.layers.Dense(
            self.width,
            kernel_initializer=seeded("glorot_uniform", seed, 0),
            bias_initializer=tf.keras.initializers.Constant(self.initial_bias),
            dtype=dtype,
            name=self.name,
        )

    def loss(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """One value per row, float32 [num_rows].

        Args:
            labels: [num_rows], none missing.
            logits: [num_rows, width].
        """
        return self.keras_loss()(self.targets(labels), tf.cast(logits, tf.float32))

    def as_tfrs(self) -> tfrs.tasks.Ranking:
        """The task for TensorFlow Recommenders, which reads labels [num_rows] and logits."""
        return tfrs.tasks.Ranking(
            loss=_LossOfTask(self), metrics=self.metrics(), name=f"{self.name}_task"
        )

    def check(self, labels: np.ndarray) -> None:
        """Require that the labels of a whole data set are valid.

        Args:
            labels: float [num_rows], NaN for a missing label; compared as float32, as models read
                them.

        Raises:
            InputError: there is no label at all, or one is invalid.
        """
        labels = np.asarray(labels, np.float64)
        if labels.ndim != 1:
            raise InputError(
                f"Task {self.name!r} needs one label per row, [num_rows]. Received: shape "
                f"{labels.shape}."
            )
        given = ~np.isnan(labels)
        if not given.any():
            raise InputError(
                f"Task {self.name!r} has no labels: all {len(labels)} rows are NaN. Remove the "
                "task, or check how its labels were read."
            )
        with np.errstate(over="ignore"):  # a too large number becomes infinite: an invalid label
            wrong = given & ~self.are_labels(labels.astype(np.float32))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(
                f"Labels of task {self.name!r} must be {self.label_range}, or NaN for none. "
                f"Received: {labels[row]:g} in row {row}"
                + (f", and {int(wrong.sum()) - 1} more." if wrong.sum() > 1 else ".")
            )

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal task."""
        if self.activation == "linear":
            return {"name": self.name}
        return {"name": self.name, "label_smoothing": self.label_smoothing}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> RankingTask:
        """Build a task from these arguments."""
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.get_config() == self.get_config()

    def __hash__(self) -> int:
        return hash((type(self), self.name))


class _LossOfTask(tf.keras.losses.Loss):
    """A task's loss as a Keras loss of labels and logits."""

    def __init__(self, task: RankingTask) -> None:
        super().__init__(reduction=tf.keras.losses.Reduction.NONE, name=task.name)
        self.task = task

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """One value per row."""
        return self.task.loss(y_true, y_pred)
