"""Bottleneck adapters: two small networks in every layer of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import tensorflow as tf

from tfrs_distill.teachers.bert.parameter_efficient.attached import AddedLayer, Attached
from tfrs_distill.teachers.bert.text_encoder import TextEncoder
from tfrs_distill.teachers.whole_number import check_whole_number


@dataclass(frozen=True)
class BottleneckAdapters:
    """Adapters: `h + U gelu(D h + d) + u` after the attention's and the feed-forward's output.

    h is this output, before the residual connection and its normalisation. U and u start at 0, so
    that an untrained adapter changes nothing. As in the paper, the normalisations' gains and
    offsets are trained too; `detach` restores them. Adapters cannot be merged: they stay in the
    forward pass. Reference: [Houlsby et al., 2019](https://arxiv.org/abs/1902.00751).

    Args:
        width: number of units of the bottleneck, at least 1.
        seed: seed of D.

    Raises:
        ValueError: `width` is not a whole number of at least 1.

    Example:
    >>> BottleneckAdapters(width=8)
    BottleneckAdapters(width=8, seed=0)
    """

    width: int = 16
    seed: int = 0

    default_learning_rate: ClassVar[float] = 5e-4

    def __post_init__(self) -> None:
        check_whole_number("width", self.width)

    def attach(self, encoder: TextEncoder) -> Attached:
        """Add two adapters to every layer of the encoder; its vectors do not change.

        Args:
            encoder: a text encoder of the BERT family; its model is changed in place.

        Returns:
            The attached layers, which can be trained, saved and detached.

        Raises:
            ValueError: the encoder already has added layers, or is of another family.
        """
        attached = Attached(encoder, self)
        stack = attached.stack
        for number, layer in enumerate(stack.layers):
            for place, target in enumerate(("attention_output", "output")):
                owner, attribute = stack.owner(layer, target)
                dense = AdaptedDense(
                    getattr(owner, attribute), self.width, 1000 * self.seed + 2 * number + place
                )
                attached.replace(owner, attribute, dense)
                for part in ("down", "down_bias", "up", "up_bias"):
                    attached.train(f"layer.{number}.{target}.{part}", getattr(dense, part))
            for place, norm in enumerate(stack.norms(layer)):
                attached.train(f"layer.{number}.norm.{place}.gamma", norm.gamma, borrowed=True)
                attached.train(f"layer.{number}.norm.{place}.beta", norm.beta, borrowed=True)
        return attached.ready()


class AdaptedDense(AddedLayer):
    """A frozen dense layer with outputs h, and an adapter: `h + gelu(h down + d) up + u`."""

    def __init__(self, dense: Any, width: int, seed: int) -> None:
        super().__init__(name=dense.name)
        self.dense = dense
        num_outputs = dense.kernel.shape[1]
        self.down = self.add_weight(
            name="adapter_down",
            shape=[num_outputs, width],
            initializer=tf.keras.initializers.LecunNormal(seed=seed),
        )
        self.down_bias = self.add_weight(
            name="adapter_down_bias", shape=[width], initializer="zeros"
        )
        self.up = self.add_weight(
            name="adapter_up", shape=[width, num_outputs], initializer="zeros"
        )
        self.up_bias = self.add_weight(
            name="adapter_up_bias", shape=[num_outputs], initializer="zeros"
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """`[..., in]` to `[..., out]`."""
        hidden = self.dense(inputs)
        inner = tf.matmul(hidden, tf.cast(self.down, hidden.dtype))
        inner = tf.nn.gelu(inner + tf.cast(self.down_bias, hidden.dtype))
        outer = tf.matmul(inner, tf.cast(self.up, hidden.dtype))
        return hidden + outer + tf.cast(self.up_bias, hidden.dtype)
