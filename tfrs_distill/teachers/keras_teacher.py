"""Any Keras model as a teacher."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.hidden_representations import recorded


class KerasTeacher:
    """A `tf.keras.Model` that gives logits, asked in inference mode and never changed.

    The model is called with the batch's column `columns.INPUTS`, or with the whole batch where it
    has no such column. The columns of its logits must be the student's candidates, in their order.

    Args:
        model: gives logits, float [num_rows, num_candidates].
    """

    def __init__(self, model: tf.keras.Model) -> None:
        self.model = model

    def logits(self, batch: dict[str, Any], candidate_ids: tf.Tensor) -> tf.Tensor:
        """What the model says, float32 [num_rows, num_candidates]."""
        return tf.cast(self._answer(batch), tf.float32)

    def hidden_representations(self, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        """Outputs of the model's layers by path."""
        with recorded(self.model) as hidden:
            self._answer(batch)
        return hidden

    def _answer(self, batch: dict[str, Any]) -> tf.Tensor:
        return self.model(batch.get(columns.INPUTS, batch), training=False)
