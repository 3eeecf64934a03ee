"""Which methods apply to a student, and which parts of its network remain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.compress.compressed_table import structure_of
from tfrs_distill.compress.feature_tables import feature_tables, forms_of
from tfrs_distill.compress.methods import IDS_ONLY, Methods
from tfrs_distill.compress.network import SmallerNetwork
from tfrs_distill.compress.structures.low_rank import rank_of
from tfrs_distill.compress.units import ATTENTION_HEADS, HIDDEN_UNITS, Importance, network_of
from tfrs_distill.errors import InputError
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.two_stage_student import TwoStageStudent
from tfrs_distill.models.two_tower import TwoTower

# The fields of `Methods` that may apply to one of two students and not to the other.
PARTS = (
    ("structure", "numbers", "energy", "bits", "scale"),
    ("units",),
    ("heads",),
    ("dense_rank", "dense_energy"),
    ("keeps_texts",),
)
Student = TwoTower | RankingModel | TwoStageStudent
Stage = tuple[TwoTower | RankingModel, Methods, dict[str, Importance | None]]


def stages_of(
    student: TwoStageStudent,
    read: Methods,
    unit_importance: Sequence[Importance | None] | None = None,
    head_importance: Importance | None = None,
) -> list[Stage]:
    """Return both students, with the methods that apply to each, and the importance of its parts.

    If a form of tables fits only one student, the other gets the same bits; few numbers get 8 bits.

    Raises:
        InputError: a method applies to neither, or `unit_importance` is not a pair.
    """
    of_units = (None, None) if unit_importance is None else tuple(unit_importance)
    if len(of_units) != 2:
        raise InputError(
            "`unit_importance` of two stages must be a pair: that of the retrieval student and "
            "that of the ranking student, each None if it is not available. Received: "
            f"{len(of_units)}."
        )
    students = {"retrieval": student.retrieval_student, "ranking": student.ranking_student}
    importances: list[dict[str, Importance | None]] = [
        {"unit_importance": of_units[0], "head_importance": head_importance},
        {"unit_importance": of_units[1]},
    ]
    suited = [Methods(), Methods()]
    for part in PARTS:
        wanted = {name: getattr(read, name) for name in part}
        found, reasons = [], []
        for one, before, importance in zip(students.values(), suited, importances):
            methods, reason = _first_suited(one, _options(before, wanted), importance)
            found.append(methods)
            reasons.append(reason)
        if all(reasons):
            why = " ".join(f"Of the {n} student: {error}" for n, error in zip(students, reasons))
            texts = ", ".join(map(repr, replace(Methods(), **wanted).texts))
            raise InputError(f"Neither of two stages can be compressed by {texts}. {why}")
        suited = found
    return list(zip(students.values(), suited, importances))


def _options(before: Methods, wanted: Mapping[str, Any]) -> list[Methods]:
    """The options to try: everything requested, only the bits of tables, and the previous ones."""
    options = [replace(before, **wanted)]
    if wanted.get("bits", 32) < 32:
        options.append(replace(before, bits=wanted["bits"], scale=wanted["scale"]))
        options.append(replace(before, bits=max(8, wanted["bits"])))
    return [*options, before]


def _first_suited(
    student: TwoTower | RankingModel,
    options: Sequence[Methods],
    importance: Mapping[str, Importance | None],
) -> tuple[Methods, InputError | None]:
    """Return the first option that applies to a student, and why the earlier ones do not."""
    reason = None
    for methods in options[:-1]:
        try:
            _check(student, methods, importance)
        except InputError as error:
            reason = reason or error
        else:
            return methods, reason
    return options[-1], reason


def _check(
    student: TwoTower | RankingModel, read: Methods, importance: Mapping[str, Importance | None]
) -> None:
    """Raise an `InputError` if a method does not apply to a student."""
    if isinstance(student, RankingModel):
        forms_of(feature_tables(student), read)
    else:
        table = np.asarray(student.catalogue_embeddings(), np.float32)
        structure_of(len(table), table.shape[1], with_rank(read, table, np.ones(len(table))))
    check_texts(student, read)
    of_units, of_heads = importance.get("unit_importance"), importance.get("head_importance")
    network_left(student, read, of_units, of_heads)


def with_rank(read: Methods, table: np.ndarray, weights: np.ndarray) -> Methods:
    """Return methods with the rank that keeps the requested share of a table's squares."""
    if not read.energy:
        return read
    return replace(read, numbers=(rank_of(table, weights, read.energy),), energy=0.0)


def check_texts(student: TwoTower | RankingModel, read: Methods) -> None:
    """Raise if the text tower must be removed and there is none.

    Raises:
        InputError: see above.
    """
    if read.keeps_texts:
        return
    if isinstance(student, RankingModel):
        raise InputError(
            f"{IDS_ONLY!r} removes the text tower of a retrieval student. Received: a ranking "
            "student, which has none: its words are a feature, whose table is compressed like the "
            "others."
        )
    if getattr(student.candidate_tower, "text_tower", None) is None:
        raise InputError(f"{IDS_ONLY!r} has nothing to do: the student has no text tower.")


def network_left(
    student: TwoTower | RankingModel,
    read: Methods,
    unit_importance: Importance | None = None,
    head_importance: Importance | None = None,
    weights: Sequence[tf.Variable] | None = None,
) -> SmallerNetwork:
    """Return what the methods keep of a student's network, see `network_of` and `SmallerNetwork`.

    Raises:
        InputError: a method does not apply to the network.
    """
    network = SmallerNetwork(network_of(student), weights)
    units, heads = parts_left(student, read, unit_importance, head_importance)
    if units is not None:
        network.keep_units(units)
    if heads is not None:
        network.keep_heads(heads)
    if read.dense_rank or read.dense_energy:
        network.factorize(read.dense_rank, read.dense_energy, read.bits)
    return network


def parts_left(
    student: TwoTower | RankingModel,
    read: Methods,
    unit_importance: Importance | None = None,
    head_importance: Importance | None = None,
) -> tuple[list[np.ndarray] | None, list[np.ndarray] | None]:
    """Return the hidden units and heads that are kept, int [number] per block; None for all."""
    units = heads = None
    if read.units:
        units = HIDDEN_UNITS.kept(student, read.units, unit_importance)
    if read.heads:
        heads = ATTENTION_HEADS.kept(student, read.heads, head_importance)
    return units, heads
