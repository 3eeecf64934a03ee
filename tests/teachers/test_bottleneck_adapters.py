"""Adapters against float64 NumPy: their outputs, their place, their trained weights."""

import math

import numpy as np
import pytest
import tensorflow as tf
from tiny_bert import bert_in_numpy, wordpieces

from tfrs_distill.teachers.bert.parameter_efficient.bottleneck_adapters import (
    AdaptedDense,
    BottleneckAdapters,
)
from tfrs_distill.teachers.bert.text_encoder import TextEncoder

TEXTS = ("galaxy space 7", "a wedding, a kiss and the king's long sword", "x")


@pytest.fixture
def encoder(tiny_bert):
    return TextEncoder(tiny_bert[0])


def test_the_layer_adds_a_bottleneck_to_its_outputs():
    random = np.random.default_rng(0)
    dense = tf.keras.layers.Dense(5)
    dense.build([None, 4])
    layer = AdaptedDense(dense, width=3, seed=0)
    kernel, down, up = (random.normal(size=s) for s in ((4, 5), (5, 3), (3, 5)))
    bias, down_bias, up_bias = (random.normal(size=n) for n in (5, 3, 5))
    for variable, value in (
        *((dense.kernel, kernel), (dense.bias, bias), (layer.down, down), (layer.up, up)),
        *((layer.down_bias, down_bias), (layer.up_bias, up_bias)),
    ):
        variable.assign(value)
    inputs = random.normal(size=(2, 6, 4))
    hidden = inputs @ kernel + bias
    inner = hidden @ down + down_bias
    inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
    expected = hidden + inner @ up + up_bias
    np.testing.assert_allclose(layer(tf.constant(inputs, tf.float32)), expected, rtol=1e-4)


def test_untrained_they_change_no_bit_but_have_gradients(encoder):
    before = encoder.encode(TEXTS)
    attached = BottleneckAdapters(width=4).attach(encoder)
    np.testing.assert_array_equal(encoder.encode(TEXTS), before)
    with tf.GradientTape() as tape:
        vectors = encoder.pooled(*map(tf.constant, encoder.tokenize(TEXTS)))
        loss = tf.reduce_sum(vectors[:, 0])
    ups = [v for name, v in attached._variables.items() if name.endswith(".up")]
    assert len(ups) == 4
    for gradient in tape.gradient(loss, ups):  # 0 only if D were 0, too
        assert abs(gradient.numpy()).max() > 1e-6


@pytest.mark.parametrize(
    "target, place", [("attention_output", "attention.output.dense"), ("output", "output.dense")]
)
def test_an_adapter_is_after_the_dense_and_before_the_residual(encoder, tiny_bert, target, place):
    """With D = 0 it adds the constant gelu(d) U + u, which is an offset of the dense layer."""
    attached = BottleneckAdapters(width=4).attach(encoder)
    random = np.random.default_rng(0)
    down_bias, up, up_bias = (random.normal(size=s) for s in (4, (4, 16), 16))
    part = f"layer.1.{target}"
    attached._variables[f"{part}.down"].assign(tf.zeros([16, 4]))
    for name, value in (("down_bias", down_bias), ("up", up), ("up_bias", up_bias)):
        attached._variables[f"{part}.{name}"].assign(value)
    weights = {name: value.astype(np.float64) for name, value in tiny_bert[1].items()}
    inner = down_bias * 0.5 * (1 + np.vectorize(math.erf)(down_bias / math.sqrt(2)))
    name = f"encoder.layer.1.{place}.bias"
    weights[name] = weights[name] + inner @ up + up_bias
    for text, vector in zip(TEXTS, encoder.encode(TEXTS)):
        mean = bert_in_numpy(weights, wordpieces(tiny_bert[0], text)).mean(axis=0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)


def test_only_adapters_and_normalisations_are_trained(encoder):
    attached = BottleneckAdapters(width=4).attach(encoder)
    # Two adapters and two normalisations per layer, two layers.
    adapter = 16 * 4 + 4 + 4 * 16 + 16
    assert attached.num_parameters == 2 * (2 * adapter + 2 * (16 + 16))
    norm = encoder.model.bert.encoder.layer[0].bert_output.LayerNorm
    assert any(variable is norm.gamma for variable in attached.trainable_variables)


def test_detaching_restores_the_normalisations(encoder):
    before = encoder.encode(TEXTS)
    attached = BottleneckAdapters(width=4).attach(encoder)
    for variable in attached.trainable_variables:
        variable.assign_add(tf.ones_like(variable))
    assert abs(encoder.encode(TEXTS) - before).max() > 1e-2
    attached.detach()
    np.testing.assert_array_equal(encoder.encode(TEXTS), before)


def test_they_cannot_be_merged(encoder):
    attached = BottleneckAdapters(width=4).attach(encoder)
    with pytest.raises(ValueError, match="BottleneckAdapters cannot be merged.*only `LoRA` merges"):
        attached.merge()


@pytest.mark.parametrize("width", [0, 2.5])
def test_an_invalid_width_is_refused(width):
    with pytest.raises(ValueError, match=rf"`width` must be a whole.*Received: width={width}"):
        BottleneckAdapters(width=width)
