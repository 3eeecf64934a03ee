"""Structured pruning: fewer hidden units and attention heads in a history encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.compress.methods import HEADS, UNITS
from tfrs_distill.errors import InputError
from tfrs_distill.models.encoders.decayed_average import DecayedAverage
from tfrs_distill.models.encoders.feed_forward import FeedForward
from tfrs_distill.models.encoders.recency_attention import RecencyAttention, entries_of
from tfrs_distill.models.two_tower import TwoTower

Weights = list[tuple[tf.Variable, int]]  # and the axis along which their units are


@dataclass(frozen=True)
class Prunable:
    """What can be removed from every block of an encoder; all blocks have as many.

    Args:
        method: the name of the method that removes it.
        name: what one of them is called.
        number: how many each block of an encoder has; 0 where it has none.
        weights: of every block, those that a unit's output is a multiple of.
        sizes: float [num_blocks, number], what a unit counts where nothing else is known.
    """

    method: str
    name: str
    number: Callable[[tf.keras.layers.Layer], int]
    weights: Callable[[tf.keras.layers.Layer], list[Weights]]
    sizes: Callable[[tf.keras.layers.Layer], np.ndarray]

    @property
    def argument(self) -> str:
        """The argument of `compress` that says what each counts."""
        return f"{self.method.removesuffix('s')}_importance"

    def importance(
        self, student: TwoTower, distiller: Any, batches: Iterable[dict[str, tf.Tensor]]
    ) -> np.ndarray:
        """See `unit_importance`."""
        encoder, number = student.query_tower.encoder, self.checked_number(student)
        blocks = self.weights(encoder)
        flat = [weight for block in blocks for weight, _ in block]
        squares = []
        for batch in batches:
            with tf.GradientTape() as tape:
                loss = distiller.loss_terms(batch, False)["total_loss"]
            gradients = iter(tape.gradient(loss, flat))
            changes = [
                sum(
                    _of_units((weight * next(gradients)).numpy(), axis, number).sum(axis=1)
                    for weight, axis in block
                )
                for block in blocks
            ]
            squares.append(np.square(changes))
        if not squares:
            raise InputError("`batches` must hold at least one batch. Received: none.")
        return np.asarray(np.mean(squares, axis=0))

    def checked_number(self, student: TwoTower) -> int:
        """How many each block of the student's encoder has.

        Raises:
            InputError: it has none.
        """
        encoder = student.query_tower.encoder
        number = self.number(encoder)
        if not number:
            raise InputError(
                f"{self.method!r} needs an encoder with {self.name}s. Received: a student whose "
                f"encoder is {type(encoder).__name__}. Leave {self.method!r} out."
            )
        return number

    def kept(self, student: TwoTower, number: int, importance: np.ndarray | None) -> np.ndarray:
        """The most important ones of every block in their order, int [num_blocks, number].

        Args:
            student: whose encoder is pruned.
            number: how many stay in each block.
            importance: float [num_blocks, as many as there are], or without its first axis where
                there is one block; None for the product of the norms of the weights.

        Raises:
            InputError: the encoder has none, not more than stay, or `importance` is not usable.
        """
        there, encoder = self.checked_number(student), student.query_tower.encoder
        sizes = self.sizes(encoder)
        given = sizes if importance is None else np.atleast_2d(np.asarray(importance))
        if given.shape != sizes.shape or np.isnan(given).any():
            raise InputError(
                f"`{self.argument}` must be {there} numbers in each of "
                f"{len(sizes)} blocks, one a {self.name}. Received: shape "
                f"{np.asarray(importance).shape}{', with NaN' if np.isnan(given).any() else ''}."
            )
        if number >= there:
            raise InputError(
                f"{self.method!r} must be fewer than each block has, {there}. Received: "
                f"{self.method}:{number}."
            )
        return np.sort(np.argsort(-given, axis=1, kind="stable")[:, :number], axis=1)


def feed_forwards(encoder: tf.keras.layers.Layer) -> list[FeedForward]:
    """The feed-forward network of every block; none of an encoder that is not known."""
    if isinstance(encoder, DecayedAverage):
        return [encoder.feed_forward]
    if isinstance(encoder, RecencyAttention):
        return [block[-1] for block in encoder.blocks]
    return []


def _num_units(encoder: tf.keras.layers.Layer) -> int:
    return next((layers.hidden_units for layers in feed_forwards(encoder)), 0)


def _unit_weights(encoder: tf.keras.layers.Layer) -> list[Weights]:
    return [[(layers.hidden_reader.kernel, 0)] for layers in feed_forwards(encoder)]


def _unit_sizes(encoder: tf.keras.layers.Layer) -> np.ndarray:
    """The product of the norms of each unit's weights, what it reads by and what reads it."""
    return np.stack(
        [
            np.linalg.norm(layers.hidden.kernel.numpy(), axis=0)
            * np.linalg.norm(layers.hidden_reader.kernel.numpy(), axis=1)
            for layers in feed_forwards(encoder)
        ]
    )


