"""The decayed average against float64 NumPy."""

import numpy as np
import tensorflow as tf
from test_feed_forward import feed_forward_in_numpy

from tfrs_distill.models import DecayedAverage


def average_in_numpy(weights, embeddings, mask):
    """`sum_{j <= i} w_{i-j} x_j / sum_{j <= i} w_{i-j}` over all except padding, by loops."""
    averages = np.zeros(embeddings.shape)
    for row in range(embeddings.shape[0]):
        for i in range(embeddings.shape[1]):
            there = [j for j in range(i + 1) if mask[row, j]]
            if there:
                norm = sum(weights[i - j] for j in there)
                total = sum(weights[i - j] * embeddings[row, j] for j in there)
                averages[row, i] = total / norm
    return averages


def example():
    random = np.random.default_rng(0)
    mask = np.array([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [1, 0, 1, 0, 1]], bool)
    return random.normal(size=(4, 5, 4)), mask


def test_untrained_weights_are_1_over_1_plus_distance():
    np.testing.assert_allclose(
        np.exp(DecayedAverage(4, 2).log_weights), [1, 1 / 2, 1 / 3, 1 / 4], rtol=1e-6
    )


def test_float64_reference():
    embeddings, mask = example()
    layer = DecayedAverage(5, 4, seed=0)
    layer(tf.constant(embeddings, tf.float32), tf.constant(mask))
    random = np.random.default_rng(1)
    layer.set_weights([random.normal(size=w.shape) for w in layer.get_weights()])
    average = average_in_numpy(np.exp(layer.log_weights.numpy()), embeddings, mask)
    np.testing.assert_allclose(
        layer(tf.constant(embeddings, tf.float32), tf.constant(mask)),
        feed_forward_in_numpy(layer.feed_forward, average),
        atol=1e-5,
    )


def test_by_hand():
    # Two items: the last position reads (1 * 6 + 1/2 * 3) / (1 + 1/2) = 5.
    layer = DecayedAverage(3, 1, seed=0)
    layer(tf.zeros([1, 3, 1]), tf.ones([1, 3], tf.bool))
    layer.feed_forward.out.set_weights([np.zeros((2, 1)), np.zeros(1)])
    outputs = layer(tf.constant([[[99.0], [3.0], [6.0]]]), tf.constant([[False, True, True]]))
    np.testing.assert_allclose(outputs, [[[0.0], [3.0], [5.0]]], rtol=1e-6)


def test_without_order_it_is_the_plain_average():
    embeddings, mask = example()
    layer = DecayedAverage(5, 4, reads_order=False, seed=0)
    items = tf.constant(embeddings, tf.float32)
    with tf.GradientTape() as tape:
        found = layer(items, tf.constant(mask))
    average = average_in_numpy(np.ones(5), embeddings, mask)
    expected = feed_forward_in_numpy(layer.feed_forward, average)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(layer.last(items, tf.constant(mask)), expected[:, -1], atol=1e-5)
    assert "log_weights" not in " ".join(weight.name for weight in layer.trainable_weights)
    assert tape.gradient(found, layer.log_weights) is None


def test_weights_are_trained():
    embeddings, mask = example()
    layer = DecayedAverage(5, 4, seed=0)
    with tf.GradientTape() as tape:
        outputs = layer(tf.constant(embeddings, tf.float32), tf.constant(mask))
        value = tf.reduce_sum(outputs**2)
    gradient = tf.convert_to_tensor(tape.gradient(value, layer.log_weights)).numpy()
    assert (abs(gradient) > 1e-4).all()
