"""The mean over rows: by hand, and rows of weight 0."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.losses.weighted_mean import weighted_mean


@pytest.mark.parametrize(
    ("values", "weights", "expected"),
    [
        ([1.0, 2.0, 6.0], None, 3.0),
        ([1.0, 2.0, 6.0], [1.0, 1.0, 2.0], 15 / 4),
        ([1.0, 2.0, 6.0], [10.0, 10.0, 20.0], 15 / 4),  # only proportions count
        ([1.0, math.nan, 5.0], [1.0, 0.0, 1.0], 3.0),
        ([1.0, math.inf], [1.0, 0.0], 1.0),
        ([4.0, 5.0], [0.0, 0.0], 0.0),
        ([], None, 0.0),
    ],
)
def test_by_hand(values, weights, expected):
    weights = None if weights is None else tf.constant(weights)
    np.testing.assert_allclose(weighted_mean(tf.constant(values, tf.float32), weights), expected)


def test_the_gradient_of_a_row_is_its_share_of_the_weight():
    values = tf.constant([1.0, 2.0, 3.0])
    with tf.GradientTape() as tape:
        tape.watch(values)
        mean = weighted_mean(values, tf.constant([1.0, 0.0, 3.0]))
    np.testing.assert_allclose(tape.gradient(mean, values), [0.25, 0.0, 0.75])
