"""A student's interface to a `Distiller`, and its training without a teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_distill import columns
from tfrs_distill.errors import InputError
from tfrs_distill.models.first_batch import ChecksFirstBatch
from tfrs_distill.models.replicas import num_replicas
from tfrs_distill.models.step import Term, take_step, term_of
from tfrs_distill.models.student_outputs import StudentOutputs

Batch = Mapping[str, Any]


class Student:
    """The interface of a model of one or several tasks over the rows of a batch.

    It is all that a `Distiller` needs of one. The defaults are those of a single task whose rows
    are the batch's examples and whose logits are over candidates.
    """

    @property
    def takes_metrics(self) -> bool:
        """Whether `compile` takes metrics of labels and logits."""
        return True

    @property
    def needs_task_gradients(self) -> bool:
        """Whether `combine` needs a persistent tape."""
        return False

    @property
    def task_names(self) -> tuple[str, ...]:
        """The names of its tasks, in order."""
        raise NotImplementedError

    @property
    def step_metrics(self) -> list[tf.keras.metrics.Metric]:
        """The metrics that every step feeds by `update_step_metrics`."""
        return []

    @property
    def evaluation_metrics(self) -> list[tf.keras.metrics.Metric]:
        """The metrics that a `Distiller` feeds in evaluation, by `update_evaluation_metrics`."""
        return []

    def __call__(self, batch: Batch, training: bool | None = None) -> StudentOutputs:
        """Logits and hidden representations of the batch's rows."""
        raise NotImplementedError

    def as_batch(self, data: Any) -> dict[str, Any]:
        """A dict of columns from whatever `fit` hands over: a dict, or Keras' `(x, y, weight)`.

        Raises:
            InputError: it holds no dict of columns.
        """
        x, y, sample_weight = tf.keras.utils.unpack_x_y_sample_weight(data)
        if not isinstance(x, Mapping):
            raise InputError(
                f"A student reads batches that are dicts of columns. Received: {type(x)}."
            )
        batch = dict(x)
        if y is not None:
            batch[columns.LABELS] = tf.convert_to_tensor(y)
        if sample_weight is not None:
            batch[columns.SAMPLE_WEIGHT] = tf.convert_to_tensor(sample_weight)
        return batch

    def to_rows(self, values: tf.Tensor, batch: Batch) -> tf.Tensor:
        """A layer's or a teacher's output for a batch as `[num_rows, ...]`."""
        return values

    def of_rows(self, examples: tf.Tensor, batch: Batch) -> tf.Tensor:
        """Values of the examples, `[batch_size]`, at each of their rows, `[num_rows]`."""
        return examples

    def row_weights(self, batch: Batch) -> tf.Tensor | None:
        """Sample weights of the rows, float32 [num_rows]; None where all count 1."""
        if columns.SAMPLE_WEIGHT not in batch:
            return None
        return tf.reshape(tf.cast(batch[columns.SAMPLE_WEIGHT], tf.float32), [-1])

    def label_weights(self, batch: Batch) -> tf.Tensor | None:
        """How much rows count in metrics of their labels, as `row_weights`."""
        return self.row_weights(batch)

    def label_column(self, task: str) -> str:
        """The batch's column with the task's labels."""
        return columns.LABELS

    def has_labels(self, task: str, outputs: StudentOutputs, batch: Batch) -> bool:
        """Whether the batch has labels of the task."""
        return self.label_column(task) in batch

    def check_batch_labels(self, batch: Batch, outputs: StudentOutputs) -> None:
        """Require that an eager batch's labels are among the candidates.

        Raises:
            ValueError: a label is not a candidate.
        """
        for task, head in outputs.heads.items():
            chosen = head.candidates
            if chosen is None or chosen.labels is None:
                continue
            labels = chosen.labels
            if labels.shape.rank != 1 or not labels.dtype.is_integer:
                continue
            width = int(tf.shape(chosen.one_column)[0])
            wrong = tf.where((labels < 0) | (labels >= width))
            if len(wrong):
                row = int(wrong[0, 0])
                raise ValueError(
                    f"Labels of {task!r} must be among the {width} candidates. Received: candidate "
                    f"number {int(labels[row])}, counted from 0, in row {row}."
                )

    def hard_loss(self, batch: Batch, outputs: StudentOutputs) -> tf.Tensor:
        """The loss of the only task's labels, float32 [num_rows]."""
        raise NotImplementedError

    def hard_losses(
        self, batch: Batch, outputs: StudentOutputs, tasks: Sequence[str]
    ) -> dict[str, tuple[tf.Tensor, tf.Tensor | None]]:
        """Losses and weights of the rows, float32 [num_rows], of tasks with labels in the batch.

        Weights of None count 1.
        """
        return {task: (self.hard_loss(batch, outputs), self.row_weights(batch)) for task in tasks}

    def reads_logits(self, task: str) -> bool:
        """Whether the task's loss is of logits, not of values."""
        return True

    def rows_are_lists(self, task: str) -> bool:
        """Whether the logits of one row are those of a list of candidates."""
        return True

    def row_scores(self, task: str, logits: tf.Tensor) -> tf.Tensor:
        """The numbers that order a query's rows, float32 [num_rows], where rows are no lists."""
        raise NotImplementedError

    def combine(
        self, losses: Mapping[str, tf.Tensor], tape: tf.GradientTape | None = None
    ) -> tf.Tensor:
        """The scalar to minimise, of the tasks' losses."""
        (loss,) = losses.values()
        return loss

    def predictions_of(self, outputs: StudentOutputs, batch: Batch) -> Any:
        """Predictions from a forward pass: the logits of the only task."""
        return outputs.logits

    def update_step_metrics(self, batch: Batch, outputs: StudentOutputs, losses: tf.Tensor) -> None:
        """Update `step_metrics` with a batch's outputs and its losses by row."""

    def update_evaluation_metrics(self, batch: Batch, outputs: StudentOutputs) -> None:
        """Update `evaluation_metrics` with a batch."""


