"""Numbers of 4 and 2 bits: the least squared error, the bytes, and the values that are read."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.compress.bits import STEP, PackedTable, least_of, log_scales_of, quantized

RNG = np.random.default_rng(0)
TABLE = np.float32(RNG.normal(size=[7, 5]) * np.array([[0.1], [1], [3], [0.5], [2], [1], [0.2]]))
SHAPES = {"row": (7, 1), "column": (1, 5), "tensor": (1, 1)}


def levels(bits):
    """The numbers of all codes, divided by the scale."""
    return np.arange(2**bits) - (2**bits - 1) / 2


def by_hand(table, log_scales, bits):
    """The nearest level of every number, in float64, with the scales of a file."""
    least = np.log(np.abs(table).max()) + np.log(1e-6)
    scales = np.exp(least + STEP * np.ceil((np.float64(log_scales) - least) / STEP - 1e-3))
    grid = levels(bits) * np.broadcast_to(scales, table.shape)[..., None]
    nearest = np.abs(grid - table[..., None]).argmin(axis=-1)
    return np.take_along_axis(grid, nearest[..., None], axis=-1)[..., 0]


@pytest.mark.parametrize("scale", SHAPES)
@pytest.mark.parametrize("bits", [4, 2])
def test_no_other_scale_has_a_much_smaller_error(bits, scale):
    table = RNG.normal(size=[60, 1]) * RNG.normal(size=[60, 60])
    found = log_scales_of(table, bits, scale)
    assert found.shape == {"row": (60, 1), "column": (1, 60), "tensor": (1, 1)}[scale]
    axis = {"row": 1, "column": 0, "tensor": None}[scale]

    def errors(log_scales):
        grid = levels(bits) * np.exp(np.float64(log_scales))[..., None]
        nearest = np.abs(grid - table[..., None]).min(axis=-1)
        return np.square(nearest).sum(axis=axis, keepdims=True)

    finer = np.log(np.geomspace(0.001, 3, 400))
    best = np.min([errors(np.full(found.shape, scale)) for scale in finer], axis=0)
    assert (errors(found) <= 1.1 * best).all()


@pytest.mark.parametrize("factor", [1.0, 1e5, 1e-5])
@pytest.mark.parametrize("width", [1, 3, 4, 5])
@pytest.mark.parametrize("scale", SHAPES)
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_file_and_training_have_the_nearest_level(bits, scale, width, factor):
    table = np.float32(factor * TABLE[:, :width])
    log_scales = log_scales_of(table, bits, scale)
    expected = by_hand(table, log_scales, bits)
    found = quantized(tf.constant(table), log_scales, least_of(table), bits)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    packed = PackedTable(table, log_scales, least_of(table), bits)
    codes = packed.codes.numpy()
    assert codes.min() >= -(2 ** (bits - 1)) and codes.max() < 2 ** (bits - 1)
    np.testing.assert_allclose(packed.gather(None), expected, rtol=1e-4)
    rows = np.array([[6, 0], [3, 3]])
    np.testing.assert_allclose(packed.gather(tf.constant(rows)), expected[rows], rtol=1e-4)
    queries = np.arange(3.0 * width).reshape(3, width) - width
    scores = packed.scores(tf.constant(queries, tf.float32))
    size = np.abs(queries).max() * np.abs(expected).max()
    np.testing.assert_allclose(scores, queries @ expected.T, atol=1e-4 * size)


def test_gradients_pass_unchanged_but_not_beyond_the_levels():
    table = tf.Variable([[0.4, -3.0, 9.0]])  # levels of scale 1 end at 1.5 and -1.5
    log_scales, least = tf.Variable([[0.0]]), -5.0
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(quantized(table, log_scales, least, 2) * [[1.0, 10.0, 100.0]])
    of_table, of_scales = tape.gradient(loss, [table, log_scales])
    np.testing.assert_allclose(of_table, [[1.0, 0.0, 0.0]], atol=1e-6)
    # By definition d x / d log s = x - table within the levels, x beyond them.
    scale = float(np.exp(least + STEP * np.ceil(-least / STEP)))
    expected = (0.5 * scale - 0.4) + 10 * (-1.5 * scale) + 100 * (1.5 * scale)
    np.testing.assert_allclose(of_scales, [[expected]], rtol=1e-5)
