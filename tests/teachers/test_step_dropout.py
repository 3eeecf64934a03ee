"""Dropout that depends on seed, layer and step alone."""

import numpy as np
import tensorflow as tf

from tfrs_distill.teachers.bert.resumable_training import step_dropout


class Two(tf.keras.layers.Layer):
    def __init__(self, rate):
        super().__init__()
        self.first = tf.keras.layers.Dropout(rate)
        self.inner = [tf.keras.layers.Dropout(rate)]

    def call(self, inputs, training=False):
        return tf.stack([layer(inputs, training=training) for layer in (self.first, *self.inner)])


def drawn(seed, steps, rate=0.25, calls=1):
    """Outputs of two layers for ones, in a process that has called them a number of times."""
    module, step = Two(rate), tf.Variable(0, dtype=tf.int64)
    outputs = []
    with step_dropout(module, seed, step):
        compiled = tf.function(lambda inputs: module(inputs, training=True))
        for number in steps:
            step.assign(number)
            for _ in range(calls):
                output = compiled(tf.ones([100, 40])).numpy()
            outputs.append(output)
    return outputs


def test_a_step_drops_the_same_for_any_history_of_calls():
    straight = drawn(3, [0, 1, 2])
    np.testing.assert_array_equal(drawn(3, [2], calls=2)[0], straight[2])
    assert (straight[0] != straight[1]).mean() > 0.2
    assert (straight[0][0] != straight[0][1]).mean() > 0.2  # the two layers differ
    assert (drawn(4, [0])[0] != straight[0]).mean() > 0.2


def test_the_share_and_the_scale_are_those_of_dropout():
    (output,) = drawn(0, [0])
    assert set(np.unique(output)) == {0.0, np.float32(1 / 0.75)}
    # 8000 draws: four standard deviations of a share of .25 are .02.
    assert abs((output == 0).mean() - 0.25) < 0.02


def test_nothing_is_dropped_outside_of_training_and_with_rate_0():
    module = Two(0.5)
    with step_dropout(module, 0, tf.Variable(0, dtype=tf.int64)):
        np.testing.assert_array_equal(module(tf.ones([9, 9]), training=False), np.ones([2, 9, 9]))
    (output,) = drawn(0, [0], rate=0.0)
    np.testing.assert_array_equal(output, np.ones([2, 100, 40]))


def test_the_layers_are_restored_afterwards():
    module = Two(0.5)
    own = module.first.call
    try:
        with step_dropout(module, 0, tf.Variable(0, dtype=tf.int64)):
            assert module.first.call != own
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert module.first.call == own
