"""What a teacher is: the questions a `Distiller` and a teacher cache ask it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import tensorflow as tf


@runtime_checkable
class Teacher(Protocol):
    """Anything that knows a lot and answers for a batch; it never trains while it teaches.

    A `Distiller` needs `logits` alone, and `hidden_representations(batch)` for losses between
    layers; a teacher cache needs the embeddings, whose dot product the logits are.
    """

    def encode_queries(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """Query embeddings, `[batch_size, max_history, teacher_dim]`."""

    def encode_candidates(self, items: tf.Tensor) -> tf.Tensor:
        """Candidate embeddings of item indices, `[num_candidates, teacher_dim]`."""

    def logits(
        self, batch: dict[str, tf.Tensor], candidate_ids: tf.Tensor | None
    ) -> tf.Tensor | dict[str, tf.Tensor]:
        """Scores of the candidates at the rows, `[num_rows, num_candidates]`; or a dict by task.

        Args:
            batch: the batch's columns.
            candidate_ids: `[num_candidates]`; None where a row is a (query, item) pair.
        """

    def fingerprint(self) -> str:
        """sha256 of everything that decides the answers: configuration and weights."""