def _num_heads(encoder: tf.keras.layers.Layer) -> int:
    return encoder.num_kept if isinstance(encoder, RecencyAttention) else 0


def _head_weights(encoder: RecencyAttention) -> list[Weights]:
    return [[(value.kernel, 1), (value.bias, 0)] for _, _, value, _, _ in encoder.blocks]


def _head_sizes(encoder: RecencyAttention) -> np.ndarray:
    """The product of the norms of each head's weights, its values' and what reads it.

    A head is read by the projection and, past it, by the identity.
    """
    number, width, sizes = encoder.num_kept, encoder.embedding_dim, []
    for index, (_, _, value, project, _) in enumerate(encoder.blocks):
        entries = entries_of(encoder.kept_heads[index], width // encoder.num_heads)
        projection = project.kernel.numpy()
        readers = np.eye(width)[entries] + (projection if index == 0 else projection[entries])
        both = (_of_units(value.kernel.numpy(), 1, number), _of_units(readers, 0, number))
        sizes.append(np.prod([np.linalg.norm(weights, axis=1) for weights in both], axis=0))
    return np.stack(sizes)


def _of_units(weights: np.ndarray, axis: int, number: int) -> np.ndarray:
    """Weights with one row a unit, whose entries are beside each other along `axis`."""
    return np.moveaxis(weights, axis, 0).reshape(number, -1)


HIDDEN_UNITS = Prunable(UNITS, "hidden unit", _num_units, _unit_weights, _unit_sizes)
ATTENTION_HEADS = Prunable(HEADS, "attention head", _num_heads, _head_weights, _head_sizes)


def importances(
    student: TwoTower, distiller: Any, batches: Iterable[dict[str, tf.Tensor]]
) -> dict[str, np.ndarray]:
    """The arguments of `compress` that say what counts, of all that the student's encoder has.

    Args:
        student: what `distiller` teaches.
        distiller: see `unit_importance`.
        batches: the same; they are read once for each argument.

    Example:
    >>> from tfrs_distill import Distiller, data, losses, models
    >>> windows = data.split_by_time(data.synthetic(num_users=20), max_history=4).train
    >>> items = models.ItemTower(windows.catalogue.num_items, 8)
    >>> encoder = models.RecencyAttention(4, 8, num_heads=2, num_blocks=3)
    >>> student = models.RetrievalStudent(models.HistoryTower(items, encoder), items)
    >>> student.build_towers()
    >>> distiller = Distiller(student, student, losses.SoftTargetKLDivergence())
    >>> found = importances(student, distiller, windows.batches(32).take(1))
    >>> {name: importance.shape for name, importance in found.items()}
    {'unit_importance': (3, 16), 'head_importance': (3, 2)}
    """
    measured = {}
    for one in (HIDDEN_UNITS, ATTENTION_HEADS):
        if one.number(student.query_tower.encoder):
            measured[one.argument] = one.importance(student, distiller, batches)
    return measured


def unit_importance(
    student: TwoTower, distiller: Any, batches: Iterable[dict[str, tf.Tensor]]
) -> np.ndarray:
    """How much the loss of distillation would change without each hidden unit.

    To first order a unit j whose output is left out changes a batch's loss by
    `sum_k W_jk dL/dW_jk`, W the weights that read it; its importance is the mean of the square.

    Reference: [Molchanov et al., 2019](https://arxiv.org/abs/1906.10771).

    Args:
        student: what `distiller` teaches.
        distiller: a `Distiller`, whose `total_loss` counts.
        batches: of training examples with the teacher's knowledge; a few hundred rows are enough.

    Returns:
        float [num_blocks, hidden_units], for each feed-forward network of the encoder; a
        `DecayedAverage` has one.

    Raises:
        InputError: the student's encoder has no hidden units, or there is no batch.
    """
    return HIDDEN_UNITS.importance(student, distiller, batches)


def head_importance(
    student: TwoTower, distiller: Any, batches: Iterable[dict[str, tf.Tensor]]
) -> np.ndarray:
    """How much the loss of distillation would change without each attention head.

    To first order a head whose output, times a mask `m` that is 1, is left out changes a batch's
    loss by `dL/dm = sum V dL/dV`, V the weights and the bias of its values; its importance is the
    mean of the square, as of a hidden unit.

    Reference: [Michel et al., 2019](https://arxiv.org/abs/1905.10650), who take the mean of the
    absolute value.

    Args:
        student: what `distiller` teaches.
        distiller: a `Distiller`, whose `total_loss` counts.
        batches: of training examples with the teacher's knowledge; a few hundred rows are enough.

    Returns:
        float [num_blocks, num_heads].

    Raises:
        InputError: the student's encoder has no attention heads, or there is no batch.
    """
    return ATTENTION_HEADS.importance(student, distiller, batches)