class StudentModel(ChecksFirstBatch, tfrs.Model, Student):
    """A student that also trains alone, on the losses of its labels; so trained it is the twin."""

    def __init__(self, **kwargs: Any) -> None:
        # Layers cast what they read; columns such as sampling probabilities keep their precision.
        super().__init__(autocast=False, **kwargs)
        self.loss_mean = tf.keras.metrics.Mean(name="loss")

    @property
    def training_metrics(self) -> list[tf.keras.metrics.Metric]:
        """The metrics that a training step logs."""
        return self.metrics

    def update_metrics(
        self,
        batch: Batch,
        outputs: StudentOutputs,
        terms: Mapping[str, Term],
        total: tf.Tensor,
        training: bool,
    ) -> None:
        """Update all metrics with a batch's outputs, its losses by task and their total."""
        raise NotImplementedError

    def compute_loss(self, batch: Batch, training: bool = False) -> tf.Tensor:
        """The tasks' losses combined, means over rows, as a `tfrs.Model` minimises it.

        Regularisation comes on top. On one of several replicas: its part of the global batch's.
        """
        return self._loss(batch, training)

    def _loss(self, data: Any, training: bool, tape: tf.GradientTape | None = None) -> tf.Tensor:
        batch = self.as_batch(data)
        outputs = self(batch, training=training)
        losses = self.hard_losses(batch, outputs, self.task_names)
        terms = {task: term_of(*loss) for task, loss in losses.items()}
        total = self.combine({task: term.part for task, term in terms.items()}, tape)
        self.update_metrics(batch, outputs, terms, total, training)
        return total

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Take one step on the combined losses and the regularisation losses."""
        with tf.GradientTape(persistent=self.needs_task_gradients) as tape:
            total = self._loss(data, True, tape) + sum(self.losses) / num_replicas()
        take_step(self, total, tape)
        return {metric.name: metric.result() for metric in self.training_metrics}

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Compute the same losses without a step."""
        self._loss(data, False)
        return {metric.name: metric.result() for metric in self.metrics}

    def predict_step(self, data: Any) -> Any:
        """Return what `predict` returns: logits over candidates, or predictions by task."""
        batch = self.as_batch(data)
        return self.predictions_of(self(batch, training=False), batch)

    def check_batch(self, data: Any) -> None:
        """Check the labels of the first batch, see `ChecksFirstBatch`."""
        batch = self.as_batch(data)
        self.check_batch_labels(batch, self(batch, training=False))

    def get_build_config(self) -> dict[str, Any]:
        """Tell Keras to call `build_from_config`."""
        return {}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Do nothing: `from_config` has created the weights that a saved file is about to fill."""
