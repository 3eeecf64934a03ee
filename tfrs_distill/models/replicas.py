"""Several devices, one batch: what a replica has to know of the others."""

from __future__ import annotations

import tensorflow as tf


def num_replicas() -> int:
    """Devices that share this step's global batch; 1 outside `tf.distribute`."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def gather_across_replicas(values: tf.Tensor) -> tf.Tensor:
    """Every replica's values along the first axis, this replica's own first.

    Replicas may hold different numbers of rows. Differentiable: a value's gradient is the sum over
    the replicas that used it.
    """
    if num_replicas() == 1:
        return values
    context = tf.distribute.get_replica_context()
    counts = context.all_gather(tf.shape(values)[:1], axis=0)
    before = tf.reduce_sum(counts[: context.replica_id_in_sync_group])
    return tf.roll(context.all_gather(values, axis=0), -before, axis=0)


def mean_over_global_batch(
    mean: tf.Tensor, weight: tf.Tensor, regularisation: tf.Tensor | float
) -> tf.Tensor:
    """What a replica has to minimise so that the sum over replicas is the global batch's loss.

    `mean * weight / sum over replicas of weight + regularisation / num_replicas`; optimizers add
    the replicas' gradients.

    Args:
        mean: this replica's mean over its rows.
        weight: the rows' summed weight, or their number.
        regularisation: the same on every replica.
    """
    if num_replicas() == 1:
        return mean + regularisation
    context = tf.distribute.get_replica_context()
    everywhere = context.all_reduce(tf.distribute.ReduceOp.SUM, weight)
    return mean * tf.math.divide_no_nan(weight, everywhere) + regularisation / num_replicas()
