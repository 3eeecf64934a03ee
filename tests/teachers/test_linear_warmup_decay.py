"""The learning rate of every step, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.teachers.bert.linear_warmup_decay import LinearWarmupDecay


@pytest.mark.parametrize(
    "num_steps, share, expected",
    [
        # Four steps up to 8, then six down, the last one a sixth of 8 above 0.
        (10, 0.4, [2, 4, 6, 8, 8, 8 * 5 / 6, 8 * 4 / 6, 4, 8 * 2 / 6, 8 / 6]),
        (4, 0.0, [8, 6, 4, 2]),
        (3, 0.99, [4, 8, 8]),  # at least one step without warm-up
        (1, 0.9, [8]),
        (5, 0.3, [4, 8, 8, 8 * 2 / 3, 8 / 3]),  # round(1.5) is 2
    ],
)
def test_it_increases_and_decreases_linearly(num_steps, share, expected):
    rate = LinearWarmupDecay(8.0, num_steps=num_steps, warmup_share=share)
    np.testing.assert_allclose([rate(step) for step in range(num_steps)], expected, rtol=1e-6)


def test_it_is_0_after_the_last_step():
    rate = LinearWarmupDecay(8.0, num_steps=4, warmup_share=0.25)
    assert [float(rate(step)) for step in (4, 9)] == [0.0, 0.0]


def test_an_optimizer_uses_it_step_by_step_and_a_config_restores_it():
    rate = LinearWarmupDecay(0.4, num_steps=4, warmup_share=0.5)
    again = tf.keras.optimizers.schedules.deserialize(
        tf.keras.optimizers.schedules.serialize(rate),
        custom_objects={"LinearWarmupDecay": LinearWarmupDecay},
    )
    weight, optimizer = tf.Variable(0.0), tf.keras.optimizers.SGD(again)
    seen = []
    for _ in range(4):
        optimizer.apply_gradients([(tf.constant(-1.0), weight)])
        seen.append(float(weight))
    np.testing.assert_allclose(np.diff([0, *seen]), [0.2, 0.4, 0.4, 0.2], rtol=1e-6)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((0.0, 4, 0.1), r"learning rate must be greater than 0\. Received: learning_rate=0\.0"),
        (
            (1.0, 0, 0.1),
            r"`num_steps` must be a whole number of at least 1\. Received: num_steps=0",
        ),
        ((1.0, 4, 1.0), r"`warmup_share` must be at least 0 and below 1.*warmup_share=1\.0"),
        ((1.0, 4, -0.1), "`warmup_share` must be at least 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    peak, num_steps, share = arguments
    with pytest.raises(ValueError, match=words):
        LinearWarmupDecay(peak, num_steps=num_steps, warmup_share=share)
