"""Labels to be made less likely: by hand and against a float64 reference."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.losses.candidate_lists import MASKED
from tfrs_distill.losses.categorical_cross_entropy import categorical_cross_entropy
from tfrs_distill.losses.unlikelihood import loss_of_labels, unlikelihood

LN = math.log


@pytest.mark.parametrize(
    ("label", "logits", "expected"),
    [
        (0, [LN(3), 0.0], LN(4)),  # softmax [3/4, 1/4]
        (1, [LN(3), 0.0], LN(4 / 3)),
        (2, [LN(1), LN(2), LN(3)], LN(2)),  # softmax [1/6, 2/6, 3/6]
        (1, [0.0, 0.0, MASKED, 0.0], LN(3 / 2)),
        (0, [-200.0, 0.0], 0.0),
        (0, [200.0, 0.0, 0.0], 200.0 - LN(2)),  # 1 - p is 0 in float32
        (0, [3e4, 0.0], 3e4),
        (0, [7.0], 0.0),  # no other candidate
        (0, [7.0, MASKED], 0.0),
    ],
)
def test_by_hand_with_a_finite_gradient(label, logits, expected):
    logits = tf.constant([logits])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = unlikelihood(tf.constant([label]), logits)
    assert loss.shape == [1] and loss.dtype == tf.float32
    np.testing.assert_allclose(loss, [expected], rtol=1e-6)
    assert np.isfinite(tape.gradient(loss, logits)).all()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 10.0])
def test_float64_reference_and_its_gradient(scale):
    random = np.random.default_rng(0)
    logits, labels = scale * random.normal(size=(6, 8)), random.integers(0, 8, 6)
    logits = np.float32(logits).astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    is_label = np.eye(8, dtype=bool)[labels]
    others = np.where(is_label, 0.0, shares).sum(axis=1, keepdims=True)  # 1 - p, without its loss
    slope = np.where(is_label, shares, -(1 - others) * shares / others)
    given = tf.constant(logits, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(given)
        loss = unlikelihood(tf.constant(labels, tf.int32), given)
    np.testing.assert_allclose(loss, -np.log(others[:, 0]), rtol=2e-6)
    np.testing.assert_allclose(tape.gradient(loss, given), slope, rtol=1e-5, atol=1e-9)


def test_a_likelihood_near_0_keeps_its_digits():
    """`-log(1 - p)` of p = 1e-9 is 1e-9; in float32 `1 - p` is 1."""
    logits = tf.constant([[LN(1e-9), 0.0]])
    np.testing.assert_allclose(unlikelihood(tf.constant([0]), logits), [1e-9], rtol=2e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_sign_of_a_weight_selects_the_loss(jit_compile):
    random = np.random.default_rng(1)
    logits = tf.constant(random.normal(size=(5, 4)), tf.float32)
    labels = tf.constant([0, 1, 2, 3, 0])

    @tf.function(jit_compile=jit_compile)
    def of(weights):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            losses = loss_of_labels(labels, logits, weights, label_smoothing=0.2)
        return losses, tape.gradient(losses, logits)

    likes = categorical_cross_entropy(labels, logits, label_smoothing=0.2)
    dislikes = unlikelihood(labels, logits)  # not smoothed
    losses, slopes = of(tf.constant([2.0, -2.0, 0.0, -0.1, 0.5]))
    signs = np.array([False, True, False, True, False])
    np.testing.assert_allclose(losses, np.where(signs, dislikes, likes), rtol=1e-6)
    at_labels = np.take_along_axis(slopes.numpy(), labels.numpy()[:, None], axis=1)[:, 0]
    assert ((at_labels > 0) == signs).all()  # a gradient step makes a dislike less likely
    losses, _ = of(tf.constant([2.0, 2.0, 0.0, 0.1, 0.5]))
    np.testing.assert_allclose(losses, likes, rtol=1e-6)


def test_without_a_dislike_it_is_the_cross_entropy_bit_for_bit():
    logits = tf.constant(np.random.default_rng(2).normal(size=(3, 4)), tf.float32)
    labels, soft = tf.constant([3, 0, 1]), tf.nn.softmax(logits[::-1])
    for given in (labels, soft):
        for weights in (None, tf.constant([1.0, 0.0, 3.0])):
            np.testing.assert_array_equal(
                loss_of_labels(given, logits, weights), categorical_cross_entropy(given, logits)
            )
