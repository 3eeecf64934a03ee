"""Cross-entropy with ids, one-hot and soft labels: by hand and against a float64 reference."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.losses.candidate_lists import MASKED
from tfrs_distill.losses.categorical_cross_entropy import categorical_cross_entropy

LN = math.log


@pytest.mark.parametrize(
    ("label", "logits", "expected"),
    [
        (0, [LN(3), 0.0], LN(4 / 3)),  # softmax [3/4, 1/4]
        (1, [LN(3), 0.0], LN(4)),
        (2, [LN(1), LN(2), LN(3)], LN(2)),  # softmax [1/6, 2/6, 3/6]
        (0, [LN(1), LN(2), LN(3)], LN(6)),
        (4, [0.0] * 7, LN(7)),
    ],
)
def test_by_hand(label, logits, expected):
    loss = categorical_cross_entropy(tf.constant([label]), tf.constant([logits]))
    assert loss.shape == [1]
    np.testing.assert_allclose(loss, [expected], rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 60.0])
def test_float64_reference(scale):
    random = np.random.default_rng(0)
    logits = scale * random.normal(size=(5, 8))
    labels = random.integers(0, 8, 5)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    expected = [-log_probs[row, label] for row, label in enumerate(labels)]
    loss = categorical_cross_entropy(tf.constant(labels, tf.int32), tf.constant(logits, tf.float32))
    # float32 logits of size `scale` are rounded by up to 6e-8 of it, several times over.
    np.testing.assert_allclose(loss, expected, atol=2e-6 * max(scale, 1.0))


def test_one_value_per_row_and_float32_from_float16():
    logits = tf.constant([[0.0, 0.0], [LN(3), 0.0], [0.0, 300.0]], tf.float16)
    loss = categorical_cross_entropy(tf.constant([0, 1, 0]), logits)
    assert loss.dtype == tf.float32
    # ln 3 in float16 is off by up to 5e-4.
    np.testing.assert_allclose(loss, [LN(2), LN(4), 300.0], atol=5e-4)


@pytest.mark.parametrize("labels", [[1, 0], [[1], [0]], [[0.0, 1.0], [1.0, 0.0]]])
def test_ids_columns_of_ids_and_one_hot_rows_are_equivalent(labels):
    logits = tf.constant([[LN(3), 0.0], [LN(3), 0.0]])
    loss = categorical_cross_entropy(tf.constant(labels), logits)
    np.testing.assert_allclose(loss, [LN(4), LN(4 / 3)], rtol=1e-6)


def test_a_soft_label_is_the_mean_of_its_ids():
    logits = tf.constant([[LN(3), 0.0]])
    loss = categorical_cross_entropy(tf.constant([[0.25, 0.75]]), logits)
    np.testing.assert_allclose(loss, [0.25 * LN(4 / 3) + 0.75 * LN(4)], rtol=1e-6)


def test_labels_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"over the 2 candidates.* Received: labels of shape"):
        categorical_cross_entropy(tf.zeros([4, 3]), tf.zeros([4, 2]))


def test_a_class_masked_by_minus_infinity_is_ignored_if_its_soft_label_is_0():
    logits = tf.Variable([[-np.inf, 0.0, 0.0]])
    with tf.GradientTape() as tape:
        loss = categorical_cross_entropy(tf.constant([[0.0, 0.25, 0.75]]), logits)
    np.testing.assert_allclose(loss, [np.log(2.0)], rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(loss, logits), [[0.0, 0.25, -0.25]], atol=1e-6)


@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("smoothing", [0.1, 0.6])
def test_label_smoothing_is_that_of_keras_with_its_gradient(smoothing, one_hot):
    random = np.random.default_rng(0)
    logits = tf.constant(3 * random.normal(size=(5, 8)), tf.float32)
    ids = tf.constant(random.integers(0, 8, 5), tf.int32)
    keras = tf.keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=smoothing, reduction="none"
    )
    labels = tf.one_hot(ids, 8) if one_hot else ids
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        ours = categorical_cross_entropy(labels, logits, label_smoothing=smoothing)
        theirs = keras(tf.one_hot(ids, 8), logits)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    np.testing.assert_allclose(
        tape.gradient(ours, logits), tape.gradient(theirs, logits), atol=1e-6
    )


@pytest.mark.parametrize("labels", [[0], [[1.0, 0.0, 0.0]]])
@pytest.mark.parametrize("masked", [MASKED, -math.inf])
def test_label_smoothing_excludes_masked_candidates(masked, labels):
    logits = tf.Variable([[LN(3), 0.0, masked]])
    with tf.GradientTape() as tape:
        loss = categorical_cross_entropy(tf.constant(labels), logits, label_smoothing=0.4)
    # softmax [3/4, 1/4], labels [4/5, 1/5]
    np.testing.assert_allclose(loss, [0.8 * LN(4 / 3) + 0.2 * LN(4)], rtol=1e-6)
    gradient = tf.convert_to_tensor(tape.gradient(loss, logits))
    np.testing.assert_allclose(gradient, [[-0.05, 0.05, 0.0]], atol=1e-7)
