"""The functions of a ranking student's files: scores of rows, and of one query's items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.errors import InputError
from tfrs_distill.export.ranking_columns import describe_columns, sides_of, specs_of
from tfrs_distill.export.retrieval_module import WholeTable
from tfrs_distill.models.features import ITEM, QUERY, ItemFeature, NeighbourFeature
from tfrs_distill.models.features.table import Table, TableFeature, in_fewest_bytes
from tfrs_distill.models.ordered_weights import copy_weights
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.serving.artefact.artefact import RANKING_FORMAT
from tfrs_distill.serving.ranker import RANK, SCORE


class RankingModule(tf.Module):
    """`score`: rows to predictions; `rank`: one query and many items to the items' predictions.

    `score` takes every column that the student reads, `[num_rows, ...]`, and returns one output per
    task, float32 [num_rows]: predictions in label units, probabilities for a binary task, and for a
    next-item task the probability of the row's item.

    `rank` takes the query columns with one row and the item columns with `num_items` rows. It
    returns the same outputs, [num_items], and computes the query's features once. It exists if the
    student reads both sides.

    Constant item vectors are projected once, here: a file holds the item embeddings, not the
    vectors. The parts of a compressed table are constants of the graph. Only the student's
    variables that predictions need are kept.

    Args:
        student: a trained ranking student.

    Raises:
        InputError: a column name is not valid, or features differ about a column; or the student's
            weights are not finite.
    """

    part = "its features, crosses, hidden layers or heads"  # that become operators, for messages
    has_one_table = False

    def __init__(self, student: RankingModel) -> None:
        super().__init__(name="ranking_module")
        self.specs, self.sides = specs_of(student.features), sides_of(student.features)
        student = with_stored_tables(student)
        self.score = tf.function(student.predictions).get_concrete_function(dict(self.specs))
        functions = [self.score]
        if {QUERY, ITEM} <= set(self.sides.values()):
            specs = {
                name: _of_one_row(spec) if self.sides[name] == QUERY else spec
                for name, spec in self.specs.items()
            }
            self.rank = tf.function(student.rank).get_concrete_function(specs)
            functions.append(self.rank)
        # These alone are saved; the student is held by no attribute, or Keras would save all of it.
        variables = [variable for function in functions for variable in function.variables]
        self.needed_variables = list({id(variable): variable for variable in variables}.values())
        _check_finite(self.needed_variables)

    @property
    def served(self) -> dict[str, Any]:
        """The functions of a SavedModel, by the name of the signature."""
        ranked = {RANK: self.rank} if hasattr(self, "rank") else {}
        return {SCORE: self.score, **ranked, "serving_default": self.score}

    @property
    def example_inputs(self) -> dict[str, dict[str, np.ndarray]]:
        """Three rows, or one query and three items: unknown and missing values, then known ones."""
        score = {name: _rows(spec, 3) for name, spec in self.specs.items()}
        rank = {
            name: rows[1:2] if self.sides[name] == QUERY else rows for name, rows in score.items()
        }
        return {SCORE: score, RANK: rank} if RANK in self.served else {SCORE: score}

    def example_outputs(self) -> dict[str, dict[str, np.ndarray]]:
        """Return the predictions for the example inputs, by signature and task."""
        return {
            name: {
                task: values.numpy()
                for task, values in self.served[name](
                    {column: tf.constant(rows) for column, rows in inputs.items()}
                ).items()
            }
            for name, inputs in self.example_inputs.items()
        }


def with_stored_tables(student: RankingModel) -> RankingModel:
    """Return the student, or an equal one whose tables are those of the files.

    Item vectors are made part of the embeddings, a compressed table is constants and what makes
    rows of them, and neighbours are constants of as few bytes as their indices need.
    """
    of_neighbours = [isinstance(feature, NeighbourFeature) for feature in student.features]

    def is_plain(feature: TableFeature) -> bool:
        return isinstance(feature.table, Table) and getattr(feature, "vectors", None) is None

    if all(map(is_plain, student.table_features)) and not any(of_neighbours):
        return student
    equal = type(student).from_config(student.get_config())
    copy_weights(student, equal)
    for feature in equal.table_features:
        table = feature.table
        if not isinstance(table, Table):
            _check_finite(table.weights)
            whole = table.gather(tf.range(table.num_rows))
            feature.table = table.stored or WholeTable(whole)
        elif isinstance(feature, ItemFeature) and feature.vectors is not None:
            table.embeddings.assign(feature.embed(tf.range(table.num_rows)))
            feature.vectors = None
    for feature in equal.features:
        if isinstance(feature, NeighbourFeature):
            feature.neighbours = tf.constant(in_fewest_bytes(feature.neighbours.numpy()))
    return equal


def ranking_signature(
    module: RankingModule, student: RankingModel, vocabularies: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of `signature.json` for `module`; -1 is a dynamic size."""
    return {
        "format": RANKING_FORMAT,
        "signature_names": [name for name in module.served if name != "serving_default"],
        "columns": describe_columns(student.features, vocabularies),
        "tasks": {
            name: {
                "kind": type(task).__name__,
                "labels": task.label_range,
                "dtype": "float32",
                "shape": [-1],
            }
            for name, task in student.tasks.items()
        },
    }


def _check_finite(variables: Sequence[tf.Variable]) -> None:
    for variable in variables:
        if not np.isfinite(variable.numpy()).all():
            raise InputError(
                f"The student's weights are not all finite, among them {variable.name}. Its "
                "training diverged: train it again, for example with a smaller learning rate."
            )


def _of_one_row(spec: tf.TensorSpec) -> tf.TensorSpec:
    return tf.TensorSpec([1, *spec.shape[1:]], spec.dtype, spec.name)


def _rows(spec: tf.TensorSpec, num_rows: int) -> np.ndarray:
    """Return rows of 0 or NaN, of 1, and of 2; a free size is 2."""
    shape = [num_rows, *(2 if size is None else size for size in spec.shape[1:])]
    rows = np.zeros(shape, spec.dtype.as_numpy_dtype)
    rows += np.arange(num_rows, dtype=rows.dtype).reshape([-1] + [1] * (len(shape) - 1))
    if rows.dtype.kind == "f":
        rows[0] = np.nan
    return rows
