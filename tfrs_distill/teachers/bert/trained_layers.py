"""The selection of a BERT's trained layers, and their learning rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from tfrs_distill.teachers.bert.parameter_efficient.layer_stack import LayerStack
from tfrs_distill.teachers.whole_number import check_whole_number

LearningRateGroups = list[tuple[float, list[tf.Variable]]]


@dataclass(frozen=True)
class TopLayers:
    """Train the highest layers of the encoder; the outputs of the lower layers are computed once.

    Args:
        num_layers: number of layers, from the top.

    Raises:
        ValueError: `num_layers` is not a whole number of at least 1.
    """

    num_layers: int = 2

    default_learning_rate: ClassVar[float] = 5e-5

    def __post_init__(self) -> None:
        check_whole_number("num_layers", self.num_layers)

    def groups(self, stack: LayerStack) -> LearningRateGroups:
        """Return the layers' weights, all with the full learning rate.

        Raises:
            ValueError: the encoder has fewer layers.
        """
        if self.num_layers > len(stack.layers):
            raise ValueError(
                f"`num_layers` must be within 1 to {len(stack.layers)}, the encoder's layers. "
                f"Received: num_layers={self.num_layers!r}."
            )
        chosen = stack.layer_variables()[-self.num_layers :]
        return [(1.0, [variable for variables in chosen for variable in variables])]


@dataclass(frozen=True)
class AllLayers:
    """Train the whole encoder, including embeddings, with smaller learning rates in lower layers.

    A layer's learning rate is `learning_rate * layer_decay**d`, d its distance from the highest
    layer; the embeddings' distance is the number of layers. Reference: discriminative fine-tuning,
    [Howard & Ruder, 2018](https://arxiv.org/abs/1801.06146).

    Args:
        layer_decay: above 0, at most 1; with 1 all layers have the same learning rate.

    Raises:
        ValueError: `layer_decay` is out of its range.
    """

    layer_decay: float = 0.9

    default_learning_rate: ClassVar[float] = 5e-5

    def __post_init__(self) -> None:
        if not 0 < self.layer_decay <= 1:
            raise ValueError(
                "`layer_decay` must be above 0 and at most 1. Received: "
                f"layer_decay={self.layer_decay!r}."
            )

    def groups(self, stack: LayerStack) -> LearningRateGroups:
        """Return the embeddings and all layers, each with its factor of the learning rate."""
        layers = [stack.other_variables(), *stack.layer_variables()]
        return [
            (self.layer_decay ** (len(layers) - 1 - place), variables)
            for place, variables in enumerate(layers)
        ]
