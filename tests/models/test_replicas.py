"""Sharing between replicas, by hand: two devices with different numbers of rows.

TensorFlow splits the processor into two devices only before it starts, so the values come from a
separate process: this file, run as a script.
"""

import json

import numpy as np
import pytest
import tensorflow as tf
from own_process import printed_by

from tfrs_distill.models.replicas import gather_across_replicas, num_replicas
from tfrs_distill.models.step import term_of

VALUES = ([1.0, 2.0], [10.0, 20.0, 30.0])
SLOPES = ([1.0, 2.0, 3.0, 4.0, 5.0], [10.0, 20.0, 30.0, 40.0, 50.0])


def main():
    [processor] = tf.config.list_physical_devices("CPU")
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(processor, halves)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

    def here(per_replica):
        """The value on this replica."""
        context = tf.distribute.get_replica_context()
        return tf.switch_case(
            context.replica_id_in_sync_group,
            [lambda value=value: tf.convert_to_tensor(value) for value in per_replica],
        )

    def gathered():
        values, slopes = here(VALUES), here(SLOPES)
        with tf.GradientTape() as tape:
            tape.watch(values)
            everywhere = gather_across_replicas(values)
            total = tf.reduce_sum(slopes * everywhere)
        return everywhere, tape.gradient(total, values)

    def on_two(function):
        """A function's result on each replica, eagerly or in a graph."""
        results = strategy.run(function)
        local = strategy.experimental_local_results
        if isinstance(results, tuple):
            return list(zip(*([v.numpy().tolist() for v in local(part)] for part in results)))
        return [v.numpy().tolist() for v in local(results)]

    def mean(means, weights):
        def term():
            # Two rows per replica, with the given mean.
            values = tf.stack([here(means) - 1.0, here(means) + 1.0])
            found = term_of(values, here(weights) * tf.constant([0.5, 0.5]))
            return found.part, found.mean, found.weight

        return term

    with strategy.scope():
        beside_a_step = num_replicas()
    outcomes = {
        "num_replicas": on_two(lambda: tf.constant(num_replicas())),
        "beside a step": beside_a_step,
        "gathered": on_two(gathered),
        "gathered in a graph": on_two(tf.function(gathered)),
        "gathered ids": on_two(lambda: gather_across_replicas(here(([[3, 4]], [[5, 6], [7, 8]])))),
        "gathered nothing": on_two(
            lambda: gather_across_replicas(here((np.zeros([0], np.int32), np.array([7], np.int32))))
        ),
        "mean": on_two(mean([2.0, 5.0], [1.0, 3.0])),
        "mean of one": on_two(mean([2.0, 5.0], [0.0, 3.0])),
        "mean of none": on_two(mean([2.0, 5.0], [0.0, 0.0])),
    }
    print(json.dumps(outcomes))


@pytest.fixture(scope="module")
def on_two_replicas():
    return printed_by(__file__, timeout=300)


def test_there_is_one_replica_outside_a_strategy_and_outside_a_step(on_two_replicas):
    assert num_replicas() == 1
    assert on_two_replicas["beside a step"] == 1
    assert on_two_replicas["num_replicas"] == [2, 2]


def test_one_replica_keeps_its_values_and_its_mean():
    values = tf.constant([1.0, 2.0])
    np.testing.assert_array_equal(gather_across_replicas(values), [1.0, 2.0])
    term = term_of(tf.constant([2.0, 4.0]), tf.constant([3.0, 1.0]))
    assert (float(term.part), float(term.mean), float(term.weight)) == (2.5, 2.5, 4.0)
    assert float(term_of(tf.constant([2.0]), tf.constant([0.0])).part) == 0.0
    assert float(term_of(tf.constant([2.0, 4.0]), None).weight) == 2.0


@pytest.mark.parametrize("how", ["gathered", "gathered in a graph"])
def test_own_values_come_first_and_gradients_are_summed_over_all_replicas(on_two_replicas, how):
    (first, first_gradient), (second, second_gradient) = on_two_replicas[how]
    assert first == [1.0, 2.0, 10.0, 20.0, 30.0]
    assert second == [10.0, 20.0, 30.0, 1.0, 2.0]
    # The first replica's values are at 0 and 1 there, at 3 and 4 on the second replica.
    assert first_gradient == [1.0 + 40.0, 2.0 + 50.0]
    assert second_gradient == [10.0 + 3.0, 20.0 + 4.0, 30.0 + 5.0]


def test_ids_in_rows_are_gathered_along_the_first_axis(on_two_replicas):
    assert on_two_replicas["gathered ids"] == [
        [[3, 4], [5, 6], [7, 8]],
        [[5, 6], [7, 8], [3, 4]],
    ]


def test_a_replica_without_rows_gathers_the_others_rows(on_two_replicas):
    assert on_two_replicas["gathered nothing"] == [[7], [7]]


def test_parts_of_the_mean_sum_to_that_of_the_global_batch(on_two_replicas):
    # Part, mean and weight: (1 * 2 + 3 * 5) / 4 = 4.25, whose parts are 0.5 and 3.75.
    assert on_two_replicas["mean"] == [[0.5, 1.0, 4.0], [3.75, 7.5, 4.0]]
    assert on_two_replicas["mean of one"] == [[0.0, 0.0, 3.0], [5.0, 10.0, 3.0]]
    assert on_two_replicas["mean of none"] == [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


if __name__ == "__main__":
    main()
