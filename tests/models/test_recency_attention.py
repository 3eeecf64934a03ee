"""Recency attention against float64 NumPy, and its untrained form."""

import numpy as np
import pytest
import tensorflow as tf
from test_decayed_average import average_in_numpy
from test_feed_forward import feed_forward_in_numpy

from tfrs_distill.models import RecencyAttention


def attention_in_numpy(layer, embeddings, mask):
    """Every block, row, head and position in loops; rows of `mask` start with an item."""
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


@pytest.mark.parametrize("reads_order", [True, False])
def test_removed_heads_equal_heads_with_zero_output(reads_order):
    embeddings, mask = example()
    embeddings, mask = tf.constant(embeddings, tf.float32), tf.constant(mask)
    arguments = {"num_blocks": 2, "num_heads": 3, "reads_order": reads_order}
    whole = RecencyAttention(4, 6, **arguments)
    kept_heads = [[0, 2], [1, 2]]
    layer = RecencyAttention(4, 6, kept_heads=kept_heads, **arguments)
    for built in (whole, layer):
        built(embeddings, mask)
    random = np.random.default_rng(1)
    whole.set_weights([random.normal(size=w.shape, scale=0.5) for w in whole.get_weights()])
    layer.distance_bias.assign(
        [whole.distance_bias.numpy()[block, heads] for block, heads in enumerate(kept_heads)]
    )
    # Heads are 2 wide: the kept ones have these columns of the values, queries and keys.
    columns = [[0, 1, 4, 5], [2, 3, 4, 5]]
    for block, entries in enumerate(columns):
        for part, (source, target) in enumerate(zip(whole.blocks[block], layer.blocks[block])):
            weights = source.get_weights()
            if part in (1, 2):
                both = entries + [6 + entry for entry in entries] if part == 1 else entries
                weights = [weights[0][:, both], weights[1][both]]
            if part == 3 and block == 0:  # the weights that read the other heads are 0
                weights[0] = weights[0][entries]
            target.set_weights(weights)
        value = whole.blocks[block][2]
        removed = np.setdiff1d(np.arange(6), entries)
        kernel, bias = value.get_weights()
        kernel[:, removed], bias[removed] = 0.0, 0.0
        value.set_weights([kernel, bias])
    assert layer.count_params() < whole.count_params()
    np.testing.assert_allclose(layer(embeddings, mask), whole(embeddings, mask), atol=1e-6)


def test_an_equal_layer_is_built_from_the_configuration():
    embeddings, mask = example()
    embeddings, mask = tf.constant(embeddings, tf.float32), tf.constant(mask)
    layer = RecencyAttention(4, 6, num_heads=3, kept_heads=[[1]], hidden_units=5, rank=2)
    layer(embeddings, mask)
    assert layer.blocks[0][4].hidden.kernel.shape == (2, 5)
    again = RecencyAttention.from_config(layer.get_config())
    again(embeddings, mask)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(embeddings, mask), layer(embeddings, mask))
    # A layer with all heads has an unchanged configuration: fingerprints depend on it.
    assert not {"kept_heads", "hidden_units", "rank"} & set(RecencyAttention(4, 6).get_config())


@pytest.mark.parametrize("kept_heads", [[[0]], [[0], [0, 1]], [[], []], [[0], [3]], [[1, 0]] * 2])
def test_heads_that_do_not_exist_are_refused(kept_heads):
    words = r"of each of 2 blocks.* ascending numbers from 0 to 2\. Received: kept_heads=\["
    with pytest.raises(ValueError, match=words):
        RecencyAttention(4, 6, num_blocks=2, num_heads=3, kept_heads=kept_heads)


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
