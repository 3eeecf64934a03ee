"""From a text's hidden states to one vector: mean, first token or maximum, over windows too."""

from __future__ import annotations

from typing import Literal, get_args

import tensorflow as tf

Pooling = Literal["mean", "cls", "max"]


def check_pooling(pooling: str) -> None:
    """Raise a ValueError unless `pooling` is "mean", "cls" or "max"."""
    if pooling not in get_args(Pooling):
        raise ValueError(
            f"`pooling` must be 'mean', 'cls' or 'max'. Received: pooling={pooling!r}."
        )


def pool(hidden: tf.Tensor, attention_mask: tf.Tensor, pooling: Pooling) -> tf.Tensor:
    """Pool the last layer's outputs h_t to one vector per text; padding (mask 0) is ignored.

    `mean: sum_t mask_t h_t / sum_t mask_t`, `cls: h_0`, `max: max over mask_t = 1 of h_t`, the
    three of [Reimers and Gurevych, 2019](https://arxiv.org/abs/1908.10084), section 3.

    Args:
        hidden: [num_texts, length, text_dim], a floating type.
        attention_mask: [num_texts, length], 1 for a token and 0 for padding, which is at the end.
        pooling: "mean", "cls" or "max".

    Returns:
        [num_texts, text_dim], of the type of `hidden`, not scaled.

    Raises:
        ValueError: `pooling` is none of the three.

    Example:
    >>> hidden = tf.constant([[[1.0, 4.0], [3.0, 0.0], [9.0, 9.0]]])
    >>> [pool(hidden, [[1, 1, 0]], name).numpy().tolist() for name in ("mean", "cls", "max")]
    [[[2.0, 2.0]], [[1.0, 4.0]], [[3.0, 4.0]]]
    """
    check_pooling(pooling)
    if pooling == "cls":
        return hidden[:, 0]
    seen = tf.cast(attention_mask, tf.bool)[..., None]
    if pooling == "max":
        return tf.reduce_max(tf.where(seen, hidden, hidden.dtype.min), axis=1)
    mask = tf.cast(seen, hidden.dtype)
    return tf.reduce_sum(hidden * mask, axis=1) / tf.reduce_sum(mask, axis=1)


def unit_length(vectors: tf.Tensor) -> tf.Tensor:
    """Scale vectors to length 1: [num_texts, text_dim] to the same shape."""
    return tf.math.l2_normalize(vectors, axis=-1)


def combine_windows(
    pooled: tf.Tensor,
    num_tokens: tf.Tensor,
    texts: tf.Tensor,
    num_texts: int | tf.Tensor,
    pooling: Pooling,
) -> tf.Tensor:
    """Combine the pooled vectors v_w of a text's windows to one vector: [num_texts, text_dim].

    `mean: sum_w n_w v_w / sum_w n_w`, n_w the number of tokens of a window; `max: max_w v_w`;
    `cls: mean_w v_w`. A text with one window keeps its vector.

    Args:
        pooled: the outputs of `pool` for all windows, [num_windows, text_dim].
        num_tokens: number of tokens of every window, [num_windows].
        texts: the index of each window's text, [num_windows].
        num_texts: number of texts, each with at least one window.
        pooling: the same as for `pool`.

    Example:
    >>> vectors, of_texts = tf.constant([[3.0], [6.0], [1.0]]), tf.constant([0, 0, 1])
    >>> combine_windows(vectors, tf.constant([2, 1, 5]), of_texts, 2, "mean").numpy().tolist()
    [[4.0], [1.0]]
    """
    if pooling == "max":
        return tf.math.unsorted_segment_max(pooled, texts, num_texts)
    weights = tf.cast(num_tokens, pooled.dtype)
    weights = weights if pooling == "mean" else tf.ones_like(weights)
    share = weights / tf.gather(tf.math.unsorted_segment_sum(weights, texts, num_texts), texts)
    return tf.math.unsorted_segment_sum(share[:, None] * pooled, texts, num_texts)
