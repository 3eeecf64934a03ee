"""What a student's forward pass gives to the losses."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfrs_distill.models.candidates import CandidateSet


class StudentOutputs(NamedTuple):
    """What a forward pass gives; rows are the examples, or positions, that the loss is a mean of.

    Args:
        logits: float32 [num_rows, num_candidates], corrected, masked and chosen as `candidates`
            says; over a catalogue, column j is item j + 1.
        candidates: what the columns of the logits are.
        query_embeddings: float32 [num_rows, dim]; None where the student has no towers.
        candidate_embeddings: float32 [num_candidates, dim]; None where the student has no towers.
        hidden_representations: outputs of layers by their path, for those losses that ask for it.
    """

    logits: tf.Tensor
    candidates: CandidateSet
    query_embeddings: tf.Tensor | None = None
    candidate_embeddings: tf.Tensor | None = None
    hidden_representations: dict[str, tf.Tensor] = {}
