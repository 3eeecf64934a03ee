"""A TensorFlow Recommenders ranking model that was written without distillation in mind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_distill.losses.weighted_mean import weighted_mean
from tfrs_distill.models.adopted_task import only_task, row_loss
from tfrs_distill.models.multi_task_model import MultiTaskModel
from tfrs_distill.models.student_outputs import Head, StudentOutputs
from tfrs_distill.models.tasks import RankingTask

SCORERS = ("ranking_model", "rating_model")  # the names in the TFRS tutorials


class AdoptedTask(RankingTask):
    """An existing `tfrs.tasks.Ranking`, with its loss not reduced.

    If its loss is a binary cross-entropy of logits, the prediction is a probability; with any other
    loss, such as a squared error, it is the model's output.

    Args:
        name: name of the task.
        task: the model's task; its loss and metrics are kept.

    Raises:
        ValueError: its loss is not a Keras loss, reads probabilities, or does not return one value
            per row.
    """

    def __init__(self, name: str, task: tfrs.tasks.Ranking) -> None:
        super().__init__(name, width=1)
        self.row_loss = row_loss(
            task,
            width=1,
            remedy="Remove the model's last sigmoid and give the task "
            "`loss=tf.keras.losses.BinaryCrossentropy(from_logits=True)`.",
        )
        self.task = task
        self.is_probability = bool(self.row_loss.get_config().get("from_logits"))

    @property
    def label_range(self) -> str:
        """Any number; 0 to 1 if the prediction is a probability."""
        return "within 0 and 1" if self.is_probability else "finite"

    def are_labels(self, labels: Any) -> Any:
        """See `label_range`."""
        if self.is_probability:
            return (labels >= 0) & (labels <= 1)
        return (labels > -float("inf")) & (labels < float("inf"))

    def keras_loss(self) -> tf.keras.losses.Loss:
        """The model's loss, not reduced."""
        return self.row_loss

    def predict(self, logits: tf.Tensor) -> tf.Tensor:
        """The model's output, or its sigmoid if the prediction is a probability."""
        values = tf.cast(logits, tf.float32)[:, 0]
        return tf.sigmoid(values) if self.is_probability else values

    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """The model's metrics."""
        return list(self.task.metrics)

    def as_tfrs(self) -> tfrs.tasks.Ranking:
        """The model's task, with one loss per row; it updates the model's metrics."""
        return _TaskOfColumns(
            loss=self.row_loss,
            metrics=self.task._ranking_metrics,
            prediction_metrics=self.task._prediction_metrics,
            label_metrics=self.task._label_metrics,
            mean_metrics=list(self.task._loss_metrics),
            name=f"{self.name}_task",
        )

    def get_config(self) -> dict[str, Any]:
        """Not supported: the task belongs to the caller."""
        raise NotImplementedError("An adopted task is saved with its model.")

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__


class _TaskOfColumns(tfrs.tasks.Ranking):
    """Reshapes labels like predictions, because Keras' errors are means over the last axis.

    Args:
        mean_metrics: the model's `loss_metrics`, updated with the batch's loss, not with its rows.
        **options: options of the task.
    """

    def __init__(self, *, mean_metrics: list[tf.keras.metrics.Metric], **options: Any) -> None:
        super().__init__(**options)
        self.mean_metrics = mean_metrics

    def call(
        self,
        labels: tf.Tensor,
        predictions: tf.Tensor,
        sample_weight: tf.Tensor | None = None,
        compute_metrics: bool = True,
    ) -> tf.Tensor:
        """Labels [num_rows], predictions [num_rows, 1]."""
        labels = labels[:, None]
        losses = super().call(
            labels, predictions, sample_weight=sample_weight, compute_metrics=compute_metrics
        )
        if compute_metrics and self.mean_metrics:
            mean = weighted_mean(self._loss(labels, predictions), sample_weight)
            for metric in self.mean_metrics:
                metric.update_state(mean)
        return losses


class TFRSRankingStudent(MultiTaskModel):
    """An existing ranking `tfrs.Model` as a student; it is trained in place.

    The loss is its task's, averaged over the rows that have a label.

    Created by `RankingStudent.from_tfrs`.
    """

    def __init__(self, model: tfrs.Model, *, task: str, inputs: Mapping[str, str]) -> None:
        ranking_task = only_task(model, tfrs.tasks.Ranking)
        if not inputs:
            raise ValueError(
                "`inputs` must name what the model reads and the batch's columns for it, such as "
                "{'user_id': 'user_id', 'movie_title': 'movie_title'}. Received: none."
            )
        score = _scorer(model)
        super().__init__([AdoptedTask(task, ranking_task)], name=model.name)
        self.model, self.score, self.inputs = model, score, dict(inputs)
        self.built = model.built

    @property
    def input_columns(self) -> tuple[str, ...]:
        """The batch's columns that the model reads."""
        return tuple(dict.fromkeys(self.inputs.values()))

    @property
    def shared_variables(self) -> list[tf.Variable]:
        """All weights: there is only one task."""
        return list(self.model.trainable_variables)

    def call(self, batch: Mapping[str, tf.Tensor], training: bool | None = None) -> StudentOutputs:
        """Compute the rows' logits; Keras forwards `training`.

        Raises:
            ValueError: a column is missing, or the model does not return one number per row.
        """
        missing = sorted(set(self.input_columns) - set(batch))
        if missing:
            raise ValueError(f"The batch has no columns {missing}. It has: {sorted(batch)}.")
        values = self.score({name: batch[column] for name, column in self.inputs.items()})
        shape = getattr(values, "shape", None)
        if shape is None or shape.rank not in (1, 2) or (shape.rank == 2 and shape[1] != 1):
            raise ValueError(
                "The model must return one number per row, [num_rows, 1] or [num_rows]. Received: "
                f"{type(values).__name__ if shape is None else shape}. Adopt a `tfrs.Model` whose "
                "`call` returns only the ranking task's predictions."
            )
        (name,) = self.tasks
        return StudentOutputs({name: Head(tf.reshape(tf.cast(values, tf.float32), [-1, 1]))})

    def get_config(self) -> dict[str, Any]:
        """Not supported: the model belongs to the caller, who saves it."""
        raise NotImplementedError(
            "A student made of a `tfrs.Model` cannot be saved: save that model, or the weights "
            "(`save_weights`, `tf.keras.callbacks.BackupAndRestore`)."
        )


def _scorer(model: tfrs.Model) -> Callable[[dict[str, tf.Tensor]], tf.Tensor]:
    """Return the function that computes the predictions from a dict of features."""
    if type(model).call is not tf.keras.Model.call:
        return model
    for name in SCORERS:
        inner = getattr(model, name, None)
        if callable(inner):
            return lambda features: inner(tuple(features.values()))
    raise ValueError(
        "`model` must have a custom `call` that returns the ranking task's predictions, or an "
        f"attribute {' or '.join(map(repr, SCORERS))} that does. Received: "
        f"{type(model).__name__}, which has neither."
    )
