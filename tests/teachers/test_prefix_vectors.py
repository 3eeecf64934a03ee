"""Prefix vectors: the attention against float64 NumPy, their start, unsupported families."""

import numpy as np
import pytest
import tensorflow as tf
from other_families import with_model

from tfrs_distill.teachers.bert.parameter_efficient.prefix_vectors import (
    BertPrefixAttention,
    PrefixedDense,
    PrefixVectors,
)
from tfrs_distill.teachers.bert.text_encoder import TextEncoder

TEXTS = ("galaxy space 7", "a wedding, a kiss and the king's long sword", "x")


@pytest.fixture
def encoder(tiny_bert):
    return TextEncoder(tiny_bert[0])


def attention_in_numpy(query, key, value, num_heads):
    """Of one text: [n, width] and keys and values [m, width] to [n, width]."""
    outputs = []
    for head in np.split(np.arange(query.shape[1]), num_heads):
        logits = query[:, head] @ key[:, head].T / np.sqrt(len(head))
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        outputs.append(weights / weights.sum(axis=1, keepdims=True) @ value[:, head])
    return np.concatenate(outputs, axis=1)


def projections(layers, inputs):
    """Queries, keys and values of one text in float64."""
    return [
        inputs @ d.kernel.numpy().astype(np.float64) + d.bias.numpy().astype(np.float64)
        for d in layers
    ]


def test_berts_attention_reads_the_prefix_and_the_tokens(encoder):
    own = encoder.model.bert.encoder.layer[0].attention.self_attention
    random = np.random.default_rng(0)
    keys, values = random.normal(size=(2, 3, 16))
    hidden = random.normal(size=(2, 5, 16))
    num_tokens = (5, 2)  # the second text is padded
    mask = np.where(np.arange(5) < np.array(num_tokens)[:, None], 0.0, -1e9)[:, None, None]
    attention = BertPrefixAttention(own, keys.astype(np.float32), values.astype(np.float32))
    (outputs,) = attention(
        hidden_states=tf.constant(hidden, tf.float32),
        attention_mask=tf.constant(mask, tf.float32),
        head_mask=None,
        encoder_hidden_states=None,
        encoder_attention_mask=None,
        past_key_value=None,
        output_attentions=False,
    )
    for inputs, length, output in zip(hidden, num_tokens, outputs.numpy()):
        query, key, value = projections((own.query, own.key, own.value), inputs)
        key, value = np.r_[keys, key[:length]], np.r_[values, value[:length]]
        expected = attention_in_numpy(query, key, value, num_heads=2)
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


def test_distilberts_attention_reads_the_prefix_too(encoder):
    with_model(encoder, "distilbert")
    own = encoder.model.distilbert.transformer.layer[1].attention
    dense = (own.q_lin, own.k_lin, own.v_lin, own.out_lin)
    attached = PrefixVectors(length=3).attach(encoder)
    random = np.random.default_rng(0)
    keys, values = random.normal(size=(2, 3, 16))
    attached._variables["layer.1.prefix.keys"].assign(keys)
    attached._variables["layer.1.prefix.values"].assign(values)
    hidden, mask = random.normal(size=(2, 5, 16)), np.array([[1] * 5, [1, 1, 0, 0, 0]])
    states = tf.constant(hidden, tf.float32)
    attention = encoder.model.distilbert.transformer.layer[1].attention
    (outputs,) = attention(states, states, states, tf.constant(mask), None, False)
    for inputs, length, output in zip(hidden, (5, 2), outputs.numpy()):
        query, key, value = projections(dense[:3], inputs)
        key, value = np.r_[keys, key[:length]], np.r_[values, value[:length]]
        attended = attention_in_numpy(query, key, value, num_heads=2)
        (expected,) = projections(dense[3:], attended)
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


def test_a_dense_layer_keeps_the_positions_after_the_prefix():
    dense = tf.keras.layers.Dense(3)
    inputs = tf.random.stateless_normal([2, 5, 4], [0, 1])
    expected = dense(inputs[:, 2:])
    outputs = PrefixedDense(dense, np.array([[1.0, 2, 3], [4, 5, 6]], np.float32))(inputs)
    np.testing.assert_array_equal(outputs[:, :2], [[[1.0, 2, 3], [4, 5, 6]]] * 2)
    np.testing.assert_array_equal(outputs[:, 2:], expected)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_the_start_is_the_layers_output_for_drawn_tokens(encoder, family):
    """Attending to the same keys and values twice equals attending once: the text is unchanged."""
    with_model(encoder, family)
    mask = tf.ones([1, 6], tf.int32)
    words = [i for i in range(encoder.model.config.vocab_size) if i > 4]  # 0 to 4 are special
    drawn = np.random.default_rng(3).choice(words, 6, replace=False)
    other = np.random.default_rng(4).choice(words, 6, replace=False)

    def read(ids):
        ids = tf.constant(ids[None], tf.int32)
        return encoder.model(input_ids=ids, attention_mask=mask).last_hidden_state

    before, other_before = read(drawn), read(other)
    attached = PrefixVectors(length=6, seed=3).attach(encoder)
    np.testing.assert_allclose(read(drawn), before, atol=1e-5)
    assert abs(read(other) - other_before).numpy().max() > 1e-3
    assert attached.num_parameters == 2 * 2 * 6 * 16  # keys and values of two layers


def test_padding_and_other_rows_have_no_influence_and_detaching_reverts_it(encoder):
    before = encoder.encode(TEXTS)
    attached = PrefixVectors(length=4).attach(encoder)
    together = encoder.encode(TEXTS)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert abs(together - before).max() > 1e-2
    attached.detach()
    np.testing.assert_array_equal(encoder.encode(TEXTS), before)


def test_every_prefix_vector_gets_a_gradient(encoder):
    attached = PrefixVectors(length=4).attach(encoder)
    with tf.GradientTape() as tape:
        vectors = encoder.pooled(*map(tf.constant, encoder.tokenize(TEXTS)))
        loss = tf.reduce_sum(vectors[:, 0])
    for gradient in tape.gradient(loss, attached.trainable_variables):
        assert (abs(gradient.numpy()).max(axis=1) > 1e-8).all()


def test_a_family_with_distances_between_tokens_is_refused(encoder):
    with_model(encoder, "mpnet")
    with pytest.raises(
        ValueError, match="PrefixVectors cannot be attached to TFMPNet.*Use LoRA or"
    ):
        PrefixVectors().attach(encoder)


def test_a_prefix_longer_than_the_encoder_reads_is_refused(tiny_bert):
    encoder = TextEncoder(tiny_bert[0])
    with pytest.raises(ValueError, match=r"`length` must be at most \d+, what.*length=5000"):
        PrefixVectors(length=5000).attach(encoder)


def test_a_prefix_cannot_be_merged(encoder):
    with pytest.raises(ValueError, match="PrefixVectors cannot be merged"):
        PrefixVectors(length=2).attach(encoder).merge()


@pytest.mark.parametrize("length", [0, 2.5])
def test_an_invalid_length_is_refused(length):
    with pytest.raises(ValueError, match=rf"`length` must be a whole.*Received: length={length}"):
        PrefixVectors(length=length)
