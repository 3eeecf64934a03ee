"""Sums, means and gathers over the replicas that share a global batch."""

from __future__ import annotations

import tensorflow as tf


def num_replicas() -> int:
    """Devices that share this step's global batch; 1 outside `tf.distribute`."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def gather_across_replicas(values: tf.Tensor) -> tf.Tensor:
    """Concatenate every replica's values along the first axis, this replica's first.

    Replicas may hold different numbers of rows. Differentiable: a value's gradient is the sum over
    the replicas that used it.
    """
    if num_replicas() == 1:
        return values
    context = tf.distribute.get_replica_context()
    counts = context.all_gather(tf.shape(values)[:1], axis=0)
    before = tf.reduce_sum(counts[: context.replica_id_in_sync_group])
    return tf.roll(context.all_gather(values, axis=0), -before, axis=0)


def sum_over_replicas(values: tf.Tensor) -> tf.Tensor:
    """Add up the replicas' values."""
    if num_replicas() == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)
