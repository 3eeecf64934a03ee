"""Keras' model with checks: of the first batch, of arguments, and of a loss that becomes NaN."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.errors import DivergedError, InputError


class ChecksFirstBatch(tf.keras.Model):
    """A model that checks the first batch eagerly, before any weight changes, also under XLA.

    `fit`, `evaluate`, `train_on_batch` and `test_on_batch` call `check_batch` with their first
    batch; under `tf.distribute` with several replicas only `fit` and `evaluate` of a
    `tf.data.Dataset` do. A loss that becomes NaN or infinite later stops `fit`.
    """

    loss_name = "loss"  # the logged value that must be finite
    train_function: Callable[[Any], Any] | None

    def check_batch(self, data: Any) -> None:
        """Require that the model can be trained on a batch of eager tensors.

        Raises:
            ValueError: it cannot.
        """
        raise NotImplementedError

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as it was saved, optimizer state included."""
        self.compile(**tf.keras.utils.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Keras' `fit`.

        Raises:
            DivergedError: the loss became NaN or infinite; the message names the step.
            ValueError: the model cannot be trained on the first batch, or `class_weight` is given
                for batches that are dicts of columns.
        """
        data = args[0] if args else kwargs.get("x")
        if kwargs.get("class_weight") and isinstance(getattr(data, "element_spec", None), dict):
            raise InputError(
                "`class_weight` is for Keras' pairs of inputs and labels. These batches are dicts "
                f"of columns: weigh their rows by the column {columns.SAMPLE_WEIGHT!r}. "
                f"Received: class_weight={kwargs['class_weight']!r}."
            )
        self._await_check(data)
        try:
            args, kwargs = with_callback(args, kwargs, StopAtNaN(self.loss_name))
            return super().fit(*args, **kwargs)
        except Exception:
            self.train_function = None  # only partly traced: the next call builds a new one
            raise

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Keras' `evaluate`.

        Raises:
            ValueError: the model cannot be trained on such a batch as the first.
        """
        if not kwargs.get("_use_cached_eval_dataset"):  # validation inside `fit`
            self._await_check(args[0] if args else kwargs.get("x"))
        return super().evaluate(*args, **kwargs)

    def save(self, filepath: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """Save the model as one `.keras` file, as Keras does.

        Raises:
            InputError: `filepath` has another suffix.
        """
        if not os.fspath(filepath).endswith(".keras"):
            raise InputError(
                f"A {type(self).__name__} is saved as one file, whose name ends in .keras. "
                f"Received: {os.fspath(filepath)}. `td.export.export_artefact` writes a student's "
                "SavedModel for serving, and `save_weights` the weights alone."
            )
        super().save(filepath, *args, **kwargs)

    def make_train_function(self, force: bool = False) -> Callable[[Any], Any]:
        """Make Keras' step over an iterator, with a check of the first batch before it."""
        self.train_function = self._checking(super().make_train_function(force), trains=True)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Callable[[Any], Any]:
        """The same for evaluation."""
        self.test_function = self._checking(super().make_test_function(force))
        return self.test_function

    def _await_check(self, data: Any) -> None:
        self.is_checked = False
        if self.distribute_strategy.num_replicas_in_sync > 1:
            if isinstance(data, tf.data.Dataset):
                for batch in data.take(1):
                    self.check_batch(batch)
            self.is_checked = True

    def _checking(
        self, function: Callable[[Any], Any], trains: bool = False
    ) -> Callable[[Any], Any]:
        if hasattr(function, "checks_first_batch"):
            return function

        def checking(iterator: Any) -> Any:
            if not getattr(self, "is_checked", False) and isinstance(iterator, tf.data.Iterator):
                iterator = self._check_first(iterator)
                if trains and hasattr(self.optimizer, "build"):
                    # All weights exist now. A function that creates variables is traced twice.
                    self.optimizer.build(self.trainable_variables)
            return function(iterator)

        checking.checks_first_batch = True  # type: ignore[attr-defined]
        return checking

    def _check_first(self, iterator: tf.data.Iterator) -> tf.data.Iterator:
        """Check the first batch; return an iterator that begins with it again."""
        steps = 1 if self._steps_per_execution is None else int(self._steps_per_execution)
        batches = list(itertools.islice(iterator, steps))
        for batch in batches[:1]:
            self.check_batch(batch)
        self.is_checked = True
        again = tf.data.Dataset.from_generator(
            lambda: iter(batches), output_signature=iterator.element_spec
        )
        return iter(again)


CALLBACKS = 5  # their position among the arguments of `fit`


class StopAtNaN(tf.keras.callbacks.Callback):
    """Stops training when the loss is NaN or infinite; the error names the step.

    Args:
        loss_name: the logged value to check; a running mean, which stays NaN.
    """

    _supports_tf_logs = True  # otherwise Keras copies all logs of every batch

    def __init__(self, loss_name: str) -> None:
        super().__init__()
        self.loss_name = loss_name

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Raise a DivergedError if the loss is not finite."""
        value = float((logs or {}).get(self.loss_name, 0.0))
        if not math.isfinite(value):
            raise DivergedError(
                f"The {self.loss_name} became {value} in batch {batch + 1} of the epoch, after "
                f"{int(self.model.optimizer.iterations)} steps, and the weights are those of the "
                "last step. Either "
                "the model has diverged, and a lower learning rate or clipping helps, or the batch "
                "has values that cannot be learnt from: NaN or infinite inputs, labels that the "
                "task cannot have, or teacher logits that are not finite."
            )


def with_callback(
    args: tuple[Any, ...], kwargs: dict[str, Any], callback: tf.keras.callbacks.Callback
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of `fit` with one more callback, before the caller's."""
    by_position = len(args) > CALLBACKS
    given = (args[CALLBACKS] if by_position else kwargs.get("callbacks")) or []
    if isinstance(given, tf.keras.callbacks.CallbackList):
        given.append(callback)
        return args, kwargs
    callbacks = [callback, *(given if isinstance(given, (list, tuple)) else [given])]
    if by_position:
        return (*args[:CALLBACKS], callbacks, *args[CALLBACKS + 1 :]), kwargs
    return args, kwargs | {"callbacks": callbacks}
