"""Which layers of a BERT are tuned, and how fast each of them learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from tfrs_distill.teachers.bert.parameter_efficient.layer_stack import LayerStack
from tfrs_distill.teachers.whole_number import check_whole_number

LearningRateGroups = list[tuple[float, list[tf.Variable]]]


@dataclass(frozen=True)
class TopLayers:
    """Tune the highest layers of the encoder; what the lower ones put out is computed once.

    Args:
        num_layers: how many from the top.

    Raises:
        ValueError: `num_layers` is not a whole number of at least 1.
    """

    num_layers: int = 2

    default_learning_rate: ClassVar[float] = 5e-5

    def __post_init__(self) -> None:
        check_whole_number("num_layers", self.num_layers)

    def groups(self, stack: LayerStack) -> LearningRateGroups:
        """The layers' weights, all at the full learning rate.

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
    """Tune the whole encoder, embeddings included, lower layers more slowly.

    A layer's learning rate is `learning_rate * layer_decay**d`, d its distance from the highest
    layer; the embeddings' distance is the number of layers. Reference: discriminative fine-tuning,
    [Howard & Ruder, 2018](https://arxiv.org/abs/1801.06146).

    Args:
        layer_decay: above 0, at most 1; 1 trains all layers equally fast.

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
        """The embeddings and every layer, each with its share of the learning rate."""
        layers = [stack.other_variables(), *stack.layer_variables()]
        return [
            (self.layer_decay ** (len(layers) - 1 - place), variables)
            for place, variables in enumerate(layers)
        ]
