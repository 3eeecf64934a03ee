"""A plain Keras classifier as a student."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.losses.categorical_cross_entropy import is_distribution
from tfrs_distill.models.candidates import CandidateSet
from tfrs_distill.models.student import Batch, Student
from tfrs_distill.models.student_outputs import Head, StudentOutputs

LABEL = "label"  # the task of a classifier


class Classifier(Student):
    """A functional or subclassed `tf.keras.Model` that gives logits, as a student.

    The model stays as it is; it is called with the batch's column `columns.INPUTS`. Rows
    are examples and candidates are classes, counted from 0. The loss is the categorical
    cross-entropy with ids, one-hot or soft labels; with a single logit the binary one.

    Args:
        model: `model(inputs, training=...)` gives logits, float [batch_size, num_classes].
    """

    task_names = (LABEL,)

    def __init__(self, model: tf.keras.Model) -> None:
        self.model = model

    def __call__(self, batch: Batch, training: bool | None = None) -> StudentOutputs:
        """The model's logits over its classes."""
        logits = self.model(batch[columns.INPUTS], training=training)
        if not tf.is_tensor(logits) or logits.shape.rank != 2:
            shape = logits.shape if tf.is_tensor(logits) else type(logits).__name__
            raise ValueError(
                "A classifier must give one tensor of logits, [batch_size, num_classes]. "
                f"Received: {shape}."
            )
        labels = batch.get(columns.LABELS)
        if logits.shape[1] == 1 and labels is not None:
            labels = tf.reshape(tf.cast(labels, tf.float32), [-1])  # no class indices
        chosen = CandidateSet(tf.range(logits.shape[1]), labels)
        return StudentOutputs({LABEL: Head(tf.cast(logits, tf.float32), chosen)})

    def check_batch_labels(self, batch: Batch, outputs: StudentOutputs) -> None:
        """Require that an eager batch's labels are classes or, for one logit, within 0 and 1.

        Raises:
            ValueError: a label is not.
        """
        super().check_batch_labels(batch, outputs)
        chosen = outputs.candidates
        if outputs.logits.shape[1] == 1 and chosen is not None and chosen.labels is not None:
            wrong = tf.where(~((chosen.labels >= 0.0) & (chosen.labels <= 1.0)))
            if len(wrong):
                row = int(wrong[0, 0])
                raise ValueError(
                    f"Labels of {LABEL!r} must be within 0 and 1 for a single logit. Received: "
                    f"{float(chosen.labels[row]):g} in row {row}."
                )

    def hard_loss(self, batch: Batch, outputs: StudentOutputs) -> tf.Tensor:
        """Cross-entropy with the labels, one value per example."""
        chosen, logits = outputs.candidates, outputs.logits
        assert chosen is not None
        labels = chosen.labels
        if logits.shape[1] == 1:
            return tf.nn.sigmoid_cross_entropy_with_logits(labels, logits[:, 0])
        # Keras' own functions, so that the loss equals Keras' training without a teacher bit for
        # bit.
        if is_distribution(labels, logits):
            return tf.keras.losses.categorical_crossentropy(labels, logits, from_logits=True)
        labels = tf.reshape(labels, [-1])
        return tf.keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)

    def as_batch(self, data: Any) -> dict[str, Any]:
        """A dict of columns from a dict that has `columns.INPUTS`, or Keras' `(x, y, weight)`."""
        x, y, sample_weight = tf.keras.utils.unpack_x_y_sample_weight(data)
        if not (isinstance(x, dict) and columns.INPUTS in x):
            x = {columns.INPUTS: x}
        return super().as_batch((x, y, sample_weight))
