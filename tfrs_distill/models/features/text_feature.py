"""A short text as a feature: a bag of words and of pairs of words."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from tfrs_distill.models.features.feature import require_size
from tfrs_distill.models.features.table import TableFeature
from tfrs_distill.models.seeded import seeded

PADDING, UNKNOWN = 0, 1
LARGEST_INT = 2**31 - 1
GOLDEN = (math.sqrt(5) - 1) / 2


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class TextFeature(TableFeature):
    """The mean embedding of a text's words and, hashed, of its pairs of neighbouring words.

    `f(text) = (sum_i e(w_i) + sum_i b(hash(w_i, w_{i+1}))) / (num_words +
    num_pairs)`, with `hash(v, w) = (a v + w) mod
    num_bigram_buckets`, `a` from `pair_multiplier`, in 32 bits, as supported by `.tflite` files.
    Padding is ignored; a pair is used if both its words are known.

    Reference: [Joulin et al., 2017](https://arxiv.org/abs/1607.01759) (fastText).

    Args:
        column: int32 [num_rows, any length]: indices of words, 0 is padding, 1 an unknown word.
        num_words: the largest index; larger ones count as unknown, negative ones as padding.
        embedding_dim: width of the embeddings.
        side: `"query"` or `"item"`.
        num_bigram_buckets: rows of the pairs' table; 0 for no pairs.
        dropout: share of words and of pairs dropped in training.
        seed: int or None; fixes initial weights and dropout.
        table: the layer with the embeddings of words, then of pairs,
            `num_words + 1 + num_bigram_buckets` rows; None for a new one.
        name: name of the feature; the column's name by default.

    Raises:
        ValueError: a size is below 1 (below 0 for the buckets), or the side is not one of these.

    Example:
    >>> feature = TextFeature("words", num_words=50, embedding_dim=3, side="item")
    >>> feature({"words": tf.constant([[7, 9, 0], [0, 0, 0]])}).shape.as_list()
    [2, 3]
    """

    def __init__(
        self,
        column: str,
        num_words: int,
        embedding_dim: int,
        side: str,
        num_bigram_buckets: int = 0,
        *,
        dropout: float = 0.0,
        seed: int | None = None,
        table: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        require_size("num_words", num_words)
        require_size("embedding_dim", embedding_dim)
        if num_bigram_buckets:
            require_size("num_bigram_buckets", num_bigram_buckets)
        super().__init__(
            side,
            num_words + 1 + num_bigram_buckets,
            embedding_dim,
            table,
            seeded("uniform", seed, 60),
            name=name or column,
            **kwargs,
        )
        if num_bigram_buckets:
            self.multiplier = pair_multiplier(num_words, num_bigram_buckets)
        self.column, self.num_words = column, num_words
        self.num_bigram_buckets = num_bigram_buckets
        self.dropout_rate, self.seed = dropout, seed
        self.dropout = tf.keras.layers.Dropout(
            dropout, seed=None if seed is None else seed + 61, name="dropout"
        )

    @property
    def column_specs(self) -> dict[str, tf.TensorSpec]:
        """The words' column."""
        return {self.column: tf.TensorSpec([None, None], tf.int32)}

    def call(self, batch: dict[str, tf.Tensor], training: bool | None = None) -> tf.Tensor:
        """The rows' mean embeddings, float [num_rows, embedding_dim]; 0 for an empty text."""
        words = tf.cast(batch[self.column], tf.int32)
        words = tf.where(words > self.num_words, UNKNOWN, tf.maximum(words, PADDING))
        rows, present = words, words > PADDING
        if self.num_bigram_buckets:
            first, second = words[:, :-1], words[:, 1:]
            hashed = tf.math.floormod(first * self.multiplier + second, self.num_bigram_buckets)
            rows = tf.concat([words, hashed + self.num_words + 1], axis=1)
            known = (first > UNKNOWN) & (second > UNKNOWN)
            present = tf.concat([present, known], axis=1)
        weights = tf.cast(
            self.dropout(tf.cast(present, tf.float32), training=training) > 0, "float32"
        )
        # Not `[..., None]`, which LiteRT does not support with two unknown sizes.
        weights = tf.expand_dims(tf.cast(weights, self.compute_dtype), -1)
        summed = tf.reduce_sum(self._looked_up(rows) * weights, axis=1)
        return tf.math.divide_no_nan(summed, tf.reduce_sum(weights, axis=1))

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal layer."""
        return super().get_config() | {
            "column": self.column,
            "num_words": self.num_words,
            "side": self.side,
            "num_bigram_buckets": self.num_bigram_buckets,
            "dropout": self.dropout_rate,
            "seed": self.seed,
        }


def pair_multiplier(num_words: int, num_buckets: int) -> int:
    """Return the multiplier of a pair's first word, before the second is added.

    It is the golden section of the number of buckets, which spreads pairs of small indices
    (frequent words) over all buckets; or less, so that no pair exceeds 32 bits and there is no
    common divisor with the number of buckets.

    Example:
    >>> pair_multiplier(num_words=5_000, num_buckets=1_000)
    617
    """
    multiplier = min(round(GOLDEN * num_buckets), LARGEST_INT // num_words - 1)
    while math.gcd(multiplier, num_buckets) > 1:
        multiplier -= 1
    return max(multiplier, 1)
