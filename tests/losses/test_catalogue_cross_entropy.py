"""Cross-entropy over the catalogue: fractions by hand, a float64 reference, and its range."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.losses import catalogue_cross_entropy

LN = math.log


@pytest.mark.parametrize(
    ("label", "logits", "expected"),
    [
        (1, [LN(3), 0.0], LN(4 / 3)),  # softmax [3/4, 1/4]
        (2, [LN(3), 0.0], LN(4)),
        (3, [LN(1), LN(2), LN(3)], LN(2)),  # softmax [1/6, 2/6, 3/6]
        (1, [LN(1), LN(2), LN(3)], LN(6)),
        (5, [0.0] * 7, LN(7)),
    ],
)
def test_by_hand(label, logits, expected):
    loss = catalogue_cross_entropy(tf.constant([label]), tf.constant([logits]))
    assert loss.shape == [1]
    np.testing.assert_allclose(loss, [expected], rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 60.0])
def test_float64_reference(scale):
    random = np.random.default_rng(0)
    logits = scale * random.normal(size=(5, 8))
    labels = random.integers(1, 9, 5)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    expected = [-log_probs[row, label - 1] for row, label in enumerate(labels)]
    loss = catalogue_cross_entropy(tf.constant(labels, tf.int32), tf.constant(logits, tf.float32))
    # float32 logits of size `scale` are rounded by up to 6e-8 of it, several times over.
    np.testing.assert_allclose(loss, expected, atol=2e-6 * max(scale, 1.0))


def test_one_value_a_row_and_float32_from_float16():
    logits = tf.constant([[0.0, 0.0], [LN(3), 0.0], [0.0, 300.0]], tf.float16)
    loss = catalogue_cross_entropy(tf.constant([1, 2, 1]), logits)
    assert loss.dtype == tf.float32
    # ln 3 in float16 is off by up to 5e-4.
    np.testing.assert_allclose(loss, [LN(2), LN(4), 300.0], atol=5e-4)
