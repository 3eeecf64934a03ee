"""Structured pruning: fewer hidden units in the feed-forward network of a history encoder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.errors import InputError
from tfrs_distill.models.encoders.decayed_average import DecayedAverage
from tfrs_distill.models.two_tower import TwoTower


def unit_importance(
    student: TwoTower, distiller: Any, batches: Iterable[dict[str, tf.Tensor]]
) -> np.ndarray:
    """How much the loss of distillation would change without each hidden unit: [hidden_units].

    To first order a unit j whose output is left out changes a batch's loss by
    `sum_k W_jk dL/dW_jk`, W the weights that read it; its importance is the mean of the square.

    Reference: [Molchanov et al., 2019](https://arxiv.org/abs/1906.10771).

    Args:
        student: what `distiller` teaches.
        distiller: a `Distiller`, whose `total_loss` counts.
        batches: of training examples with the teacher's knowledge; a few hundred rows are enough.

    Raises:
        InputError: the student's encoder has no hidden units, or there is no batch.
    """
    kernel = encoder_with_units(student).feed_forward.out.kernel
    squares = []
    for batch in batches:
        with tf.GradientTape() as tape:
            loss = distiller.loss_terms(batch, False)["total_loss"]
        gradient = tape.gradient(loss, kernel)
        squares.append(np.square(tf.reduce_sum(kernel * gradient, axis=1).numpy()))
    if not squares:
        raise InputError("`batches` must hold at least one batch. Received: none.")
    return np.asarray(np.mean(squares, axis=0))


def size_of_units(encoder: DecayedAverage) -> np.ndarray:
    """The product of the norms of each unit's weights, what it reads by and what reads it."""
    layers = encoder.feed_forward
    read = np.linalg.norm(layers.hidden.kernel.numpy(), axis=0)
    return np.asarray(read * np.linalg.norm(layers.out.kernel.numpy(), axis=1))


def encoder_with_units(student: TwoTower) -> DecayedAverage:
    """The student's encoder.

    Raises:
        InputError: it is one whose units cannot be removed.
    """
    encoder = student.query_tower.encoder
    if not isinstance(encoder, DecayedAverage):
        raise InputError(
            "Hidden units can be removed from a `DecayedAverage`. Received: a student whose "
            f"encoder is {type(encoder).__name__}. Leave 'units' out."
        )
    return encoder


def has_units(student: TwoTower) -> bool:
    """Whether the student's encoder has hidden units that can be removed."""
    return isinstance(student.query_tower.encoder, DecayedAverage)
