"""Recency attention against float64 NumPy, and what it is before it has learned."""

import numpy as np
import pytest
import tensorflow as tf
from test_decayed_average import average_in_numpy
from test_feed_forward import feed_forward_in_numpy

from tfrs_distill.models import RecencyAttention


def attention_in_numpy(layer, embeddings, mask):
    """Every block, row, head and position written out; rows of `mask` start with an item."""
    items = outputs = np.float64(embeddings)
    if not layer.reads_order:
        outputs = average_in_numpy(np.ones(items.shape[1]), items, mask)

    def normalised(vectors, norm):
        centred = vectors - vectors.mean(axis=-1, keepdims=True)
        normed = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6)
        return normed * norm[0] + norm[1]

    head_dim = layer.embedding_dim // layer.num_heads
    for index, parts in enumerate(layer.blocks):
        norm, query_key, value, project = (
            [np.float64(weight) for weight in part.get_weights()] for part in parts[:4]
        )
        bias = layer.distance_bias.numpy()[index]
        asks = normalised(outputs, norm)
        read = asks if layer.reads_order else normalised(items, norm)
        queries, _ = np.split(asks @ query_key[0] + query_key[1], 2, axis=-1)
        _, keys = np.split(read @ query_key[0] + query_key[1], 2, axis=-1)
        values = read @ value[0] + value[1]
        attended = np.zeros_like(outputs)
        for row, i, head in np.ndindex(*outputs.shape[:2], layer.num_heads):
            part = slice(head * head_dim, (head + 1) * head_dim)
            there = [j for j in range(i + 1) if mask[row, j]]
            logits = [
                queries[row, i, part] @ keys[row, j, part] / np.sqrt(head_dim) + bias[head, i - j]
                for j in there
            ]
            weights = np.exp(logits) / np.exp(logits).sum()
            attended[row, i, part] = weights @ values[row, there, part]
        outputs = attended if index == 0 else outputs + attended
        projected = outputs @ project[0] + project[1] + outputs
        outputs = feed_forward_in_numpy(parts[4], projected)
    return outputs


def example():
    mask = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [1, 0, 0, 0]], bool)
    return np.random.default_rng(0).normal(size=(3, 4, 6)), mask


@pytest.mark.parametrize("reads_order", [True, False])
@pytest.mark.parametrize("num_blocks", [1, 2])
def test_float64_reference(num_blocks, reads_order):
    embeddings, mask = example()
    layer = RecencyAttention(
        4, 6, num_blocks=num_blocks, num_heads=3, reads_order=reads_order, seed=0
    )
    layer(tf.constant(embeddings, tf.float32), tf.constant(mask))
    random = np.random.default_rng(1)
    layer.set_weights([random.normal(size=w.shape, scale=0.5) for w in layer.get_weights()])
    np.testing.assert_allclose(
        layer(tf.constant(embeddings, tf.float32), tf.constant(mask)),
        attention_in_numpy(layer, embeddings, mask),
        atol=2e-5,  # 2 blocks of sums of a dozen float32 products of size 1
    )


def test_without_content_it_is_a_decayed_average():
    embeddings, mask = example()
    layer = RecencyAttention(4, 6, num_heads=2, seed=0)
    layer(tf.constant(embeddings, tf.float32), tf.constant(mask))
    norm, query_key, value, project, feed_forward = layer.blocks[0]
    query_key.set_weights([np.zeros((6, 12)), np.zeros(12)])
    value.set_weights([np.eye(6), np.zeros(6)])
    project.set_weights([np.zeros((6, 6)), np.zeros(6)])
    feed_forward.out.set_weights([np.zeros((12, 6)), np.zeros(6)])
    centred = embeddings - embeddings.mean(axis=-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(
        layer(tf.constant(embeddings, tf.float32), tf.constant(mask)),
        average_in_numpy(1 / np.arange(1, 5), normed, mask),
        atol=1e-5,
    )


def test_heads_must_divide_the_width():
    with pytest.raises(
        ValueError, match=r"multiple of `num_heads`\. Received: embedding_dim=6, num_heads=4"
    ):
        RecencyAttention(4, 6, num_heads=4)
