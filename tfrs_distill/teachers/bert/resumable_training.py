"""Resumable training: after an interruption it has the same result as without one."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrs_distill.errors import InputError
from tfrs_distill.files import write_json
from tfrs_distill.teachers.bert.linear_warmup_decay import LinearWarmupDecay

Groups = Sequence[tuple[float, list[tf.Variable]]]  # peaks of the learning rate, and weights


class ResumableTraining:
    """Training with Adam; each group's learning rate has linear warm-up and linear decay.

    A subclass defines a step in `take_step`.

    Args:
        groups: the trained weights, with their peak learning rates.
        dropouts: modules and the seeds of their dropout.
        num_steps: number of steps of the whole training.
        warmup_share: share of the steps that are warm-up.
        weight_decay: Adam's decoupled decay of the matrices, by group.
    """

    def __init__(
        self,
        groups: Groups,
        dropouts: Sequence[tuple[tf.Module, int]],
        *,
        num_steps: int,
        warmup_share: float,
        weight_decay: Sequence[float] | None = None,
    ) -> None:
        self.groups, self.dropouts, self.num_steps = list(groups), dropouts, num_steps
        self.optimizers = [
            _adam(
                LinearWarmupDecay(peak, num_steps=num_steps, warmup_share=warmup_share),
                variables,
                0.0 if weight_decay is None else weight_decay[number],
            )
            for number, (peak, variables) in enumerate(groups)
        ]
        self.num_done = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.losses = tf.Variable(tf.zeros([num_steps]), trainable=False)

    @property
    def variables(self) -> list[tf.Variable]:
        """All trained variables, in the order of the groups."""
        return [variable for _, variables in self.groups for variable in variables]

    def take_step(self, number: int) -> None:
        """Take step `number`, from 0; calls `finish_step`."""
        raise NotImplementedError

    def finish_step(self, loss: tf.Tensor, gradients: Sequence[Any]) -> None:
        """Apply the gradients of `variables`, and store the loss."""
        left = iter(gradients)
        for optimizer, (_, variables) in zip(self.optimizers, self.groups):
            optimizer.apply_gradients([(next(left), variable) for variable in variables])
        self.losses.scatter_nd_update([[self.num_done]], [loss])
        self.num_done.assign_add(1)

    def run(
        self,
        checkpoint: TuningCheckpoint | None,
        checkpoint_every: int,
        advance: Callable[[int], Any] | None,
    ) -> list[float]:
        """Take the steps that are not yet in `checkpoint`; return the loss of each step."""
        if checkpoint is not None:
            checkpoint.restore(
                variables=self.variables,
                optimizers=self.optimizers,
                num_done=self.num_done,
                losses=self.losses,
            )
        advance = advance or (lambda steps: None)
        done = int(self.num_done)
        if done:
            advance(done)
        with contextlib.ExitStack() as stack:
            for module, seed in self.dropouts:
                stack.enter_context(step_dropout(module, seed, self.num_done))
            for number in range(done, self.num_steps):
                self.take_step(number)
                last = number + 1 == self.num_steps
                if checkpoint and (last or (number + 1) % checkpoint_every == 0):
                    checkpoint.save(number + 1)
                advance(1)
        return self.losses.numpy().tolist()


def _adam(
    schedule: LinearWarmupDecay, variables: list[tf.Variable], weight_decay: float
) -> tf.keras.optimizers.Adam:
    optimizer = tf.keras.optimizers.Adam(schedule, weight_decay=weight_decay or None)
    if weight_decay:
        optimizer.exclude_from_weight_decay([v for v in variables if v.shape.rank < 2])
    optimizer.build(variables)
    return optimizer


class TuningCheckpoint:
    """Stores one training's variables in a folder, always the complete state of one step.

    A new state is written next to the old one, which is removed only when the new one is complete
    and named in the folder's `checkpoint` file: if the process is killed, a complete state exists.

    Args:
        folder: the folder of the states, created if it does not exist.
        training: a description of the training, as JSON values; states of another training are
            rejected.

    Raises:
        InputError: the folder has the state of another training.
    """

    def __init__(self, folder: str | os.PathLike[str], training: dict[str, Any]) -> None:
        self.folder = Path(folder)
        self._path, self._training = self.folder / "training.json", training
        if self._path.exists():
            _check_same(self._path, json.loads(json.dumps(training)))

    def restore(self, **state: Any) -> None:
        """Set trackable objects to the values of the last complete state, if there is one.

        Args:
            state: lists of variables, and optimizers whose variables are built.

        Raises:
            InputError: the state is damaged: TensorFlow's checksums do not match.
        """
        checkpoint = tf.train.Checkpoint(**state)
        self._manager = tf.train.CheckpointManager(checkpoint, self.folder, max_to_keep=1)
        if self._manager.latest_checkpoint:
            try:
                checkpoint.restore(self._manager.latest_checkpoint).assert_consumed()
            except (tf.errors.OpError, AssertionError, ValueError) as error:
                raise InputError(
                    f"The state of the training in {self.folder} is damaged "
                    f"({str(error).splitlines()[0][:200]}). Remove the folder to start anew."
                ) from error
        elif not self._path.exists():
            write_json(self._path, self._training)

    def save(self, step: int) -> None:
        """Write the current values of the restored objects."""
        self._manager.save(checkpoint_number=step)


def _check_same(path: Path, training: dict[str, Any]) -> None:
    try:
        kept = json.loads(path.read_text())
    except ValueError as error:  # bad JSON, or bytes that are not UTF-8
        raise InputError(
            f"{path} is damaged ({error}). Remove the folder to start anew."
        ) from error
    other = sorted(name for name in training | kept if training.get(name) != kept.get(name))
    if other:
        differences = ", ".join(
            f"{name} was {kept.get(name)!r} and is {training.get(name)!r}" for name in other
        )
        raise InputError(
            f"{path.parent} holds the state of another training: {differences}. Give the same "
            "arguments and a freshly loaded encoder to continue, or another folder to start anew."
        )


@contextlib.contextmanager
def step_dropout(module: tf.Module, seed: int, step: tf.Variable) -> Iterator[None]:
    """Draw a module's dropout from `(seed, place of the layer, step)` inside the block.

    Keras' draws depend on the number of calls of a layer since the start of the process, which is
    not in checkpoints. Graphs traced inside the block keep these draws. The caller increments
    `step`, int64.
    """
    layers = [part for part in module.submodules if isinstance(part, tf.keras.layers.Dropout)]
    for place, layer in enumerate(layers):
        layer.call = _drawn(layer, tf.constant([seed, place], tf.int64), step)
    try:
        yield
    finally:
        for layer in layers:
            del layer.call


def _drawn(
    layer: tf.keras.layers.Dropout, seed: tf.Tensor, step: tf.Variable
) -> Callable[..., tf.Tensor]:
    def call(inputs: tf.Tensor, training: Any = None) -> tf.Tensor:
        if not training or not layer.rate:
            return tf.identity(inputs)
        here = tf.random.experimental.stateless_fold_in(seed, step)
        return tf.nn.experimental.stateless_dropout(
            inputs, layer.rate, here, noise_shape=layer.noise_shape
        )

    return call
