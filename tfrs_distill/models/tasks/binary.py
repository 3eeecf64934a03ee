"""A binary label: a click, a like, 'recommended'."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.errors import InputError
from tfrs_distill.models.tasks.task import RankingTask
from tfrs_distill.models.tasks.task_metrics import AUC, Accuracy


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class Binary(RankingTask):
    """A binary task: one logit per row, log loss.

    `loss = -y log p - (1 - y) log(1 - p)`, `p = sigmoid(logit)`; labels are within 0 and 1.

    Args:
        name: name of the task.
        initial_prediction: the probability that an untrained model predicts, such as the share of
            positives in the training rows.
        label_smoothing: the share of a label that is spread evenly over both classes.

    Raises:
        ValueError: `initial_prediction` is not above 0 and below 1, or `label_smoothing` is not at
            least 0 and below 1.

    Example:
    >>> task = Binary("like")
    >>> round(float(task.loss(tf.constant([1.0]), tf.constant([[1.0986]]))[0]), 4)  # -log 3/4
    0.2877
    >>> round(float(task.predict(tf.constant([[1.0986]]))[0]), 4)
    0.75
    """

    activation = "sigmoid"
    leading_metric = "auc"
    label_range = "within 0 and 1"

    def __init__(
        self, name: str, *, initial_prediction: float = 0.5, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(name, width=1, label_smoothing=label_smoothing)
        if not 0 < initial_prediction < 1:
            raise ValueError(
                "`initial_prediction` must be above 0 and below 1. Received: "
                f"initial_prediction={initial_prediction!r}."
            )
        self.initial_prediction = float(initial_prediction)
        self.initial_bias = math.log(initial_prediction / (1 - initial_prediction))

    def keras_loss(self) -> tf.keras.losses.Loss:
        """Binary cross-entropy."""
        return tf.keras.losses.BinaryCrossentropy(
            from_logits=True,
            label_smoothing=self.label_smoothing,
            reduction=tf.keras.losses.Reduction.NONE,
        )

    def predict(self, logits: tf.Tensor) -> tf.Tensor:
        """Return the probability of label 1."""
        return tf.sigmoid(tf.cast(logits, tf.float32))[:, 0]

    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """Area under the ROC curve (labels above 1/2 are positive) and accuracy."""
        return [AUC(self), Accuracy(self)]

    def are_labels(self, labels: Any) -> Any:
        """0 to 1."""
        return (labels >= 0) & (labels <= 1)

    def check(self, labels: np.ndarray) -> None:
        """See `RankingTask.check`; in addition, both classes must occur."""
        super().check(labels)
        for only, missing in ((0.0, "positives"), (1.0, "negatives")):
            if np.all(np.isnan(labels) | (np.asarray(labels) == only)):
                raise InputError(
                    f"Task {self.name!r} has no {missing}: every label is {only:g}. The classes "
                    "cannot be learned; check how its labels were read."
                )

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal task."""
        return super().get_config() | {"initial_prediction": self.initial_prediction}
