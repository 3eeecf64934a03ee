"""A tower for short texts, small enough for a phone: an average of word pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.columns import PADDING
from tfrs_distill.models.seeded import seeded


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class TextTower(tf.keras.layers.Layer):
    """The embedding of a text from its word pieces.

    `h = sum_i w(p_i) e(p_i) / sum_i w(p_i)` over the pieces that are not padding, with an embedding
    `e(p)` and a weight `w(p) = exp(log_weight_p)` of every piece; then
    `text = W2 gelu(W1 h + b) + W3 h + c`. The weights start at 1; training lowers those of
    uninformative pieces.

    Args:
        num_pieces: the largest index of a piece; 0 is padding.
        dim: width of the output.
        piece_dim: width of the pieces' embeddings.
        hidden_dim: width of the hidden layer.
        trains_pieces: whether the pieces' embeddings are trained; False if they are given by
            `set_piece_vectors`.
        dropout: share of a text's pieces dropped in training.
        seed: int or None; fixes initial weights and dropout.

    Example:
    >>> tower = TextTower(num_pieces=50, dim=3)
    >>> tower(tf.constant([[7, 9, 0], [0, 0, 0]])).shape.as_list()
    [2, 3]
    """

    def __init__(
        self,
        num_pieces: int,
        dim: int,
        *,
        piece_dim: int = 8,
        hidden_dim: int = 8,
        trains_pieces: bool = True,
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.num_pieces, self.dim, self.piece_dim = num_pieces, dim, piece_dim
        self.hidden_dim, self.trains_pieces = hidden_dim, trains_pieces
        self.dropout_rate, self.seed = dropout, seed
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=[num_pieces + 1, piece_dim],
            initializer=seeded("uniform", seed, 80),
            trainable=trains_pieces,
        )
        self.log_weights = self.add_weight(
            name="log_weights", shape=[num_pieces + 1], initializer="zeros"
        )
        policy = self.dtype_policy
        self.dropout = tf.keras.layers.Dropout(
            dropout, seed=None if seed is None else seed + 81, dtype=policy, name="dropout"
        )
        self.hidden = tf.keras.layers.Dense(
            hidden_dim,
            activation="gelu",
            kernel_initializer=seeded("glorot_uniform", seed, 82),
            dtype=policy,
            name="hidden",
        )
        self.out = tf.keras.layers.Dense(
            dim,
            use_bias=False,
            kernel_initializer=seeded("glorot_uniform", seed, 83),
            dtype=policy,
            name="out",
        )
        self.linear = tf.keras.layers.Dense(
            dim, kernel_initializer=seeded("glorot_uniform", seed, 84), dtype=policy, name="linear"
        )

    def set_piece_vectors(self, vectors: np.ndarray) -> None:
        """Replace the pieces' embeddings by float [num_pieces + 1, piece_dim], padding's first.

        Raises:
            ValueError: the shape is another one, or a value is not finite.
        """
        shape = (self.num_pieces + 1, self.piece_dim)
        if vectors.shape != shape or not np.isfinite(vectors).all():
            raise ValueError(
                f"`piece_vectors` must be finite, of shape {shape}. Received: shape "
                f"{vectors.shape}{'' if np.isfinite(vectors).all() else ', not finite'}."
            )
        self.embeddings.assign(vectors)

    def call(self, pieces: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Embeddings of texts: int32 `[num_texts, any length]` to float `[num_texts, dim]`."""
        present = tf.cast(pieces > PADDING, tf.float32)
        kept = tf.cast(self.dropout(present, training=training) > 0, tf.float32)
        weights = kept * tf.gather(tf.exp(tf.cast(self.log_weights, tf.float32)), pieces)
        weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=1, keepdims=True))
        embeddings = tf.cast(tf.gather(self.embeddings, pieces), self.compute_dtype)
        weights = tf.cast(tf.expand_dims(weights, 1), self.compute_dtype)
        return self._of_average(tf.squeeze(tf.matmul(weights, embeddings), axis=1))

    def weighted_embeddings(self) -> np.ndarray:
        """The table of pieces for serving: float32 [num_pieces + 1, piece_dim + 1].

        A row is `[w(p) e(p), w(p)]`; the row of padding is 0.
        """
        weights = np.exp(self.log_weights.numpy())[:, None]
        table = np.concatenate([weights * self.embeddings.numpy(), weights], axis=1)
        table[PADDING] = 0.0
        return np.asarray(table, np.float32)

    def embed(self, rows: tf.Tensor) -> tf.Tensor:
        """Compute the same embeddings as `call`, from rows of `weighted_embeddings()`.

        Args:
            rows: the rows of the texts' pieces, float [num_texts, max_pieces, piece_dim + 1].
        """
        sums = tf.reduce_sum(rows, axis=1)
        average = tf.math.divide_no_nan(sums[:, :-1], sums[:, -1:])
        return self._of_average(tf.cast(average, self.compute_dtype))

    def _of_average(self, average: tf.Tensor) -> tf.Tensor:
        return self.out(self.hidden(average)) + self.linear(average)

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal layer."""
        return super().get_config() | {
            "num_pieces": self.num_pieces,
            "dim": self.dim,
            "piece_dim": self.piece_dim,
            "hidden_dim": self.hidden_dim,
            "trains_pieces": self.trains_pieces,
            "dropout": self.dropout_rate,
            "seed": self.seed,
        }
