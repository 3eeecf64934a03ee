"""A plain function as a teacher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


class FunctionTeacher:
    """A function of the batch and the candidates, in TensorFlow operations.

    Args:
        function: `function(batch, candidate_ids) -> logits [num_rows, num_candidates]`. What the
            teacher said beforehand can stand in the batch: `lambda batch, _: batch["scores"]`.
    """

    def __init__(self, function: Callable[[dict[str, Any], tf.Tensor], tf.Tensor]) -> None:
        self.function = function

    def logits(self, batch: dict[str, Any], candidate_ids: tf.Tensor) -> tf.Tensor:
        """What the function says, float32 [num_rows, num_candidates]."""
        return tf.cast(self.function(batch, candidate_ids), tf.float32)
