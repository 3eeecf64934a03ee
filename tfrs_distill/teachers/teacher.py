"""The contract of a teacher."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import tensorflow as tf


@runtime_checkable
class Teacher(Protocol):
    """A model whose logits are a student's soft targets; it is not trained during distillation.

    A `Distiller` needs only `logits`, and `hidden_representations(batch)` for losses between
    layers. A teacher cache needs `fingerprint` and, to store embeddings, `encode_queries` and
    `encode_candidates`, whose dot products are the logits. Two more methods are for teachers that
    need inputs that are not in batches: `scores(histories, candidate_lists)` if it reads pairs,
    such as `BertCrossEncoder`, and `row_logits(examples)` if it reads texts or whole lists, such
    as `BertTextRanker` and `ListTeacher`.
    """

    def encode_queries(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """Query embeddings, `[batch_size, max_history, teacher_dim]`."""

    def encode_candidates(self, items: tf.Tensor) -> tf.Tensor:
        """Candidate embeddings of item indices, `[num_candidates, teacher_dim]`."""

    def logits(
        self, batch: dict[str, tf.Tensor], candidate_ids: tf.Tensor | None
    ) -> tf.Tensor | dict[str, tf.Tensor]:
        """Logits of the candidates at the rows, `[num_rows, num_candidates]`; or a dict by task.

        Args:
            batch: the batch's columns.
            candidate_ids: `[num_candidates]`; None if a row is a (query, item) pair.
        """

    def fingerprint(self) -> str:
        """sha256 of everything that decides the logits: configuration and weights."""
