"""The outputs of a student's forward pass, for the losses."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfrs_distill.models.candidates import CandidateSet


class Head(NamedTuple):
    """A student's logits for one task; one value of the loss belongs to a row.

    Args:
        logits: float32 [num_rows, width]. Logits of candidates are corrected, masked and chosen
            by `candidates`; over a catalogue, column j is item j + 1.
        candidates: those of the logits' columns; None if the columns are not candidates.
    """

    logits: tf.Tensor
    candidates: CandidateSet | None = None


class StudentOutputs(NamedTuple):
    """The outputs of a forward pass.

    Args:
        heads: by task.
        hidden_representations: outputs of layers by their path, for those losses that read
            them; `query_embeddings` and `candidate_embeddings` of a student of two towers.
    """

    heads: dict[str, Head]
    hidden_representations: dict[str, tf.Tensor] = {}

    @property
    def logits(self) -> tf.Tensor:
        """The logits of a student of one task."""
        return self.only.logits

    @property
    def candidates(self) -> CandidateSet | None:
        """The candidates of a student of one task."""
        return self.only.candidates

    @property
    def only(self) -> Head:
        """The head of a student of one task."""
        (head,) = self.heads.values()
        return head

    @property
    def num_rows(self) -> tf.Tensor:
        """How many rows there are, int32."""
        return tf.shape(next(iter(self.heads.values())).logits)[0]
