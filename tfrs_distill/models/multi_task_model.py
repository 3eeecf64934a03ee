"""A `tfrs.Model` of several ranking tasks: its losses, its step, what it says of rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_distill import columns
from tfrs_distill.errors import InputError
from tfrs_distill.losses.weighted_mean import weighted_mean
from tfrs_distill.models.hidden_representations import recorded
from tfrs_distill.models.label_checks import require_labels
from tfrs_distill.models.plain_errors import plain_errors
from tfrs_distill.models.ranking_outputs import RankingOutputs
from tfrs_distill.models.replicas import mean_over_global_batch, num_replicas
from tfrs_distill.models.step import take_step
from tfrs_distill.models.task_balance import FixedWeights, TaskBalance, over_replicas
from tfrs_distill.models.tasks import NextItem, RankingTask


class MultiTaskModel(tfrs.Model):
    """What every ranking model shares, whatever it reads: tasks, losses, the step, the metrics.

    A subclass says what its logits are (`call`), which columns it reads (`input_columns`) and which
    weights its tasks share (`shared_variables`).

    Args:
        tasks: what it is asked; of different names.
        task_balance: how the tasks' losses are combined; `FixedWeights()` by default.

    Raises:
        ValueError: no task, or two of one name.
    """

    def __init__(
        self, tasks: Sequence[RankingTask], task_balance: TaskBalance | None = None, **kwargs: Any
    ) -> None:
        # Features cast what they read; numbers and ids keep their precision until then.
        super().__init__(autocast=False, **kwargs)
        names = [task.name for task in tasks]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"`tasks` must have different names, at least one. Received: {names}.")
        self.tasks: dict[str, RankingTask] = {task.name: task for task in tasks}
        self.task_balance = task_balance or FixedWeights()
        self.task_balance.prepare(names)
        self.tfrs_tasks = {task.name: task.as_tfrs() for task in tasks}
        self.loss_mean = tf.keras.metrics.Mean(name="loss")
        self.task_loss_means = {name: tf.keras.metrics.Mean(name=f"{name}_loss") for name in names}

    @property
    def input_columns(self) -> tuple[str, ...]:
        """The batch's columns that the model reads."""
        raise NotImplementedError

    @property
    def shared_variables(self) -> list[tf.Variable]:
        """Weights that all tasks share, nearest to their heads: what tasks are balanced on."""
        raise NotImplementedError

    def compile(self, optimizer: Any = "rmsprop", **kwargs: Any) -> None:
        """Keras' `compile`, of an optimizer.

        Raises:
            ValueError: a loss or metrics are given.
        """
        for argument in ("loss", "metrics", "loss_weights", "weighted_metrics"):
            if kwargs.get(argument) is not None:
                raise ValueError(
                    f"`compile` takes no {argument}: every task brings its own loss and metrics, "
                    "and `task_balance` weighs them. Received: "
                    f"{argument}={kwargs[argument]!r}."
                )
        super().compile(optimizer=optimizer, **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as it was saved, optimizer state included."""
        self.compile(**tf.keras.utils.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def labels(self, task: RankingTask, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The rows' labels, float32 [num_rows], NaN where there is none.

        Raises:
            ValueError: the batch has no such column.
        """
        name = columns.ITEM_ID if isinstance(task, NextItem) else columns.label(task.name)
        if name not in batch:
            raise ValueError(
                f"Task {task.name!r} has no labels: the batch has no column {name!r}. It has: "
                f"{sorted(batch)}."
            )
        return tf.reshape(tf.cast(batch[name], tf.float32), [-1])

    def task_losses(
        self, batch: Mapping[str, tf.Tensor], outputs: RankingOutputs
    ) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
        """Each task's loss and weight a row: (float32 [num_rows], float32 [num_rows]).

        A row's weight is its `columns.SAMPLE_WEIGHT`, or 1; 0 where the task has no label for it,
        whose loss is then that of some valid label and has no influence.

        Raises:
            ValueError: the batch has no labels of a task.
        """
        losses = {}
        for name, (labels, weights) in self._labels_and_weights(batch, outputs).items():
            labels = require_labels(self.tasks[name], labels, weights > 0.0)
            values = self.tfrs_tasks[name](labels, outputs.logits[name], compute_metrics=False)
            losses[name] = (values, weights)
        return losses

    def _labels_and_weights(
        self, batch: Mapping[str, tf.Tensor], outputs: RankingOutputs
    ) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
        pairs = {}
        for name, task in self.tasks.items():
            labels = self.labels(task, batch)
            counts = task.are_taught(labels, outputs.logits[name])
            weights = tf.cast(counts, tf.float32)
            if columns.SAMPLE_WEIGHT in batch:
                sample_weight = tf.cast(batch[columns.SAMPLE_WEIGHT], tf.float32)
                weights *= tf.reshape(sample_weight, [-1])
            pairs[name] = (tf.where(counts, labels, task.valid_label), weights)
        return pairs

    def predictions(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """What is said of the rows, in each task's unit: float32 [num_rows] by task.

        A `Binary` task gives a probability, a rating its expected value, `NextItem` the probability
        of the row's own item.
        """
        return self.predictions_of(self(batch, training=False).logits, batch)

    def predictions_of(
        self, logits: Mapping[str, tf.Tensor], batch: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """The same from logits."""
        return {
            name: task.probability(logits[name], batch[columns.ITEM_ID])
            if isinstance(task, NextItem)
            else task.predict(logits[name])
            for name, task in self.tasks.items()
        }

    def predict_step(self, data: Any) -> dict[str, tf.Tensor]:
        """What `predict` gives: the predictions."""
        return self.predictions(tf.keras.utils.unpack_x_y_sample_weight(data)[0])

    def ranking_logits(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """A teacher's answer: float32 [num_rows, width] by task."""
        return self(batch, training=False).logits

    def hidden_representations(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """A teacher's answer: outputs of its layers by path, and those that the model names."""
        with recorded(self) as hidden:
            outputs = self(batch, training=False)
        return hidden | outputs.hidden_representations

    def check_labels(self, labels: Mapping[str, np.ndarray]) -> None:
        """Hold a data set's labels to what the tasks may have, before any training.

        Args:
            labels: float [num_rows] by task, NaN where a row has none.

        Raises:
            InputError: a task has no labels, or some that it cannot have.
        """
        for name, task in self.tasks.items():
            if isinstance(task, NextItem):
                continue
            if name not in labels:
                raise InputError(
                    f"Task {name!r} has no labels: the examples have labels of {sorted(labels)}. "
                    "Leave the task out, or give the examples its labels."
                )
            task.check(labels[name])

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """What is logged and reset: the total loss, each task's, and the tasks' metrics."""
        return [self.loss_mean, *self.task_loss_means.values(), *self.task_metrics]

    @property
    def task_metrics(self) -> list[tf.keras.metrics.Metric]:
        """The metrics of all tasks, fed with labels and logits by `update_task_metrics`."""
        return [metric for task in self.tfrs_tasks.values() for metric in task.metrics]

    def update_task_metrics(
        self, batch: Mapping[str, tf.Tensor], outputs: RankingOutputs
    ) -> dict[str, tf.Tensor]:
        """Feed the tasks' metrics with a batch; gives their values so far, by name."""
        for name, (labels, weights) in self._labels_and_weights(batch, outputs).items():
            self.tfrs_tasks[name](labels, outputs.logits[name], sample_weight=weights)
        return {metric.name: metric.result() for metric in self.task_metrics}

    def compute_loss(self, batch: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """What a `tfrs.Model` trains on: the tasks' losses combined, regularisation apart.

        On one of several replicas: this replica's part of the global batch's loss.
        """
        return self._total(batch, training, tape=None)

    def _total(self, batch: Any, training: bool, tape: tf.GradientTape | None) -> tf.Tensor:
        batch, _, _ = tf.keras.utils.unpack_x_y_sample_weight(batch)
        outputs = self(batch, training=training)
        parts = {}
        for name, (values, weights) in self.task_losses(batch, outputs).items():
            mean, weight = weighted_mean(values, weights), tf.reduce_sum(weights)
            parts[name] = mean_over_global_batch(mean, weight, 0.0)
            self.task_loss_means[name].update_state(mean, sample_weight=weight)
        total = self.task_balance.combine(parts, tape, self.shared_variables)
        rows = tf.cast(tf.shape(next(iter(outputs.logits.values())))[0], tf.float32)
        # The replicas' parts add up to the loss, but their metrics are averaged.
        self.loss_mean.update_state(total * num_replicas(), sample_weight=over_replicas(rows))
        self.update_task_metrics(batch, outputs)
        return total

    def train_step(self, batch: Any) -> dict[str, tf.Tensor]:
        """One step on the combined losses and the regularisation losses."""
        with tf.GradientTape(persistent=self.task_balance.needs_gradients) as tape:
            total = self._total(batch, True, tape)
            total += sum(self.losses) / num_replicas()
        take_step(self, total, tape)
        return {metric.name: metric.result() for metric in self.metrics}

    def test_step(self, batch: Any) -> dict[str, tf.Tensor]:
        """The same losses without a step."""
        self._total(batch, False, None)
        return {metric.name: metric.result() for metric in self.metrics}

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Keras' `fit`; a label that its task cannot have raises an InputError."""
        with plain_errors():
            return super().fit(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Keras' `evaluate`; a label that its task cannot have raises an InputError."""
        with plain_errors():
            return super().evaluate(*args, **kwargs)

    @property
    def answering_weights(self) -> list[tf.Variable]:
        """The weights that answers are made of, trained and constant: no metric, no balance."""
        others = [*self.metrics, self.task_balance]
        apart = {id(variable) for other in others for variable in other.variables}
        return [weight for weight in self.weights if id(weight) not in apart]

    @property
    def num_parameters(self) -> int:
        """Numbers in the weights that answers are made of."""
        return int(sum(np.prod(weight.shape) for weight in self.answering_weights))

    def fingerprint(self) -> str:
        """sha256 of the configuration and every weight that answers are made of."""
        digest = hashlib.sha256(json.dumps(self.get_config(), sort_keys=True).encode())
        for weight in self.answering_weights:
            digest.update(str((weight.shape, weight.dtype)).encode() + weight.numpy().tobytes())
        return digest.hexdigest()
