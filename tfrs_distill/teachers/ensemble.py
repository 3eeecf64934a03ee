"""Several teachers that answer with one voice."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf


class Ensemble:
    """The weighted mean of several teachers' probabilities, as logits.

    `logits = log sum_k w_k softmax(logits_k)` over the candidates asked for, with weights that sum
    to 1. Members answer by `logits` alone, so two-towers, item-item weights, re-rankers and arrays
    mix. Each counts by its probabilities: one whose logits are on a small scale (the scores of an
    `ItemItemTeacher`) says almost the same of every item and changes nothing, one on a large scale
    outshouts the rest. Wrap such members in `Calibrated` first, at the temperature that
    `fit_temperature` finds.

    Args:
        teachers: two or more teachers that answer `logits(batch, candidate_ids)`.
        weights: one number above 0 a teacher; equal by default. Only proportions count.

    Raises:
        ValueError: fewer than two teachers, or weights that do not fit them.

    Example:
    >>> class Said:
    ...     def __init__(self, logits): self.said = tf.constant(logits)
    ...     def logits(self, batch, candidate_ids): return self.said
    >>> both = Ensemble([Said([[0.0, 0.0]]), Said([[1.0986123, 0.0]])])  # 1/2, 1/2 and 3/4, 1/4
    >>> tf.nn.softmax(both.logits({}, tf.range(2))).numpy().round(3).tolist()
    [[0.625, 0.375]]
    """

    def __init__(self, teachers: Sequence[Any], weights: Sequence[float] | None = None) -> None:
        weights = [1.0] * len(teachers) if weights is None else list(weights)
        if len(teachers) < 2 or len(weights) != len(teachers):
            raise ValueError(
                "An ensemble needs at least two teachers and one weight for each. Received: "
                f"{len(teachers)} teachers, {len(weights)} weights."
            )
        if not all(0 < weight < math.inf for weight in weights):
            raise ValueError(f"`weights` must be finite and above 0. Received: {weights!r}.")
        self.teachers = list(teachers)
        self.weights = [weight / sum(weights) for weight in weights]

    def logits(self, batch: dict[str, tf.Tensor], candidate_ids: tf.Tensor) -> tf.Tensor:
        """Log-probabilities among the candidates, float32 [num_rows, num_candidates]."""
        said = [
            tf.nn.log_softmax(tf.cast(teacher.logits(batch, candidate_ids), tf.float32))
            + math.log(weight)
            for teacher, weight in zip(self.teachers, self.weights)
        ]
        return tf.reduce_logsumexp(tf.stack(said), axis=0)

    def fingerprint(self) -> str:
        """sha256 of the members' fingerprints and weights."""
        parts = [
            f"{teacher.fingerprint()} {weight!r}"
            for teacher, weight in zip(self.teachers, self.weights)
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
