"""The tables of a ranking student's features, and the form with the fewest bytes for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from tfrs_distill.compress.compressed_table import CompressedTable, bytes_of, structure_of
from tfrs_distill.compress.methods import Methods
from tfrs_distill.compress.structures.low_rank import rank_of
from tfrs_distill.errors import InputError
from tfrs_distill.models.features import HistoryFeature, ItemFeature, RankingFeature
from tfrs_distill.models.features.table import TableFeature
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.tasks import NextItem

OPERATORS = 1000  # bytes in a file: operators that compute rows from parts in `score` and `rank`


@dataclass(frozen=True)
class FeatureTable:
    """The embeddings of a feature, whatever they are computed from.

    Args:
        feature: the feature.
        values: float32 [num_rows, dim].
        row_weights: float [num_rows], the weight of each row's error.
        num_lookups: number of places in the model that look up rows.
    """

    feature: TableFeature
    values: np.ndarray
    row_weights: np.ndarray
    num_lookups: int

    @property
    def name(self) -> str:
        """The name of the feature."""
        return str(self.feature.name)

    @property
    def weights(self) -> list[tf.Variable]:
        """The variables that the embeddings are computed from."""
        vectors = getattr(self.feature, "vectors", None)
        return [*self.feature.table.weights, *([] if vectors is None else vectors.weights)]

    def bytes_with(self, methods: Methods) -> int:
        """Estimate the bytes of the table in a file, including the operators that compute rows.

        Raises:
            InputError: the sizes of `methods` do not fit the table.
        """
        num_rows, dim = self.values.shape
        structure = structure_of(num_rows, dim, methods)
        makes_rows = methods.packs or structure.name != "plain"
        return bytes_of(structure, methods) + OPERATORS * self.num_lookups * makes_rows


def feature_tables(
    student: RankingModel, item_weights: np.ndarray | None = None
) -> list[FeatureTable]:
    """Return all tables of a ranking student.

    Args:
        student: the student.
        item_weights: float [num_items], the weight of each item's error; the row for unknown items
            gets the mean weight. The rows of other tables have equal weights.

    Raises:
        InputError: `item_weights` do not fit, or there is no feature of the item id.
    """
    found = []
    for feature in student.table_features:
        rows = tf.range(feature.table.num_rows)
        if isinstance(feature, ItemFeature):
            values, weights = feature.embed(rows), row_weights(item_weights, feature.num_items)
            weights[0] = weights[1:].mean()
        else:
            values, weights = feature.table.gather(rows), np.ones(feature.table.num_rows)
        readers = [getattr(one, "item_feature", one) for one in student.features].count(feature)
        of_all = sum(isinstance(task, NextItem) for task in student.tasks.values())
        num_lookups = readers + of_all * isinstance(feature, ItemFeature)
        values = np.asarray(values, np.float32)
        found.append(FeatureTable(feature, values, weights, num_lookups))
    if item_weights is not None and not any(isinstance(t.feature, ItemFeature) for t in found):
        raise InputError(
            "`item_weights` are for the items of an `ItemFeature`. Received: a student without "
            "one. Leave them out."
        )
    return found


def row_weights(given: np.ndarray | None, num_items: int) -> np.ndarray:
    """Return one weight per row of an item table, all above 0; row 0 (padding) has the least.

    Raises:
        InputError: they are not `num_items` numbers of at least 0.
    """
    weights = np.ones(num_items) if given is None else np.asarray(given, np.float64)
    if weights.shape != (num_items,) or not np.isfinite(weights).all() or (weights < 0).any():
        raise InputError(
            f"`item_weights` must be {num_items} numbers of at least 0, one per item. Received: "
            f"shape {weights.shape}, minimum {weights.min(initial=np.inf)}."
        )
    least = max(1e-3 * float(weights.mean()), 1e-9)
    return np.maximum(np.concatenate([[0.0], weights]), least)


def forms_of(tables: Sequence[FeatureTable], read: Methods) -> dict[str, Methods]:
    """Return the form with the fewest bytes for each table, by name; without unchanged tables.

    The possible forms: the form of the methods; only the bits; 8 bits as in TensorFlow's converter
    if the bits are fewer (other matrices have 8 bits then, too); the table in 32 bits.

    Args:
        tables: see `feature_tables`.
        read: the methods.

    Raises:
        InputError: the methods include a form of tables, and no table has the fewest bytes with it.
    """
    wanted = replace(read, units=0, heads=0, dense_rank=0, dense_energy=0.0)
    if wanted == Methods():
        return {}
    found, as_wanted, reasons = {}, False, []
    for table in tables:
        sizes: dict[Methods, int] = {}
        for form in _forms(table, wanted):
            try:
                sizes[form] = table.bytes_with(form)
            except InputError as error:
                reasons.append(f"{table.name}: {error}")
        best = min(reversed(sizes), key=lambda form: sizes[form])  # if equal, the simplest
        as_wanted |= (best.structure, best.bits) == (wanted.structure, wanted.bits)
        if best != Methods():
            found[table.name] = best
    if not as_wanted:
        raise InputError(_of_no_table(tables, wanted, reasons))
    return found


def _forms(table: FeatureTable, wanted: Methods) -> list[Methods]:
    """Return the possible forms of a table, the requested one first."""
    alone = replace(wanted, structure="plain", numbers=(), energy=0.0)
    if wanted.energy:
        rank = rank_of(table.values, table.row_weights, wanted.energy)
        wanted = replace(wanted, numbers=(rank,), energy=0.0)
    by_converter = [Methods(bits=8)] if wanted.bits < 8 else []
    return list(dict.fromkeys([wanted, alone, *by_converter, Methods()]))


def _of_no_table(tables: Sequence[FeatureTable], wanted: Methods, reasons: Sequence[str]) -> str:
    numbers = ":".join([wanted.structure, *map(str, wanted.numbers)])
    named = [] if wanted.structure == "plain" else [numbers]
    named += [] if wanted.bits == 32 else [f"{wanted.bits} bits"]
    sizes = ", ".join("{} of {:,} x {}".format(t.name, *t.values.shape) for t in tables)
    return (
        f"None of the student's tables takes fewer bytes with {' and '.join(named)}. Received: "
        f"{sizes or 'a student without tables'}. Choose other sizes, fewer methods, or none: "
        "`quantization` of an export stores all large tables with 8 bits. " + " ".join(reasons[:1])
    ).strip()


def with_tables(
    student: RankingModel, tables: Mapping[str, CompressedTable]
) -> list[RankingFeature]:
    """Return new features; those in `tables`, by name, include their vectors in the new table."""
    made: dict[str, RankingFeature] = {}
    for feature in student.table_features:
        config = feature.get_config()
        if feature.name in tables:
            config["table"] = tables[feature.name]
            if isinstance(feature, ItemFeature):
                if config["vector_dim"] is not None:
                    # Hiding an id would also hide the vector, which is now part of its row.
                    config |= {"id_dropout": 0.0, "vector_dropout": 0.0}
                config["vector_dim"] = None
        made[feature.name] = type(feature).from_config(config)
    for feature in student.features:
        if feature.name not in made:
            config = feature.get_config()
            if isinstance(feature, HistoryFeature):
                config["item_feature"] = made[feature.item_feature.name]
            made[feature.name] = type(feature).from_config(config)
    return [made[feature.name] for feature in student.features]
