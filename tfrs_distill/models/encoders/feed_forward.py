"""The position-wise feed-forward block of the history encoders."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill.models.seeded import seeded


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class FeedForward(tf.keras.layers.Layer):
    """Residual two-layer perceptron: `x + W2 gelu(W1 norm(x))`, `norm` a layer normalisation.

    Args:
        embedding_dim: width of the input and the output.
        hidden_units: hidden width; None for twice `embedding_dim`.
        dropout: share of hidden units dropped in training.
        rank: rank of `W1` and `W2`, each then a product of two narrow matrices; None for full
            matrices.
        seed: int or None; fixes initial weights and dropout.
    """

    def __init__(
        self,
        embedding_dim: int,
        *,
        hidden_units: int | None = None,
        dropout: float = 0.0,
        rank: int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.embedding_dim = embedding_dim
        self.hidden_units = 2 * embedding_dim if hidden_units is None else hidden_units
        self.dropout_rate, self.rank, self.seed = dropout, rank, seed
        policy = self.dtype_policy
        self.norm = tf.keras.layers.LayerNormalization(epsilon=1e-6, dtype=policy, name="norm")
        if rank is not None:
            self.into_hidden = self._narrow(rank, 4, "into_hidden")
        self.hidden = tf.keras.layers.Dense(
            self.hidden_units,
            activation="gelu",
            name="hidden",
            dtype=policy,
            kernel_initializer=seeded("glorot_uniform", seed, 1),
        )
        self.dropout = tf.keras.layers.Dropout(
            dropout, seed=None if seed is None else seed + 2, dtype=policy, name="dropout"
        )
        if rank is not None:
            self.into_out = self._narrow(rank, 5, "into_out")
        self.out = tf.keras.layers.Dense(
            embedding_dim,
            kernel_initializer=seeded("glorot_uniform", seed, 3),
            dtype=policy,
            name="out",
        )

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """`[..., embedding_dim]` to the same shape."""
        # Always flattened to two axes: Keras' LayerNormalization fixes its axis at the first call,
        # and a Dense on two axes is one plain matrix product in a `.tflite` file.
        rows = inputs
        if inputs.shape.rank != 2:
            rows = tf.reshape(inputs, [-1, self.embedding_dim])
        outputs = self.norm(rows)
        if self.rank is not None:
            outputs = self.into_hidden(outputs)
        outputs = self.dropout(self.hidden(outputs), training=training)
        if self.rank is not None:
            outputs = self.into_out(outputs)
        outputs = self.out(outputs)
        return inputs + (outputs if rows is inputs else tf.reshape(outputs, tf.shape(inputs)))

    @property
    def hidden_reader(self) -> tf.keras.layers.Dense:
        """The layer that reads the hidden units."""
        return self.out if self.rank is None else self.into_out

    def _narrow(self, rank: int, offset: int, name: str) -> tf.keras.layers.Dense:
        initializer = seeded("glorot_uniform", self.seed, offset)
        return tf.keras.layers.Dense(
            rank,
            use_bias=False,
            kernel_initializer=initializer,
            dtype=self.dtype_policy,
            name=name,
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal layer."""
        return super().get_config() | {
            "embedding_dim": self.embedding_dim,
            "hidden_units": self.hidden_units,
            "dropout": self.dropout_rate,
            "seed": self.seed,
            **({} if self.rank is None else {"rank": self.rank}),
        }
