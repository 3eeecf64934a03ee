"""The heads of several tasks on one vector a row."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tfrs_distill.models.tasks import RankingTask


class TaskHeads(tf.keras.layers.Layer):
    """Dropout, then each task's own head: [n, text_dim] to float32 [n, width] by task.

    Args:
        tasks: ranking tasks.
        dropout: dropped share of what all heads read.
        seed: int or None; fixes initial weights.
    """

    def __init__(self, tasks: Sequence[RankingTask], dropout: float, seed: int | None) -> None:
        super().__init__()
        self.dropout = tf.keras.layers.Dropout(dropout)
        self.of_task = {
            task.name: task.head(None if seed is None else seed + place, None)
            for place, task in enumerate(tasks)
        }

    def call(self, pooled: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Logits of pooled texts."""
        kept = self.dropout(pooled, training=training)
        return {name: tf.cast(head(kept), tf.float32) for name, head in self.of_task.items()}
