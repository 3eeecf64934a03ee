"""Distillation of hidden representations through a projector."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

LOSSES, PROJECTORS = ("mean_squared_error", "cosine"), ("linear", "identity")


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class HiddenRepresentationDistillation(tf.keras.layers.Layer):
    """Distance between a projected hidden representation of the student and one of the teacher.

    `loss = mean_d (P(H_s)_d - H_t,d)**2`, or `1 - cos(P(H_s), H_t)` with `loss="cosine"`. The
    projector `P` is trained with the student and saved with the distiller. It is not part of
    `distiller.student`.

    Reference: [Romero et al., 2015](https://arxiv.org/abs/1412.6550) (FitNets).

    Args:
        student_layer: the student's layer: its path of names inside the model, or a unique end of
            that path (`"feed_forward/hidden"`); or `"query_embeddings"`.
        teacher_layer: the same for the teacher.
        loss: `"mean_squared_error"` or `"cosine"`.
        projector: `"linear"` (a dense layer to the teacher's width), `"identity"` (both widths must
            be equal), or a Keras layer.
        name: name of the loss in logs.

        Call with `(student, teacher)`, representations `[num_rows, ..., width]`; returns float32
        `[num_rows]`.

    Raises:
        ValueError: the loss or the projector is not one of these, or the widths differ after the
            projector.

    Example:
    >>> layer = HiddenRepresentationDistillation("a", "b", projector="identity")
    >>> layer((tf.constant([[1.0, 2.0]]), tf.constant([[1.0, 4.0]]))).numpy().tolist()
    [2.0]
    """

    def __init__(
        self,
        student_layer: str,
        teacher_layer: str,
        *,
        loss: str = "mean_squared_error",
        projector: str | tf.keras.layers.Layer = "linear",
        name: str = "hidden_representation_distillation",
        **kwargs: Any,
    ) -> None:
        # The projector casts its inputs itself; the teacher's representation keeps its precision.
        super().__init__(name=name, autocast=False, **kwargs)
        if loss not in LOSSES:
            raise ValueError(f"`loss` must be one of {LOSSES}. Received: loss={loss!r}.")
        if projector not in PROJECTORS and not isinstance(projector, tf.keras.layers.Layer):
            raise ValueError(
                f"`projector` must be one of {PROJECTORS} or a Keras layer. Received: "
                f"projector={projector!r}."
            )
        self.student_layer, self.teacher_layer, self.loss = student_layer, teacher_layer, loss
        self.kind = projector if isinstance(projector, str) else "layer"
        self.projector = None if isinstance(projector, str) else projector
        self.widths: list[int] | None = None

    def build(self, input_shape: Any) -> None:
        """Create the projector from the student's width to the teacher's."""
        self.build_from_config({"widths": [int(tf.TensorShape(s)[-1]) for s in input_shape]})

    def get_build_config(self) -> dict[str, Any]:
        """Return both widths, so that the projector exists before saved weights are loaded."""
        return {"widths": self.widths}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Create the projector before its saved weights are loaded."""
        self.widths = config["widths"]
        if self.widths is None:
            return
        student_width, teacher_width = self.widths
        if self.kind == "linear":
            self.projector = tf.keras.layers.Dense(
                teacher_width, dtype=self.dtype_policy, name="projector"
            )
        if self.projector is not None and not self.projector.built:
            self.projector.build(tf.TensorShape([None, student_width]))
        self.built = True

    def call(
        self, inputs: tuple[tf.Tensor, tf.Tensor], row_weights: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Return the distance per row, float32 [num_rows].

        Args:
            inputs: hidden representations of student and teacher.
            row_weights: float32 [num_rows], for losses that compare rows; None if all count 1.
        """
        student, teacher = inputs
        projected = student if self.projector is None else self.projector(student)
        if not projected.shape[1:].is_compatible_with(teacher.shape[1:]):
            raise ValueError(
                f"{self.name}: the student's layer {self.student_layer!r} has shape "
                f"{projected.shape} after the projector, the teacher's layer "
                f"{self.teacher_layer!r} has shape {teacher.shape}. Both must be equal; "
                "projector='linear' maps the last axis to the teacher's width."
            )
        projected, teacher = tf.cast(projected, tf.float32), tf.cast(teacher, tf.float32)
        if self.loss == "cosine":
            cosine = tf.keras.losses.cosine_similarity(teacher, projected)  # minus the cosine
            distances = 1.0 + cosine
        else:
            distances = tf.reduce_mean(tf.math.squared_difference(projected, teacher), axis=-1)
        return tf.reduce_mean(tf.reshape(distances, [tf.shape(distances)[0], -1]), axis=1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        projector = self.kind
        if projector == "layer":
            projector = tf.keras.utils.serialize_keras_object(self.projector)
        return super().get_config() | {
            "student_layer": self.student_layer,
            "teacher_layer": self.teacher_layer,
            "loss": self.loss,
            "projector": projector,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> HiddenRepresentationDistillation:
        """Build a layer, and its projector if that is a layer."""
        projector = config["projector"]
        if isinstance(projector, dict):
            projector = tf.keras.utils.deserialize_keras_object(projector)
        return cls(**(config | {"projector": projector}))
