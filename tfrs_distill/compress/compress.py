"""Student in, smaller student out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.compress.compressed_item_tower import CompressedItemTower
from tfrs_distill.compress.encoder import SmallerEncoder
from tfrs_distill.compress.methods import Methods
from tfrs_distill.compress.structures.low_rank import rank_of
from tfrs_distill.compress.units import ATTENTION_HEADS, HIDDEN_UNITS
from tfrs_distill.errors import InputError
from tfrs_distill.models.encoders.text_tower import TextTower
from tfrs_distill.models.history_tower import HistoryTower
from tfrs_distill.models.two_tower import TwoTower


def compress(
    student: TwoTower,
    methods: Sequence[str],
    *,
    item_weights: np.ndarray | None = None,
    unit_importance: np.ndarray | None = None,
    head_importance: np.ndarray | None = None,
) -> TwoTower:
    """Make a smaller student of a trained one, which stays as it is.

    The result is a student like any other: it is evaluated and exported as it is, or trained on in
    a `Distiller`, where the teacher mends what compression broke. Its item embeddings are those of
    the student in another form, and in training too they are what that form leaves of them.

    Args:
        student: a trained retrieval student.
        methods: in order, some of

            - `units:N`: the N most important hidden units stay, of every block's feed-forward
              network its own;
            - `heads:N`: the same of the attention heads of a `RecencyAttention`; those that stay
              keep their width, and the others' part of the output is 0;
            - `dense-rank:R`: each matrix of the feed-forward networks becomes a product of two, or
              with `dense-rank:90%` of the least rank that keeps that share of each one's squares;
            - `ids-only`: the text tower goes, and with it `Recommender.add_items`; the items keep
              the embeddings that they have by id and text;
            - one form of the item table: `low-rank:R`, or `low-rank:90%` of the least rank that
              keeps that share of the table's squares; `product:M:K`, M codes a row of codebooks
              of K (256); `shared-rows:N`, where items that count little share a row;
              `hashed:N:H`, sums of H (2) rows of N buckets; `quotient-remainder:N`;
            - last, the numbers: `float16`, `int8`, `int4` or `int2`. Those of 8 bits have one scale
              in all; those of 4 and 2 bits a scale a row where the table is 8 or wider, else one in
              all; `int8:row`, `int4:column` and `int2:tensor` say otherwise. Matrices have 8 bits
              then, as LiteRT computes with them: `quantization_of(methods)` is what `to_tflite`
              needs.
        item_weights: float [num_items], how much the error of an item counts, such as how often it
            was met; alike by default.
        unit_importance: float [num_blocks, hidden_units], see `unit_importance`; by default the
            product of the norms of a unit's weights.
        head_importance: float [num_blocks, num_heads], see `head_importance`; by default the
            product of the norms of a head's weights.

    Raises:
        InputError: a method is unknown, has nothing to work on, or sizes that do not fit; the
            student is of another kind, compressed already, or its weights are not finite.

    Example:
    >>> from tfrs_distill.models import RetrievalStudent
    >>> student = RetrievalStudent.from_history(num_items=100, max_history=8, embedding_dim=16)
    >>> smaller = compress(student, ["units:8", "int4"])
    >>> smaller.encode_histories(tf.constant([[3, 1, 4]])).shape.as_list()
    [1, 17]
    """
    read = Methods.of(methods)
    items = item_tower_of(student)
    texts = getattr(items, "text_tower", None)
    if texts is None and not read.keeps_texts:
        raise InputError("'ids-only' has nothing to do: the student has no text tower.")
    table = np.asarray(student.catalogue_embeddings(), np.float32)
    weights = _row_weights(item_weights, student.num_items)
    if read.energy:
        read = replace(read, numbers=(rank_of(table, weights, read.energy),), energy=0.0)
    smaller_encoder = SmallerEncoder(student.query_tower.encoder)
    units, heads = parts_left(student, read, unit_importance, head_importance)
    if units is not None:
        smaller_encoder.keep_units(units)
    if heads is not None:
        smaller_encoder.keep_heads(heads)
    if read.dense_rank or read.dense_energy:
        smaller_encoder.factorize(read.dense_rank, read.dense_energy, read.bits)
    keeps_texts = texts is not None and read.keeps_texts
    tower = CompressedItemTower(
        student.num_items,
        items.embedding_dim,
        read,
        text_tower=_copy_of(texts) if keeps_texts else None,
        word_pieces=items.word_pieces if keeps_texts else None,
        dtype=items.dtype_policy,
        name=items.name,
    )
    queries = HistoryTower(
        tower,
        type(student.query_tower.encoder).from_config(smaller_encoder.config),
        user_attributes=student.user_attributes,
        dtype=student.query_tower.dtype_policy,
        name="history_tower",
    )
    smaller = type(student)(
        queries,
        tower,
        student.candidates,
        student.label_smoothing,
        cold_items=student.cold_items,
        name=student.name,
    )
    smaller.build_towers()
    tower.table.fit(table, weights)
    queries.encoder.set_weights(smaller_encoder.weights)
    queries.copy_prior(student.query_tower)
    return smaller


def quantization_of(methods: Sequence[str]) -> str:
    """The `quantization` of `to_tflite` that goes with these methods.

    Example:
    >>> quantization_of(["low-rank:8", "int4"])
    'int8'
    """
    return {32: "float32", 16: "float16"}.get(Methods.of(methods).bits, "int8")


def item_tower_of(student: Any) -> Any:
    """The item tower of a student that can be compressed.

    Raises:
        InputError: it is of another kind, compressed already, or its weights are not finite.
    """
    if not isinstance(student, TwoTower):
        raise InputError(
            "`student` must be a retrieval student of two towers, as "
            f"`RetrievalStudent.from_history` makes it. Received: {type(student).__name__}."
        )
    items = student.candidate_tower
    if isinstance(items, CompressedItemTower):
        raise InputError(
            f"`student` is compressed already. Received: one with {items.methods}. Give the "
            "student that it was made from."
        )
    if not all(np.isfinite(weight.numpy()).all() for weight in student.query_tower.weights):
        raise InputError(
            "The student's weights are not all finite: its training diverged. Train it again, for "
            "example with a smaller learning rate."
        )
    return items


def _row_weights(given: np.ndarray | None, num_items: int) -> np.ndarray:
    """One weight a row, padding's the least, all above 0."""
    weights = np.ones(num_items) if given is None else np.asarray(given, np.float64)
    if weights.shape != (num_items,) or not np.isfinite(weights).all() or (weights < 0).any():
        raise InputError(
            f"`item_weights` must be {num_items} numbers of at least 0, one an item. Received: "
            f"shape {weights.shape}, the least of them {weights.min(initial=np.inf)}."
        )
    least = max(1e-3 * float(weights.mean()), 1e-9)
    return np.maximum(np.concatenate([[0.0], weights]), least)


def parts_left(
    student: TwoTower,
    read: Methods,
    unit_importance: np.ndarray | None,
    head_importance: np.ndarray | None,
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The hidden units and the heads that stay, int [num_blocks, number]; None where all do."""
    units = heads = None
    if read.units:
        units = HIDDEN_UNITS.kept(student, read.units, unit_importance)
    if read.heads:
        heads = ATTENTION_HEADS.kept(student, read.heads, head_importance)
    return units, heads


def _copy_of(tower: TextTower) -> TextTower:
    """A text tower with the same weights."""
    copy = TextTower.from_config(tower.get_config())
    copy(tf.zeros([1, 1], tf.int32))  # it makes its weights now
    copy.set_weights(tower.get_weights())
    return copy
