"""The contract of a teacher."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import tensorflow as tf


@runtime_checkable
class Teacher(Protocol):
    """A model whose logits a student learns from; it never trains while it teaches.

    A `Distiller` needs `logits` alone, and `hidden_representations(batch)` for losses between
    layers; a teacher cache needs `fingerprint` and, to keep embeddings, `encode_queries` and
    `encode_candidates`, whose dot product the logits are. Two more methods serve teachers that need
    what no batch holds: `scores(histories, candidate_lists)` of one that reads each pair, such as
    `BertCrossEncoder`, and `row_logits(examples)` of one that reads texts or whole lists, such as
    `BertTextRanker` and `ListTeacher`.
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
            candidate_ids: `[num_candidates]`; None where a row is a (query, item) pair.
        """

    def fingerprint(self) -> str:
        """sha256 of everything that decides the logits: configuration and weights."""
