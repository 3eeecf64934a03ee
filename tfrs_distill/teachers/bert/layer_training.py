"""The training of a BERT's layers with a head of ours: its optimizers, its state, its steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrs_distill.teachers.bert.linear_warmup_decay import LinearWarmupDecay
from tfrs_distill.teachers.bert.parameter_efficient.layer_stack import LayerStack
from tfrs_distill.teachers.bert.step_dropout import step_dropout
from tfrs_distill.teachers.bert.tuning_checkpoint import TuningCheckpoint


class LayerTraining:
    """What the trainings of a BERT that reads pairs, and of one that reads rows, share.

    A subclass says what a step is. Adam moves layers and head, each with a learning rate of its
    own that rises and falls in straight lines.

    Args:
        model: the BERT.
        stack: its layers.
        head: what reads its pooled output.
        num_steps: of the whole training.
        settings: `num_layers` (from the top; None for all), `learning_rate`,
            `head_learning_rate`, `warmup_share` and `seed`.
    """

    def __init__(
        self,
        model: tf.keras.Model,
        stack: LayerStack,
        head: Any,
        num_steps: int,
        settings: dict[str, Any],
    ) -> None:
        self.model, self.head, self.num_steps, self.settings = model, head, num_steps, settings
        layers = stack.layer_variables()[-(settings["num_layers"] or 0) :]
        self.groups = [
            (settings["learning_rate"], [v for variables in layers for v in variables]),
            (settings["head_learning_rate"], list(head.trainable_variables)),
        ]
        self.optimizers = [
            tf.keras.optimizers.Adam(
                LinearWarmupDecay(peak, num_steps=num_steps, warmup_share=settings["warmup_share"])
            )
            for peak, _ in self.groups
        ]
        for optimizer, (_, variables) in zip(self.optimizers, self.groups):
            optimizer.build(variables)
        self.num_done = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.losses = tf.Variable(tf.zeros([num_steps]), trainable=False)

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "layers": self.groups[0][1],
            "head": self.groups[1][1],
            "optimizers": self.optimizers,
            "num_done": self.num_done,
            "losses": self.losses,
        }

    def take_step(self, number: int) -> None:
        """Step `number` of the training, from 0; it calls `finish_step`."""
        raise NotImplementedError

    def finish_step(self, loss: tf.Tensor, gradients: Any) -> None:
        """Move the weights, and keep the loss.

        Args:
            loss: a scalar.
            gradients: of the variables of both groups, in their order.
        """
        for optimizer, found, (_, variables) in zip(self.optimizers, gradients, self.groups):
            optimizer.apply_gradients(zip(found, variables))
        self.losses.scatter_nd_update([[self.num_done]], [loss])
        self.num_done.assign_add(1)

    def run(
        self,
        checkpoint: TuningCheckpoint | None,
        checkpoint_every: int,
        advance: Callable[[int], Any] | None,
    ) -> list[float]:
        """Take the steps that `checkpoint` does not hold yet; the loss of each step."""
        if checkpoint is not None:
            checkpoint.restore(**self.state)
        advance = advance or (lambda steps: None)
        done, seed = int(self.num_done), self.settings["seed"]
        if done:
            advance(done)
        with (
            step_dropout(self.model, seed, self.num_done),
            step_dropout(self.head, ~seed, self.num_done),
        ):
            for number in range(done, self.num_steps):
                self.take_step(number)
                last = number + 1 == self.num_steps
                if checkpoint and (last or (number + 1) % checkpoint_every == 0):
                    checkpoint.save(number + 1)
                advance(1)
        return self.losses.numpy().tolist()


def check_num_layers(num_layers: int | None, of: int) -> None:
    """Raises a ValueError unless `num_layers` is None or within 1 to `of`."""
    if num_layers is not None and not 1 <= num_layers <= of:
        raise ValueError(
            f"`num_layers` must be None or within 1 to {of}, the encoder's layers. "
            f"Received: num_layers={num_layers!r}."
        )
