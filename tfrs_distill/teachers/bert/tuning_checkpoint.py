"""The state of an interrupted fine-tuning on disk, and whose state it is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrs_distill.errors import InputError
from tfrs_distill.files import whole_file


class TuningCheckpoint:
    """Keeps one training's variables in a folder, always a whole state of one step.

    A new state is written beside the old one, which is removed only when the new one is complete
    and named in the folder's `checkpoint` file: a kill at any time leaves one to go on from.

    Args:
        folder: where the states are kept; it is made where it does not exist.
        training: what the training is of, as JSON values; states of another are refused.

    Raises:
        InputError: the folder holds the state of another training.
    """

    def __init__(self, folder: str | os.PathLike[str], training: dict[str, Any]) -> None:
        self.folder = Path(folder)
        self._path, self._training = self.folder / "training.json", training
        if self._path.exists():
            _check_same(self._path, json.loads(json.dumps(training)))

    def restore(self, **state: Any) -> None:
        """Give trackable objects the values of the last whole state, where there is one.

        Args:
            state: lists of variables, and optimizers whose variables are built.

        Raises:
            InputError: the state is damaged: TensorFlow's own checksums do not fit.
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
            with whole_file(self._path, "w") as file:
                json.dump(self._training, file, indent=1)

    def save(self, step: int) -> None:
        """Write the values that the restored objects have now."""
        self._manager.save(checkpoint_number=step)


def _check_same(path: Path, training: dict[str, Any]) -> None:
    try:
        kept = json.loads(path.read_text())
    except ValueError as error:  # bad JSON, or bytes that are no UTF-8
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
            "arguments and a freshly loaded encoder to go on, or another folder to start anew."
        )
