"""A history encoder: self-attention with a bias for each item's age."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.models.encoders.feed_forward import FeedForward
from tfrs_distill.models.seeded import seeded


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class RecencyAttention(tf.keras.layers.Layer):
    """Causal self-attention with a learned bias for every distance, then a feed-forward.

    `logits_ij = q_i . k_j / sqrt(head_dim) + bias_{i-j}`. The bias starts at `-log(1 + i - j)`, so
    an untrained head is a decayed average, and training adds the dependence on content.

    With `reads_order=False` a position is a set: its query is the average of the items up to it
    instead of the latest item; every block attends to the items themselves instead of the outputs
    of the previous block; and the bias is 0 and not trained. So any order of the same items has the
    same output.

    Args:
        max_history: number of distances that have a bias.
        embedding_dim: width of the item embeddings; a multiple of `num_heads`.
        num_blocks: number of blocks of attention and feed-forward.
        num_heads: number of attention heads.
        kept_heads: for every block, the indices (from 0, ascending) of the heads that it keeps, the
            same number for each block. The width of a head stays `embedding_dim / num_heads`, and
            the entries of removed heads are 0. None keeps all.
        hidden_units: hidden units of each feed-forward; None for twice `embedding_dim`.
        rank: rank of the feed-forwards' matrices, see `FeedForward`; None for full matrices.
        dropout: dropped share of item embedding entries and of feed-forward units.
        reads_order: whether it uses the age of items; False if histories have no order.
        seed: int or None; fixes initial weights and dropout.

    Raises:
        ValueError: `num_heads` does not divide the width, or `kept_heads` is invalid.

    Example:
    >>> layer = RecencyAttention(8, 16, num_heads=4, kept_heads=[[0, 3]])
    >>> layer(tf.zeros([1, 8, 16]), tf.ones([1, 8], tf.bool)).shape.as_list()
    [1, 8, 16]
    """

    def __init__(
        self,
        max_history: int,
        embedding_dim: int,
        *,
        num_blocks: int = 1,
        num_heads: int = 2,
        kept_heads: Sequence[Sequence[int]] | None = None,
        hidden_units: int | None = None,
        rank: int | None = None,
        dropout: float = 0.0,
        reads_order: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if embedding_dim % num_heads:
            raise ValueError(
                "`embedding_dim` must be a multiple of `num_heads`. Received: "
                f"embedding_dim={embedding_dim}, num_heads={num_heads}."
            )
        self.kept_heads = _checked(kept_heads, num_blocks, num_heads)
        self.max_history, self.embedding_dim = max_history, embedding_dim
        self.hidden_units, self.rank = hidden_units, rank
        self.num_blocks, self.num_heads = num_blocks, num_heads
        self.num_kept = num_heads if kept_heads is None else len(self.kept_heads[0])
        self.dropout_rate, self.reads_order, self.seed = dropout, reads_order, seed
        ages = tf.range(max_history, dtype=tf.float32)
        log_decay = -tf.math.log1p(ages) if reads_order else tf.zeros_like(ages)
        self.distance_bias = self.add_weight(
            name="distance_bias",
            shape=[num_blocks, self.num_kept, max_history],
            initializer=lambda shape, dtype=None, **_: tf.broadcast_to(
                tf.cast(log_decay, dtype), shape
            ),
            trainable=reads_order,
        )
        self.dropout = tf.keras.layers.Dropout(
            dropout,
            seed=None if seed is None else seed + 10,
            dtype=self.dtype_policy,
            name="dropout",
        )
        width = self.num_kept * (embedding_dim // num_heads)
        self.blocks = []
        for block in range(num_blocks):
            base = None if seed is None else seed + 100 * (block + 1)
            self.blocks.append(
                (
                    tf.keras.layers.LayerNormalization(
                        epsilon=1e-6, dtype=self.dtype_policy, name=f"norm_{block}"
                    ),
                    self._dense(2 * width, base, 20, f"query_key_{block}"),
                    self._dense(width, base, 21, f"value_{block}"),
                    self._dense(embedding_dim, base, 22, f"project_{block}"),
                    FeedForward(
                        embedding_dim,
                        hidden_units=hidden_units,
                        rank=rank,
                        dropout=dropout,
                        seed=base,
                        dtype=self.dtype_policy,
                        name=f"feed_forward_{block}",
                    ),
                )
            )

        # Keras' `.keras` files skip layers in nested containers; a flat list is saved.
        self.block_layers = [layer for block in self.blocks for layer in block]

    def call(
        self, item_embeddings: tf.Tensor, mask: tf.Tensor, training: bool | None = None
    ) -> tf.Tensor:
        """Encode every position, by the contract of history encoders in `tfrs_distill.models`."""
        positions = tf.range(self.max_history)
        distance = positions[:, None] - positions[None, :]
        visible = (distance >= 0)[None, None] & mask[:, None, None, :]
        bias = tf.gather(self.distance_bias, tf.maximum(distance, 0), axis=-1)
        items = self.dropout(item_embeddings, training=training)
        outputs = items if self.reads_order else _averages_so_far(items, mask)
        for index, (norm, query_key, value, project, feed_forward) in enumerate(self.blocks):
            normed = norm(outputs)
            query, key = tf.split(self._heads(query_key(normed), 2), 2, axis=1)
            if not self.reads_order:
                normed = norm(items)
                _, key = tf.split(self._heads(query_key(normed), 2), 2, axis=1)
            logits = tf.matmul(query, key, transpose_b=True)
            logits *= (self.embedding_dim // self.num_heads) ** -0.5
            logits = tf.cast(logits, tf.float32) + tf.cast(bias[index], tf.float32)
            attention = tf.where(visible, tf.nn.softmax(tf.where(visible, logits, -1e9)), 0.0)
            attended = tf.matmul(tf.cast(attention, normed.dtype), self._heads(value(normed), 1))
            attended = tf.reshape(
                tf.transpose(attended, [0, 2, 1, 3]), [-1, self.max_history, value.units]
            )
            placed = self._placed(attended, index)
            outputs = placed if index == 0 else outputs + placed
            # The first projection reads only heads: it has no rows for removed heads.
            projected = project(attended if index == 0 else outputs)
            outputs = feed_forward(projected + outputs, training=training)
        return outputs

    def last(self, item_embeddings: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """The last position of `call(..., training=False)`, float [batch_size, dim]."""
        return self(item_embeddings, mask, training=False)[:, -1]

    def _dense(self, units: int, seed: int | None, offset: int, name: str) -> tf.keras.layers.Dense:
        initializer = seeded("glorot_uniform", seed, offset)
        return tf.keras.layers.Dense(
            units, kernel_initializer=initializer, dtype=self.dtype_policy, name=name
        )

    def _heads(self, inputs: tf.Tensor, groups: int) -> tf.Tensor:
        """`[b, n, groups * num_kept * head_dim]` to `[b, groups * num_kept, n, head_dim]`."""
        head_dim = self.embedding_dim // self.num_heads
        shape = [-1, self.max_history, groups * self.num_kept, head_dim]
        return tf.transpose(tf.reshape(inputs, shape), [0, 2, 1, 3])

    def _placed(self, attended: tf.Tensor, block: int) -> tf.Tensor:
        """Place the heads' outputs at their entries of the width; removed heads have 0."""
        if self.num_kept == self.num_heads:
            return attended
        entries = entries_of(self.kept_heads[block], self.embedding_dim // self.num_heads)
        places = np.full(self.embedding_dim, len(entries))  # the column of zeros
        places[entries] = np.arange(len(entries))
        return tf.gather(tf.pad(attended, [[0, 0], [0, 0], [0, 1]]), places, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal layer."""
        optional: dict[str, Any] = {"hidden_units": self.hidden_units, "rank": self.rank}
        if self.num_kept < self.num_heads:
            optional["kept_heads"] = [list(heads) for heads in self.kept_heads]
        return super().get_config() | {
            "max_history": self.max_history,
            "embedding_dim": self.embedding_dim,
            "num_blocks": self.num_blocks,
            "num_heads": self.num_heads,
            "dropout": self.dropout_rate,
            "reads_order": self.reads_order,
            "seed": self.seed,
            **{name: value for name, value in optional.items() if value is not None},
        }


def entries_of(heads: Sequence[int], head_dim: int) -> np.ndarray:
    """Return the entries of the width that some heads compute.

    Example:
    >>> entries_of([0, 2], head_dim=2).tolist()
    [0, 1, 4, 5]
    """
    return (np.asarray(heads)[:, None] * head_dim + np.arange(head_dim)).ravel()


def _checked(
    kept_heads: Sequence[Sequence[int]] | None, num_blocks: int, num_heads: int
) -> tuple[tuple[int, ...], ...]:
    """Return the heads of every block; all if none are named."""
    if kept_heads is None:
        return (tuple(range(num_heads)),) * num_blocks
    kept = tuple(tuple(map(int, heads)) for heads in kept_heads)
    if (
        len(kept) != num_blocks
        or len({len(heads) for heads in kept}) != 1
        or not all(heads and set(heads) <= set(range(num_heads)) for heads in kept)
        or not all(list(heads) == sorted(set(heads)) for heads in kept)
    ):
        raise ValueError(
            "`kept_heads` must name the same number of heads, at least one, of each of "
            f"{num_blocks} blocks, as ascending numbers from 0 to {num_heads - 1}. Received: "
            f"kept_heads={kept_heads!r}."
        )
    return kept


def _averages_so_far(items: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Return each position's average of the items up to it, `[batch_size, max_history, dim]`."""
    present = tf.cast(mask, items.dtype)[..., None]
    numbers = tf.cumsum(present, axis=1)
    return tf.math.divide_no_nan(tf.cumsum(items * present, axis=1), numbers)
