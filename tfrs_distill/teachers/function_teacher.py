"""A plain function as a teacher."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf


class FunctionTeacher:
    """A function of the batch and the candidates, in TensorFlow operations.

    Args:
        function: `function(batch, candidate_ids) -> logits [num_rows, num_candidates]`, or a dict
            of logits by task. `candidate_ids` is None if rows are (query, item) pairs. Precomputed
            logits can be a column: `lambda batch, _: batch["scores"]`.
        fingerprint: a text that identifies everything that decides the logits, such as
            `"clicks model, version 3"`. Only a teacher cache needs it: change it when the logits
            change.

    Example:
    >>> teacher = FunctionTeacher(lambda batch, _: batch["scores"], fingerprint="scores of May")
    >>> teacher.logits({"scores": [[0.5, -1.0]]}).numpy().tolist()
    [[0.5, -1.0]]
    """

    def __init__(
        self,
        function: Callable[[dict[str, Any], tf.Tensor | None], Any],
        fingerprint: str | None = None,
    ) -> None:
        self.function, self.name = function, fingerprint

    def logits(
        self, batch: dict[str, Any], candidate_ids: tf.Tensor | None = None
    ) -> tf.Tensor | dict[str, tf.Tensor]:
        """Logits, float32 [num_rows, num_candidates], or a dict of logits by task."""
        return in_float32(self.function(batch, candidate_ids))

    def fingerprint(self) -> str:
        """sha256 of the text that identifies the function.

        Raises:
            ValueError: none was given.
        """
        if not self.name:
            raise ValueError(
                "Two functions cannot be distinguished, so logits of a function cannot be cached. "
                "Give a text that names it and its version: "
                'FunctionTeacher(function, fingerprint="clicks model, version 3"). '
                f"Received: fingerprint={self.name!r}."
            )
        return hashlib.sha256(f"function {self.name}".encode()).hexdigest()


def in_float32(logits: Any) -> Any:
    """Convert logits, or those of each task, to float32; other values are left unchanged."""
    if isinstance(logits, Mapping):
        return {task: in_float32(of_task) for task, of_task in logits.items()}
    return logits if logits is None else tf.cast(logits, tf.float32)
