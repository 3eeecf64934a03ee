"""A student of several ranking tasks: its losses, predictions and metrics by task."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.errors import InputError
from tfrs_distill.models.hidden_representations import recorded
from tfrs_distill.models.replicas import sum_over_replicas
from tfrs_distill.models.step import Term
from tfrs_distill.models.student import Batch, StudentModel
from tfrs_distill.models.student_outputs import StudentOutputs
from tfrs_distill.models.task_balance import FixedWeights, TaskBalance
from tfrs_distill.models.tasks import NextItem, RankingTask


class MultiTaskModel(StudentModel):
    """A `tfrs.Model` with ranking tasks, trained with or without a teacher (a `Distiller`).

    A subclass defines its logits (`call`), the columns that it reads (`input_columns`) and the
    weights that its tasks share (`shared_variables`).

    Args:
        tasks: tasks with different names.
        task_balance: how the tasks' losses are combined; `FixedWeights()` by default.

    Raises:
        ValueError: there is no task, or two have the same name.
    """

    takes_metrics = False  # every task has its own metrics

    def __init__(
        self, tasks: Sequence[RankingTask], task_balance: TaskBalance | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        names = [task.name for task in tasks]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"`tasks` must have different names, at least one. Received: {names}.")
        self.tasks: dict[str, RankingTask] = {task.name: task for task in tasks}
        self.task_balance = task_balance or FixedWeights()
        self.task_balance.prepare(names)
        self.tfrs_tasks = {task.name: task.as_tfrs() for task in tasks}
        self.task_loss_means = {name: tf.keras.metrics.Mean(name=f"{name}_loss") for name in names}

    @property
    def input_columns(self) -> tuple[str, ...]:
        """The batch's columns that the model reads."""
        raise NotImplementedError

    @property
    def shared_variables(self) -> list[tf.Variable]:
        """The last weights that all tasks share; the task balance uses their gradients."""
        raise NotImplementedError

    def compile(self, optimizer: Any = "rmsprop", **kwargs: Any) -> None:
        """Keras' `compile`, with an optimizer only.

        Raises:
            ValueError: a loss or metrics are given.
        """
        for argument in ("loss", "metrics", "loss_weights", "weighted_metrics"):
            if kwargs.get(argument) is not None:
                raise ValueError(
                    f"`compile` takes no {argument}: every task has its loss and metrics, "
                    "and `task_balance` weighs them. Received: "
                    f"{argument}={kwargs[argument]!r}."
                )
        super().compile(optimizer=optimizer, **kwargs)

    def labels(self, task: RankingTask, batch: Batch) -> tf.Tensor:
        """The rows' labels, float32 [num_rows], NaN for a missing label.

        Raises:
            ValueError: the batch has no such column.
        """
        name = self.label_column(task.name)
        if name not in batch:
            raise ValueError(
                f"Task {task.name!r} has no labels: the batch has no column {name!r}. It has: "
                f"{sorted(batch)}."
            )
        return tf.reshape(tf.cast(batch[name], tf.float32), [-1])

    @property
    def task_names(self) -> tuple[str, ...]:
        """The names of its tasks, in order."""
        return tuple(self.tasks)

    @property
    def needs_task_gradients(self) -> bool:
        """Whether the task balance needs a separate gradient for each task."""
        return self.task_balance.needs_gradients

    def hard_losses(
        self, batch: Batch, outputs: StudentOutputs, tasks: Sequence[str]
    ) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
        """The loss and weight of each row by task: (float32 [num_rows], float32 [num_rows]).

        A row's weight is its `columns.SAMPLE_WEIGHT`, or 1. A row without a label for the task has
        weight 0; its loss is that of an arbitrary valid label and has no influence. The loss of an
        invalid label is NaN.

        Raises:
            ValueError: the batch has no labels of a task.
        """
        losses = {}
        for name in tasks:
            labels, weights = self._labels_and_weights(name, batch, outputs)
            logits = outputs.heads[name].logits
            values = self.tfrs_tasks[name](labels, logits, compute_metrics=False)
            values = tf.where(self.tasks[name].are_labels(labels), values, float("nan"))
            losses[name] = (values, weights)
        return losses

    def reads_logits(self, task: str) -> bool:
        """Whether the task's loss is computed from logits, not from values."""
        return bool(self.tasks[task].keras_loss().get_config().get("from_logits"))

    def rows_are_lists(self, task: str) -> bool:
        """Whether a row's logits are those of a list of candidates: the catalogue."""
        return isinstance(self.tasks[task], NextItem)

    def row_scores(self, task: str, logits: tf.Tensor) -> tf.Tensor:
        """The score that ranks a query's rows, float32 [num_rows].

        It is the logit, or the prediction if the task has several logits per row.
        """
        return logits[:, 0] if self.tasks[task].width == 1 else self.tasks[task].predict(logits)

    def combine(
        self, losses: Mapping[str, tf.Tensor], tape: tf.GradientTape | None = None
    ) -> tf.Tensor:
        """Combine the tasks' losses into the one that is minimised."""
        return self.task_balance.combine(losses, tape, self.shared_variables)

    def check_batch_labels(self, batch: Batch, outputs: StudentOutputs) -> None:
        """Require that the labels of an eager batch are valid for their tasks.

        Raises:
            InputError: a label is invalid.
        """
        for name, task in self.tasks.items():
            if self.label_column(name) not in batch:
                continue  # the step raises an error if it needs them
            labels, weights = self._labels_and_weights(name, batch, outputs)
            wrong = np.flatnonzero((weights > 0.0) & ~task.are_labels(labels))
            if len(wrong):
                raise InputError(
                    f"Labels of task {name!r} must be {task.label_range}, or NaN for none. "
                    f"Received: {float(labels[wrong[0]]):g} in row {wrong[0]} of the batch."
                )

    def label_column(self, task: str) -> str:
        """The batch's column with the task's labels."""
        of_item = isinstance(self.tasks[task], NextItem)
        return columns.ITEM_ID if of_item else columns.label(task)

    def _labels_and_weights(
        self, name: str, batch: Batch, outputs: StudentOutputs
    ) -> tuple[tf.Tensor, tf.Tensor]:
        task = self.tasks[name]
        labels = self.labels(task, batch)
        counts = task.have_labels(labels, outputs.heads[name].logits)
        weights = tf.cast(counts, tf.float32)
        sample_weights = self.row_weights(batch)
        if sample_weights is not None:
            weights *= sample_weights
        return tf.where(counts, labels, task.valid_label), weights

    def predictions(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Compute the rows' predictions, in each task's unit: float32 [num_rows] by task.

        For `Binary` it is a probability, for a rating its expected value, for `NextItem` the
        probability of the row's item.
        """
        return self.predictions_of(self(batch, training=False), batch)

    def predictions_of(self, outputs: StudentOutputs, batch: Batch) -> dict[str, tf.Tensor]:
        """Compute the predictions from a forward pass."""
        return {
            name: task.probability(outputs.heads[name].logits, batch[columns.ITEM_ID])
            if isinstance(task, NextItem)
            else task.predict(outputs.heads[name].logits)
            for name, task in self.tasks.items()
        }

    def logits(self, batch: Batch, candidate_ids: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        """Compute the logits as a teacher: float32 [num_rows, width] by task."""
        return {name: head.logits for name, head in self(batch, training=False).heads.items()}

    def hidden_representations(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Compute, as a teacher, the layers' outputs by path and those that the model names."""
        with recorded(self) as hidden:
            outputs = self(batch, training=False)
        return hidden | outputs.hidden_representations

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """All metrics that are logged and reset: the losses and the tasks' metrics."""
        return [self.loss_mean, *self.task_loss_means.values(), *self.evaluation_metrics]

    @property
    def evaluation_metrics(self) -> list[tf.keras.metrics.Metric]:
        """The metrics of all tasks."""
        return [metric for task in self.tfrs_tasks.values() for metric in task.metrics]

    def update_evaluation_metrics(self, batch: Batch, outputs: StudentOutputs) -> None:
        """Update the tasks' metrics with labels and logits."""
        for name in self.tasks:
            if self.label_column(name) in batch:
                labels, weights = self._labels_and_weights(name, batch, outputs)
                self.tfrs_tasks[name](labels, outputs.heads[name].logits, sample_weight=weights)

    def update_metrics(
        self,
        batch: Batch,
        outputs: StudentOutputs,
        terms: Mapping[str, Term],
        total: tf.Tensor,
        training: bool,
    ) -> None:
        """Update all metrics with a batch."""
        for name, term in terms.items():
            term.update(self.task_loss_means[name])
        rows = tf.cast(outputs.num_rows, tf.float32)
        Term(total, sum_over_replicas(rows)).update(self.loss_mean)
        self.update_evaluation_metrics(batch, outputs)

    @property
    def prediction_weights(self) -> list[tf.Variable]:
        """The weights used by the predictions, trained and constant, without metrics or balance."""
        others = [*self.metrics, self.task_balance]
        apart = {id(variable) for other in others for variable in other.variables}
        return [weight for weight in self.weights if id(weight) not in apart]

    @property
    def num_parameters(self) -> int:
        """Number of parameters used by the predictions."""
        return int(sum(np.prod(weight.shape) for weight in self.prediction_weights))

    def fingerprint(self) -> str:
        """Return the sha256 of the configuration and every weight used by the predictions."""
        digest = hashlib.sha256(json.dumps(self.get_config(), sort_keys=True).encode())
        for weight in self.prediction_weights:
            digest.update(str((weight.shape, weight.dtype)).encode() + weight.numpy().tobytes())
        return digest.hexdigest()
