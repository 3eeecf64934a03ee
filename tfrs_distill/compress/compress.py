"""Compress a trained student into a smaller one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast

import numpy as np
import tensorflow as tf

from tfrs_distill.compress.bits import SMALLEST, as_converted
from tfrs_distill.compress.compressed_item_tower import CompressedItemTower
from tfrs_distill.compress.compressed_table import CompressedTable
from tfrs_distill.compress.feature_tables import (
    feature_tables,
    forms_of,
    row_weights,
    with_tables,
)
from tfrs_distill.compress.methods import Methods
from tfrs_distill.compress.suited import check_texts, network_left, stages_of, with_rank
from tfrs_distill.compress.units import Importance
from tfrs_distill.errors import InputError
from tfrs_distill.models.encoders.text_tower import TextTower
from tfrs_distill.models.features import NeighbourFeature
from tfrs_distill.models.history_tower import HistoryTower
from tfrs_distill.models.ordered_weights import assign_weights, copy_weights, ordered_weights
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.two_stage_student import TwoStageStudent
from tfrs_distill.models.two_tower import TwoTower

Student = TypeVar("Student", TwoTower, RankingModel, TwoStageStudent)


def compress(
    student: Student,
    methods: Sequence[str],
    *,
    item_weights: np.ndarray | None = None,
    unit_importance: Importance | Sequence[Importance | None] | None = None,
    head_importance: Importance | None = None,
) -> Student:
    """Return a smaller copy of a trained student, which is not changed.

    The result is a student like any other: it can be evaluated, exported, or fine-tuned in a
    `Distiller`, where the teacher repairs the loss of compression. Its embeddings are the
    student's in compressed form, in training too.

    A retrieval student has one table, the embeddings of its items. A ranking student has one per
    feature (there an item's constant vectors are part of its embedding, as in a file). Each gets
    the requested form, or else only the bits, if that makes the file smaller, and otherwise stays
    unchanged; see `forms_of`. The words, numbers and neighbours that a feature reads are kept.

    With two stages both students are compressed, each by the methods that apply to it, see
    `stages_of`.

    Args:
        student: a trained student: for retrieval, for ranking and made of features, or of two
            stages.
        methods: in order, some of

            - `units:N`: keep the N most important hidden units, in the feed-forward network of
              each block; in a ranking student, in every hidden layer that is wider;
            - `heads:N`: the same for the attention heads of a `RecencyAttention`; the remaining
              heads keep their width, and the output of the others is 0;
            - `dense-rank:R`: each matrix of the feed-forward networks, or of a ranking student's
              cross layers, becomes a product of two; `dense-rank:90%` uses the least rank that
              keeps that share of the matrix's squares;
            - `ids-only`: remove the text tower, and with it `Recommender.add_items`; the items
              keep their embeddings computed from id and text;
            - one form of the tables: `low-rank:R`, or `low-rank:90%` with the least rank that
              keeps that share of the table's squares; `product:M:K`, M codes per row from
              codebooks of K (256) entries; `shared-rows:N`, where items of low weight share a row;
              `hashed:N:H`, sums of H (2) rows from N buckets; `quotient-remainder:N`;
            - last, the precision: `float16`, `int8`, `int4` or `int2`. `int8` has one scale in
              total; `int4` and `int2` have one scale per row if the table is at least 8 wide,
              otherwise one in total; `int8:row`, `int4:column` and `int2:tensor` set this
              explicitly. Matrices then have 8 bits, since LiteRT computes with these: pass
              `quantization_of(methods)` to `to_tflite`.
        item_weights: float [num_items], the weight of each item's error, such as its interaction
            count; equal by default.
        unit_importance: float [num_blocks, hidden_units], see `unit_importance`; by default the
            product of the norms of a unit's weights. For a ranking student float [hidden_units] for
            each hidden layer, and for two stages a pair of both, each of which may be None.
        head_importance: float [num_blocks, num_heads], see `head_importance`; by default the
            product of the norms of a head's weights.

    Raises:
        InputError: a method is unknown, does not apply to the student, makes no table smaller, or
            has sizes that do not fit (with two stages: for neither student); `head_importance` is
            given for a ranking student; the student is of another kind, is already compressed, or
            has weights that are not finite.

    Example:
    >>> from tfrs_distill.models import RetrievalStudent
    >>> student = RetrievalStudent.from_history(num_items=100, max_history=8, embedding_dim=16)
    >>> smaller = compress(student, ["units:8", "int4"])
    >>> smaller.encode_histories(tf.constant([[3, 1, 4]])).shape.as_list()
    [1, 17]
    """
    read = Methods.of(methods)
    check_student(student)
    if isinstance(student, TwoStageStudent):
        smaller = [
            compress(stage, methods.texts, item_weights=item_weights, **importance)
            for stage, methods, importance in stages_of(
                student,
                read,
                cast("Sequence[Importance | None] | None", unit_importance),
                head_importance,
            )
        ]
        return student.with_students(*smaller)
    check_texts(student, read)
    of_units = cast("Importance | None", unit_importance)
    if isinstance(student, RankingModel):
        if head_importance is not None:
            raise InputError(
                "`head_importance` is for the attention heads of a retrieval student. Received: a "
                f"{type(student).__name__}, which has none. Leave it out."
            )
        return _ranking_student(student, read, item_weights, of_units)
    return _retrieval_student(student, read, item_weights, of_units, head_importance)


def quantization_of(methods: Sequence[str]) -> str:
    """Return the `quantization` argument of `to_tflite` for these methods.

    Example:
    >>> quantization_of(["low-rank:8", "int4"])
    'int8'
    """
    return {32: "float32", 16: "float16"}.get(Methods.of(methods).bits, "int8")


def check_student(student: Any) -> None:
    """Raise unless a student can be compressed.

    Raises:
        InputError: it is of another kind, already compressed, or its weights are not finite.
    """
    if isinstance(student, TwoStageStudent):
        check_student(student.retrieval_student)
        check_student(student.ranking_student)
        return
    if isinstance(student, RankingModel):
        tables, checked = [feature.table for feature in student.table_features], student
    elif isinstance(student, TwoTower):
        items = student.candidate_tower
        tables, checked = [getattr(items, "table", None)], student.query_tower
    else:
        raise InputError(
            "`student` must be a retrieval student of two towers, as "
            "`RetrievalStudent.from_history` makes it, a ranking student that is made of features, "
            f"or a `TwoStageStudent` of both. Received: {type(student).__name__}."
        )
    for table in tables:
        if isinstance(table, CompressedTable):
            raise InputError(
                "`student` is compressed already. Received: one with a table of "
                f"{table.methods.texts}. Give the uncompressed student."
            )
    if not all(np.isfinite(weight.numpy()).all() for weight in checked.weights):
        raise InputError(
            "The student's weights are not all finite: its training diverged. Train it again, for "
            "example with a smaller learning rate."
        )


def _retrieval_student(
    student: TwoTower,
    read: Methods,
    item_weights: np.ndarray | None,
    unit_importance: Importance | None,
    head_importance: Importance | None,
) -> TwoTower:
    items = student.candidate_tower
    texts = getattr(items, "text_tower", None) if read.keeps_texts else None
    table = np.asarray(student.catalogue_embeddings(), np.float32)
    weights = row_weights(item_weights, student.num_items)
    read = with_rank(read, table, weights)
    smaller_encoder = network_left(student, read, unit_importance, head_importance)
    tower = CompressedItemTower(
        student.num_items,
        items.embedding_dim,
        read,
        text_tower=None if texts is None else _copy_of(texts),
        word_pieces=None if texts is None else items.word_pieces,
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
    assign_weights(queries.encoder, smaller_encoder.weights)
    queries.copy_prior(student.query_tower)
    return smaller


def _ranking_student(
    student: RankingModel,
    read: Methods,
    item_weights: np.ndarray | None,
    unit_importance: Importance | None,
) -> RankingModel:
    tables = feature_tables(student, item_weights)
    forms = forms_of(tables, read)
    compressed = [table for table in tables if table.name in forms]
    replaced = {id(weight) for table in compressed for weight in table.weights}
    left = [weight for weight in ordered_weights(student) if id(weight) not in replaced]
    network = network_left(student, read, unit_importance, weights=left)
    features = with_tables(
        student,
        {
            t.name: CompressedTable(len(t.values), t.values.shape[1], forms[t.name])
            for t in compressed
        },
    )
    smaller = type(student).from_config(network.config | {"features": features})
    made = {feature.name: feature.table for feature in smaller.table_features}
    for table in compressed:
        made[table.name].fit(table.values, table.row_weights)
    fitted = {id(weight) for table in compressed for weight in made[table.name].weights}
    others = [weight for weight in ordered_weights(smaller) if id(weight) not in fitted]
    for weight, values in zip(others, network.weights, strict=True):
        weight.assign(values)
    for feature in smaller.features:
        if isinstance(feature, NeighbourFeature):
            weight = feature.weights_of_neighbours
            if read.bits == 16 or tf.size(weight) >= SMALLEST:
                weight.assign(as_converted(weight, read.bits))
    return smaller


def _copy_of(tower: TextTower) -> TextTower:
    """Return a text tower with the same weights."""
    copy = TextTower.from_config(tower.get_config())
    copy(tf.zeros([1, 1], tf.int32))  # creates its weights
    copy_weights(tower, copy)
    return copy
