"""Structured pruning: fewer hidden units and attention heads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.compress.methods import HEADS, UNITS
from tfrs_distill.errors import InputError
from tfrs_distill.models.encoders.decayed_average import DecayedAverage
from tfrs_distill.models.encoders.feed_forward import FeedForward
from tfrs_distill.models.encoders.recency_attention import RecencyAttention, entries_of
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.tasks import NextItem
from tfrs_distill.models.two_tower import TwoTower

Student = TwoTower | RankingModel
Importance = np.ndarray | Sequence[np.ndarray]  # for every block, float [number]
Weights = list[tuple[tf.Variable, int]]  # a weight and the axis of the units in it


@dataclass(frozen=True)
class Prunable:
    """A kind of part that can be removed from every block of a network, see `network_of`.

    Args:
        method: the name of the method that removes it.
        name: the name of one part, in messages.
        numbers: returns the number of parts in each block; empty if there is no such block.
        weights: returns, for every block, the weights to which a part's output is proportional.
        sizes: returns, for every block, float [number], the default importance of the parts.
    """

    method: str
    name: str
    numbers: Callable[[tf.keras.layers.Layer], list[int]]
    weights: Callable[[tf.keras.layers.Layer], list[Weights]]
    sizes: Callable[[tf.keras.layers.Layer], Sequence[np.ndarray]]

    @property
    def argument(self) -> str:
        """The argument of `compress` with their importance."""
        return f"{self.method.removesuffix('s')}_importance"

    def importance(
        self, student: Student, distiller: Any, batches: Iterable[dict[str, tf.Tensor]]
    ) -> Importance:
        """See `unit_importance`."""
        numbers, blocks = self.checked_numbers(student), self.weights(network_of(student))
        flat = [weight for block in blocks for weight, _ in block]
        squares: list[list[np.ndarray]] = []
        for batch in batches:
            with tf.GradientTape() as tape:
                loss = distiller.loss_terms(batch, False)["total_loss"]
            gradients = iter(tape.gradient(loss, flat, unconnected_gradients="zero"))
            changes = [
                sum(
                    _of_units((weight * next(gradients)).numpy(), axis, number).sum(axis=1)
                    for weight, axis in block
                )
                for block, number in zip(blocks, numbers)
            ]
            squares.append([np.square(change) for change in changes])
        if not squares:
            raise InputError("`batches` must hold at least one batch. Received: none.")
        means = [np.mean(of_block, axis=0) for of_block in zip(*squares)]
        return np.stack(means) if len(set(numbers)) == 1 else means

    def checked_numbers(self, student: Student) -> list[int]:
        """Return the number of parts in each block of the student.

        Raises:
            InputError: there is no block, or one has no parts.
        """
        network = network_of(student)
        numbers = self.numbers(network)
        if not numbers:
            raise InputError(
                f"{self.method!r} needs {_needed(student)} with {self.name}s. Received: "
                f"{_received(student)}. Leave {self.method!r} out."
            )
        return numbers

    def kept(
        self, student: Student, number: int, importance: Importance | None
    ) -> list[np.ndarray]:
        """Return the most important parts of every block in their order, int [number] each.

        If a block has at most `number` parts, all are kept.

        Args:
            student: the student to prune.
            number: the most parts to keep in each block.
            importance: by block, float [number of parts], or one array for a single block; None for
                the product of the norms of the weights.

        Raises:
            InputError: there are no parts, none would be removed, or `importance` is not valid.
        """
        numbers = self.checked_numbers(student)
        given = self.sizes(network_of(student)) if importance is None else importance
        blocks = [np.asarray(given)] if np.ndim(given[0]) == 0 else given
        shapes = [np.shape(block) for block in blocks]
        shape = np.shape(given) if len(set(shapes)) == 1 else shapes
        has_nan = any(np.isnan(block).any() for block in blocks)
        if shapes != [(of_block,) for of_block in numbers] or has_nan:
            raise InputError(
                f"`{self.argument}` must be {_listed(numbers)} numbers in each of "
                f"{len(numbers)} blocks, one per {self.name}. Received: shape "
                f"{shape}{', with NaN' if has_nan else ''}."
            )
        if number >= max(numbers):
            raise InputError(
                f"{self.method!r} must be fewer than each block has, {_listed(numbers)}. Received: "
                f"{self.method}:{number}."
            )
        return [np.sort(np.argsort(-np.asarray(b), kind="stable")[:number]) for b in blocks]


def network_of(student: Student) -> tf.keras.layers.Layer:
    """Return the network with the blocks: the history encoder, or the full ranking student."""
    return student if isinstance(student, RankingModel) else student.query_tower.encoder


def _needed(student: Student) -> str:
    return "a student" if isinstance(student, RankingModel) else "an encoder"


def _received(student: Student) -> str:
    if isinstance(student, RankingModel):
        return f"a {type(student).__name__} {_why_no_units(student)}"
    return f"a student whose encoder is {type(student.query_tower.encoder).__name__}"


def _why_no_units(student: RankingModel) -> str:
    """Explain why `hidden_layers` finds none in a ranking student."""
    heads = heads_on_hidden_units(student)
    if not student.hidden_layers or all(map(_has_kernel, heads.values())) and heads:
        return "without any"
    if not heads:
        return "whose hidden layers no task reads: a `NextItem` reads items and histories"
    unknown = next(name for name, head in heads.items() if not _has_kernel(head))
    return (
        f"with task {unknown!r}, whose head, a {type(heads[unknown]).__name__}, has no `kernel` of "
        "one row per hidden unit, so a unit's output weights are not known"
    )


def _listed(values: Sequence[Any]) -> str:
    """Join values, without repetitions."""
    return " and ".join(dict.fromkeys(map(str, values)))


def feed_forwards(encoder: tf.keras.layers.Layer) -> list[FeedForward]:
    """Return the feed-forward network of every block; empty for an unknown encoder."""
    if isinstance(encoder, DecayedAverage):
        return [encoder.feed_forward]
    if isinstance(encoder, RecencyAttention):
        return [block[-1] for block in encoder.blocks]
    return []


@dataclass(frozen=True)
class HiddenLayer:
    """Hidden units: their layer, and the matrices that read them, one row per unit."""

    layer: tf.keras.layers.Dense
    readers: tuple[tf.Variable, ...]


def heads_on_hidden_units(student: RankingModel) -> dict[str, tf.keras.layers.Layer]:
    """Return the heads that read the last hidden layer, by task: all except next-item heads."""
    return {
        name: head
        for name, head in student.heads.items()
        if not isinstance(student.tasks[name], NextItem)
    }


def _has_kernel(head: tf.keras.layers.Layer) -> bool:
    return isinstance(getattr(head, "kernel", None), tf.Variable)


def hidden_layers(network: tf.keras.layers.Layer) -> list[HiddenLayer]:
    """Return the hidden layers of every block.

    Empty for an unknown encoder, and for a ranking student with no head on hidden units or with an
    unknown one.
    """
    if not isinstance(network, RankingModel):
        return [
            HiddenLayer(layers.hidden, (layers.hidden_reader.kernel,))
            for layers in feed_forwards(network)
        ]
    heads = heads_on_hidden_units(network).values()
    if not heads or not all(map(_has_kernel, heads)):
        return []
    readers = [(layer.kernel,) for layer in network.hidden_layers[1:]]
    readers.append(tuple(head.kernel for head in heads))
    return [HiddenLayer(*both) for both in zip(network.hidden_layers, readers)]


def _num_units(network: tf.keras.layers.Layer) -> list[int]:
    return [hidden.layer.units for hidden in hidden_layers(network)]


def _unit_weights(network: tf.keras.layers.Layer) -> list[Weights]:
    return [[(reader, 0) for reader in hidden.readers] for hidden in hidden_layers(network)]


def _unit_sizes(network: tf.keras.layers.Layer) -> list[np.ndarray]:
    """Return the product of the norms of each unit's input and output weights."""
    return [
        np.linalg.norm(hidden.layer.kernel.numpy(), axis=0)
        * np.linalg.norm(np.concatenate([r.numpy() for r in hidden.readers], axis=1), axis=1)
        for hidden in hidden_layers(network)
    ]


