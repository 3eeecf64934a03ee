"""Pooling against numbers by hand and float64 NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.teachers.bert.pooling import check_pooling, combine_windows, pool, unit_length

HIDDEN = [
    [[1.0, -4.0], [3.0, -2.0], [100.0, 100.0]],
    [[-1.0, 2.0], [-5.0, 8.0], [-3.0, -1.0]],
]
MASK = [[1, 1, 0], [1, 1, 1]]


@pytest.mark.parametrize(
    "pooling, expected",
    [
        ("mean", [[2.0, -3.0], [-3.0, 3.0]]),
        ("cls", [[1.0, -4.0], [-1.0, 2.0]]),
        ("max", [[3.0, -2.0], [-1.0, 8.0]]),
    ],
)
@pytest.mark.parametrize("mask_type", [tf.int32, tf.float32, tf.bool])
def test_padding_is_not_pooled(pooling, expected, mask_type):
    pooled = pool(tf.constant(HIDDEN), tf.cast(MASK, mask_type), pooling)
    assert pooled.numpy().tolist() == expected


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float64])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_the_type_of_the_hidden_states_is_kept(dtype, pooling):
    pooled = pool(tf.constant(HIDDEN, dtype), tf.constant(MASK), pooling)
    assert pooled.dtype == dtype
    # The numbers are small halves of integers, which all three types hold exactly.
    expected = pool(tf.constant(HIDDEN), tf.constant(MASK), pooling)
    np.testing.assert_array_equal(pooled.numpy().astype(np.float32), expected.numpy())


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_gradients_reach_tokens_and_no_padding(pooling):
    hidden = tf.constant(HIDDEN)
    with tf.GradientTape() as tape:
        tape.watch(hidden)
        total = tf.reduce_sum(pool(hidden, MASK, pooling)[:, 0])
    # Of the first numbers 1, 3 and -1, -5, -3 the maximum takes 3 and -1.
    expected = {"mean": [[1 / 2, 1 / 2, 0], [1 / 3] * 3], "max": [[0, 1, 0], [1, 0, 0]]}[pooling]
    gradient = tape.gradient(total, hidden).numpy()
    np.testing.assert_allclose(gradient[..., 0], expected, rtol=1e-6)
    assert (gradient[..., 1] == 0).all()


@pytest.mark.parametrize("pooling", ["sum", "Mean", None])
def test_an_invalid_pooling_is_refused(pooling):
    words = r"`pooling` must be 'mean', 'cls' or 'max'\. Received: pooling="
    with pytest.raises(ValueError, match=words):
        check_pooling(pooling)
    with pytest.raises(ValueError, match=words):
        pool(tf.constant(HIDDEN), MASK, pooling)


def test_vectors_get_length_1_and_keep_their_direction():
    # 3-4-5 and 5-12-13.
    scaled = unit_length(tf.constant([[3.0, 4.0], [-50.0, 120.0], [0.0, 0.0]])).numpy()
    expected = [[0.6, 0.8], [-5 / 13, 12 / 13], [0.0, 0.0]]
    np.testing.assert_allclose(scaled, expected, rtol=1e-6)  # float32


VECTORS = np.array([[1.0, -8.0], [4.0, -2.0], [7.0, -5.0], [2.0, 3.0], [6.0, -1.0], [0.0, 1.0]])
NUM_TOKENS = np.array([8, 8, 4, 5, 6, 2])
TEXTS = np.array([0, 0, 0, 1, 2, 2])


@pytest.mark.parametrize(
    "pooling, expected",
    [
        # (8 + 32 + 28) / 20 and (-64 - 16 - 20) / 20; (36 + 0) / 8 and (-6 + 2) / 8.
        ("mean", [[3.4, -5.0], [2.0, 3.0], [4.5, -0.5]]),
        ("cls", [[4.0, -5.0], [2.0, 3.0], [3.0, 0.0]]),
        ("max", [[7.0, -2.0], [2.0, 3.0], [6.0, 1.0]]),
    ],
)
def test_windows_are_combined_like_their_tokens(pooling, expected):
    combined = combine_windows(tf.constant(VECTORS), NUM_TOKENS, TEXTS, 3, pooling)
    np.testing.assert_allclose(combined, expected, rtol=1e-15)  # float64


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_a_text_with_one_window_keeps_its_vector_to_the_bit(pooling):
    vectors = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    lengths = np.random.default_rng(1).integers(1, 500, 500)
    texts = np.arange(500)
    texts[-1] = 498  # the last text has two
    combined = combine_windows(tf.constant(vectors), lengths, texts, 499, pooling)
    assert combined.dtype == tf.float32 and combined.shape == (499, 4)
    np.testing.assert_array_equal(combined[:-1], vectors[:498])


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_no_windows_give_no_vectors(pooling):
    nothing = np.zeros(0, np.int64)
    assert combine_windows(tf.zeros((0, 3)), nothing, nothing, 0, pooling).shape == (0, 3)
