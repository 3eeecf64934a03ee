"""Distillation of the similarities between the rows of a batch."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill.losses.hidden_representation_distillation import (
    HiddenRepresentationDistillation,
)


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class RelationDistillation(HiddenRepresentationDistillation):
    """Distance between the row-to-row similarities of student and teacher in a batch.

    `loss_i = mean_j (cos(s_i, s_j) - cos(t_i, t_j))**2` over all rows j of the batch, weighted by
    their weights, with hidden representations s of the student and t of the teacher. The widths of
    s and t may differ. There is no projector: the student matches similarities, not the teacher's
    coordinates.

    Reference: full topology distillation, [Kang et al., 2021](https://arxiv.org/abs/2106.08700),
    without its joint sum over queries and items.

    Args:
        student_layer: as for `HiddenRepresentationDistillation`.
        teacher_layer: the same for the teacher.
        name: name of the loss in logs.

    Example:
    >>> layer = RelationDistillation("a", "b")
    >>> student, teacher = tf.constant([[1.0, 0.0], [0.0, 2.0]]), tf.constant([[1.0], [3.0]])
    >>> layer((student, teacher)).numpy().tolist()  # cosine 0 where the teacher has 1
    [0.5, 0.5]
    """

    def __init__(
        self,
        student_layer: str,
        teacher_layer: str,
        *,
        name: str = "relation_distillation",
        **kwargs: Any,
    ) -> None:
        super().__init__(student_layer, teacher_layer, projector="identity", name=name, **kwargs)

    def call(
        self, inputs: tuple[tf.Tensor, tf.Tensor], row_weights: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Return the distance per row, float32 [num_rows]; arguments as for the base class."""
        student, teacher = map(_similarities, inputs)
        distances = tf.math.squared_difference(student, teacher)
        if row_weights is None:
            return tf.reduce_mean(distances, axis=1)
        weights = tf.cast(row_weights, tf.float32)
        return tf.math.divide_no_nan(tf.linalg.matvec(distances, weights), tf.reduce_sum(weights))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        config = super().get_config()
        del config["loss"], config["projector"]
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> RelationDistillation:
        """Build a layer."""
        return cls(**config)


def _similarities(rows: tf.Tensor) -> tf.Tensor:
    """Return the cosine of every pair of rows, float32 [num_rows, num_rows]; 0 for zero rows."""
    flat = tf.reshape(tf.cast(rows, tf.float32), [tf.shape(rows)[0], -1])
    unit = tf.math.l2_normalize(flat, axis=1, epsilon=1e-12)
    return tf.matmul(unit, unit, transpose_b=True)
