"""The feed-forward block against float64 NumPy."""

import math

import numpy as np
import tensorflow as tf

from tfrs_distill.models.encoders.feed_forward import FeedForward


def feed_forward_in_numpy(layer, inputs):
    """`x + W2 gelu(W1 norm(x))`, step by step."""
    norm, hidden, out = (
        [np.float64(weight) for weight in part.get_weights()]
        for part in (layer.norm, layer.hidden, layer.out)
    )
    centred = inputs - inputs.mean(axis=-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6)
    inner = (normed * norm[0] + norm[1]) @ hidden[0] + hidden[1]
    inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
    return inputs + inner @ out[0] + out[1]


def randomised(layer, seed=0):
    """Give every weight a random value: zeros hide a missing term."""
    random = np.random.default_rng(seed)
    layer.set_weights([random.normal(size=w.shape, scale=0.5) for w in layer.get_weights()])
    return layer


def test_float64_reference():
    inputs = np.random.default_rng(0).normal(size=(2, 3, 4))
    layer = FeedForward(4, hidden_units=12)
    layer(inputs)
    randomised(layer)
    assert layer.hidden.units == 12
    np.testing.assert_allclose(layer(inputs), feed_forward_in_numpy(layer, inputs), atol=1e-5)


def test_matrices_of_low_rank_are_products_of_two():
    inputs = np.random.default_rng(0).normal(size=(5, 4))
    layer, whole = FeedForward(4, hidden_units=12, rank=3), FeedForward(4, hidden_units=12)
    for built in (layer, whole):
        built(inputs)
    randomised(layer)
    whole.norm.set_weights(layer.norm.get_weights())
    for target, left, right in (
        (whole.hidden, layer.into_hidden, layer.hidden),
        (whole.out, layer.into_out, layer.out),
    ):
        assert left.kernel.shape[1] == right.kernel.shape[0] == 3
        target.set_weights([left.kernel.numpy() @ right.kernel.numpy(), right.bias.numpy()])
    np.testing.assert_allclose(layer(inputs), feed_forward_in_numpy(whole, inputs), atol=1e-5)
    again = FeedForward.from_config(layer.get_config())
    again(inputs)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(inputs), layer(inputs))


def test_any_rank_is_normalised_over_the_last_axis():
    # As long as the axes are equally long, a wrong one gives no error.
    inputs = np.random.default_rng(0).normal(size=(4, 4, 4))
    for first_seen in (inputs[0], inputs):
        layer = FeedForward(4, seed=0)
        layer(first_seen)
        randomised(layer)
        expected = feed_forward_in_numpy(layer, inputs)
        np.testing.assert_allclose(layer(inputs), expected, atol=1e-5)
        np.testing.assert_allclose(layer(inputs[1]), expected[1], atol=1e-5)


def test_dropout_only_while_training():
    inputs = tf.ones([1, 50, 4]) * tf.constant([1.0, 2.0, 3.0, 4.0])
    layer = FeedForward(4, dropout=0.5, seed=0)
    still = layer(inputs, training=False).numpy()
    np.testing.assert_allclose(still, np.broadcast_to(still[:, :1], still.shape), rtol=1e-6)
    moving = layer(inputs, training=True).numpy()
    assert len(np.unique(moving[0], axis=0)) > 10


def test_seed_fixes_initial_weights():
    layers = [FeedForward(4, seed=seed) for seed in (3, 3, 4)]
    for layer in layers:
        layer(tf.zeros([1, 4]))
    first, same, other = [layer.get_weights() for layer in layers]
    for a, b in zip(first, same):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[2], other[2])


def test_config_round_trip():
    layer = FeedForward(4, hidden_units=12, dropout=0.25, seed=7, name="block")
    again = FeedForward.from_config(layer.get_config())
    assert (again.embedding_dim, again.hidden_units, again.dropout_rate, again.seed) == (
        4,
        12,
        0.25,
        7,
    )
    assert again.name == "block"
    inputs = tf.random.stateless_normal([2, 4], seed=[1, 2])
    np.testing.assert_array_equal(again(inputs), layer(inputs))
