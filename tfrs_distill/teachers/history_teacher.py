"""The base of closed-form teachers: logits depend on a row's history alone."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.teachers.bert.text_pairs import row_histories


class HistoryTeacher:
    """A teacher that reads only a row's history.

    A subclass has `logits_after` and `fingerprint`.

    Args:
        num_items: number of items in the catalogue.
        settings: the class's arguments besides the windows, including `decay`.
    """

    def __init__(self, num_items: int, settings: dict[str, Any]) -> None:
        self.num_items, self.settings = num_items, settings

    @property
    def decay(self) -> float | None:
        """In number of items; None if all items of a history have equal weight."""
        decay: float | None = self.settings["decay"]
        return decay

    @property
    def num_parameters(self) -> int:
        """Number of fitted parameters, without padding."""
        raise NotImplementedError

    def logits(self, batch: dict[str, tf.Tensor], candidate_ids: tf.Tensor) -> tf.Tensor:
        """Scores at the batch's rows, float32 [num_rows, num_candidates]."""
        return self.logits_after(row_histories(batch), candidate_ids)

    def logits_after(self, histories: tf.Tensor, candidate_ids: tf.Tensor) -> tf.Tensor:
        """Scores after each history, float32 [num_rows, num_candidates].

        Args:
            histories: int32 [num_rows, any length], item indices, oldest first; padded with 0 in
                front or at the end.
            candidate_ids: int32 [num_candidates].
        """
        raise NotImplementedError

    def fingerprint(self) -> str:
        """sha256 of everything that decides the logits."""
        raise NotImplementedError


def check_decay(decay: float | None) -> None:
    """Raise a `ValueError` if a history's decay is not above 0."""
    if decay is not None and not 0 < decay < math.inf:
        raise ValueError(f"`decay` must be finite and above 0, or None. Received: {decay!r}.")


def check_l2(l2: float) -> None:
    """Raise a `ValueError` if a regularisation is not above 0."""
    if not 0 < l2 < math.inf:
        raise ValueError(f"`l2` must be finite and greater than 0. Received: l2={l2!r}.")


def recency(histories: tf.Tensor, decay: float | None) -> tf.Tensor:
    """Return the weight of each place in a history: `exp(-age / decay)`, [num_rows, length].

    The type is float32. An item's age is the number of later items. Without a decay all items have
    weight 1; padding has weight 0.

    Example:
    >>> recency(tf.constant([[0, 4, 5, 0]]), 1.4426950).numpy().round(3).tolist()  # halves
    [[0.0, 0.5, 1.0, 0.0]]
    """
    there = tf.cast(histories > columns.PADDING, tf.float32)
    if decay is None:
        return there
    later = tf.cumsum(there, axis=1, exclusive=True, reverse=True)
    return there * tf.exp(-later / decay)


def recency_at_positions(
    history: tf.Tensor, decay: float | None, dtype: tf.DType = tf.float32
) -> tf.Tensor:
    """Return the weight of each place at each position: [batch_size, length, length].

    The entry at (window, position, place) is `recency` of the place in the history that ends at the
    position. It is 0 for later places, for padding, and for a place whose item occurs again later,
    up to the position.

    Args:
        history: int32 [batch_size, length], item indices, oldest first; 0 is padding.
        decay: in number of items; None for equal weights.
        dtype: type of the result.

    Example:
    >>> recency_at_positions(tf.constant([[4, 5, 4]]), None).numpy().tolist()
    [[[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]]
    """
    places = tf.range(tf.shape(history)[1])
    number = tf.cumsum(tf.cast(history > columns.PADDING, dtype), axis=1)
    ages = number[:, :, None] - number[:, None, :]
    same = history[:, :, None] == history[:, None, :]
    later = places[:, None] < places  # [place, other place]
    again = tf.where(same & later, places, tf.size(places))
    until = tf.reduce_min(again, axis=2)  # the next place of the same item, or the end
    counts = (places[:, None] >= places) & (places[:, None] < until[:, None, :])
    counts &= (history > columns.PADDING)[:, None, :]
    weights = tf.ones_like(ages) if decay is None else tf.exp(-ages / decay)
    return tf.where(counts, weights, tf.zeros([], dtype))