def _num_heads(network: tf.keras.layers.Layer) -> list[int]:
    is_attention = isinstance(network, RecencyAttention)
    return [network.num_kept] * len(network.blocks) if is_attention else []


def _head_weights(encoder: RecencyAttention) -> list[Weights]:
    return [[(value.kernel, 1), (value.bias, 0)] for _, _, value, _, _ in encoder.blocks]


def _head_sizes(encoder: RecencyAttention) -> list[np.ndarray]:
    """Return the product of the norms of each head's value weights and output weights.

    A head's output is read by the projection and, through the residual, by the identity.
    """
    number, width, sizes = encoder.num_kept, encoder.embedding_dim, []
    for index, (_, _, value, project, _) in enumerate(encoder.blocks):
        entries = entries_of(encoder.kept_heads[index], width // encoder.num_heads)
        projection = project.kernel.numpy()
        readers = np.eye(width)[entries] + (projection if index == 0 else projection[entries])
        both = (_of_units(value.kernel.numpy(), 1, number), _of_units(readers, 0, number))
        sizes.append(np.prod([np.linalg.norm(weights, axis=1) for weights in both], axis=0))
    return sizes


def _of_units(weights: np.ndarray, axis: int, number: int) -> np.ndarray:
    """Return weights with one row per unit, whose entries are adjacent along `axis`."""
    return np.moveaxis(weights, axis, 0).reshape(number, -1)


HIDDEN_UNITS = Prunable(UNITS, "hidden unit", _num_units, _unit_weights, _unit_sizes)
ATTENTION_HEADS = Prunable(HEADS, "attention head", _num_heads, _head_weights, _head_sizes)


def importances(
    student: Student, distiller: Any, batches: Iterable[dict[str, tf.Tensor]]
) -> dict[str, Importance]:
    """Return the importance arguments of `compress` for all parts that the student has.

    Args:
        student: the student of `distiller`.
        distiller: see `unit_importance`.
        batches: see `unit_importance`; they are read once for each argument.

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
        if one.numbers(network_of(student)):
            measured[one.argument] = one.importance(student, distiller, batches)
    return measured


def unit_importance(
    student: Student, distiller: Any, batches: Iterable[dict[str, tf.Tensor]]
) -> Importance:
    """Estimate how much the distillation loss changes without each hidden unit.

    To first order, removing the output of unit j changes a batch's loss by
    `sum_k W_jk dL/dW_jk`, with W the weights that read it; the importance is the mean of the
    square.

    Reference: [Molchanov et al., 2019](https://arxiv.org/abs/1906.10771).

    Args:
        student: the student of `distiller`.
        distiller: a `Distiller`; its `total_loss` is used.
        batches: training examples with the teacher's knowledge; a few hundred rows are enough.

    Returns:
        float [num_blocks, hidden_units], for each feed-forward network of the encoder; a
        `DecayedAverage` has one. For a ranking student float [hidden_units] for each hidden layer.

    Raises:
        InputError: the student has no hidden units, or there is no batch.
    """
    return HIDDEN_UNITS.importance(student, distiller, batches)


def head_importance(
    student: Student, distiller: Any, batches: Iterable[dict[str, tf.Tensor]]
) -> Importance:
    """Estimate how much the distillation loss changes without each attention head.

    To first order, removing a head's output, which is multiplied by a mask `m = 1`, changes a
    batch's loss by `dL/dm = sum V dL/dV`, with V the weights and the bias of its values; the
    importance is the mean of the square, as for a hidden unit.

    Reference: [Michel et al., 2019](https://arxiv.org/abs/1905.10650), who take the mean of the
    absolute value.

    Args:
        student: the student of `distiller`.
        distiller: a `Distiller`; its `total_loss` is used.
        batches: training examples with the teacher's knowledge; a few hundred rows are enough.

    Returns:
        float [num_blocks, num_heads].

    Raises:
        InputError: the student's encoder has no attention heads, or there is no batch.
    """
    return ATTENTION_HEADS.importance(student, distiller, batches)
