"""Distillation of how alike the rows of a batch are to a teacher."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill.losses.hidden_representation_distillation import (
    HiddenRepresentationDistillation,
)


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class RelationDistillation(HiddenRepresentationDistillation):
    """Distance between the similarities that student and teacher see among a batch's rows.

    `loss_i = mean_j (cos(s_i, s_j) - cos(t_i, t_j))**2` over all rows j of the batch, with hidden
    representations s of the student and t of the teacher. Both may be of any width, and there is
    no projector: the student need not know what the teacher knows in the teacher's coordinates,
    only what is like what.

    Reference: full topology distillation, [Kang et al., 2021](https://arxiv.org/abs/2106.08700),
    without its sum over queries and items together.

    Args:
        student_layer: as for `HiddenRepresentationDistillation`.
        teacher_layer: the same, of the teacher.
        name: the loss' name in logs.

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

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """Compute float32 [num_rows] of representations `[num_rows, ..., width]` of both."""
        student, teacher = map(_similarities, inputs)
        return tf.reduce_mean(tf.math.squared_difference(student, teacher), axis=1)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer."""
        config = super().get_config()
        del config["loss"], config["projector"]
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> RelationDistillation:
        """Build a layer."""
        return cls(**config)


def _similarities(rows: tf.Tensor) -> tf.Tensor:
    """The cosine of every two rows, float32 [num_rows, num_rows]; 0 of a row that is 0."""
    flat = tf.reshape(tf.cast(rows, tf.float32), [tf.shape(rows)[0], -1])
    unit = tf.math.l2_normalize(flat, axis=1, epsilon=1e-12)
    return tf.matmul(unit, unit, transpose_b=True)
