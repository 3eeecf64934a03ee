"""A teacher from arrays of any model's predictions: a GBDT, PyTorch or language model, service."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.columns import plain_array, plain_texts
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.checked_arrays import whole_numbers
from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError
from tfrs_distill.models.rows import broadcast_to_rows
from tfrs_distill.teachers.arrays.array_files import (
    item_indices,
    listed_indices,
    query_values,
    read_query_arrays,
)


class ArrayTeacher:
    """A teacher with precomputed predictions: arrays by query.

    A query is a value of one of the batch's columns, a user or an example; all its rows have the
    same logits. Examples are numbered in the windows that are batched: in a `subset` from 0 again.
    The logits of a query that is not in the arrays are NaN; a `Distiller` and a teacher cache then
    raise an error with the example's id. `missing_queries` finds such queries in advance. Created
    by `from_embeddings`, `from_scores` or `from_lists`, or from a file by `read`.
    """

    def __init__(
        self, query_ids: np.ndarray, arrays: dict[str, np.ndarray], num_items: int, column: str
    ) -> None:
        query_ids = plain_array("query_ids", query_ids)
        _check_ids("query_ids", query_ids)
        for name, array in arrays.items():
            if name != "item_embeddings" and len(array) != len(query_ids):
                raise InputError(
                    f"`{name}` must have one row per query. Received: {len(array)} rows for "
                    f"{len(query_ids)} queries."
                )
            if not np.isfinite(array).all():
                row = int(np.argwhere(~np.isfinite(array))[0][0])
                raise InputError(f"`{name}` must be finite. Row {row} is not.")
        order = np.argsort(query_ids)
        self.query_ids, self.num_items, self.column = query_ids[order], num_items, column
        self.arrays = {
            name: array if name == "item_embeddings" else array[order]
            for name, array in arrays.items()
        }
        self.tensors = {name: tf.constant(array) for name, array in self.arrays.items()}

    @classmethod
    def from_embeddings(
        cls,
        query_ids: np.ndarray,
        query_embeddings: np.ndarray,
        item_embeddings: np.ndarray,
        *,
        column: str = columns.USER_ID,
    ) -> ArrayTeacher:
        """Build a factorised teacher: `logits = query_embeddings . item_embeddings`.

        Args:
            query_ids: int [num_queries], unique values of the batch's column.
            query_embeddings: float [num_queries, dim].
            item_embeddings: float [num_items, dim], in catalogue order.
            column: the batch's column that names the query: `"user_id"` or `"example_id"`.

        Raises:
            InputError: widths or lengths differ, or something is not finite.
        """
        arrays = {
            "query_embeddings": np.asarray(query_embeddings, np.float32),
            "item_embeddings": np.asarray(item_embeddings, np.float32),
        }
        shapes = [array.shape for array in arrays.values()]
        if {len(shape) for shape in shapes} != {2} or shapes[0][1] != shapes[1][1]:
            raise InputError(
                "Query and item embeddings must be two-dimensional and of one width. Received: "
                f"{shapes[0]} and {shapes[1]}."
            )
        return cls(query_ids, arrays, shapes[1][0], column)

    @classmethod
    def from_scores(
        cls, query_ids: np.ndarray, scores: np.ndarray, *, column: str = columns.USER_ID
    ) -> ArrayTeacher:
        """Build a teacher with a logit for every query and item.

        Args:
            query_ids: int [num_queries], unique values of the batch's column.
            scores: float [num_queries, num_items], logits in catalogue order.
            column: the batch's column that names the query: `"user_id"` or `"example_id"`.

        Raises:
            InputError: lengths differ, or something is not finite.
        """
        scores = np.asarray(scores, np.float32)
        if scores.ndim != 2:
            raise InputError(
                f"`scores` must be [num_queries, num_items]. Received: shape {scores.shape}."
            )
        return cls(query_ids, {"scores": scores}, scores.shape[1], column)

    @classmethod
    def from_lists(
        cls,
        query_ids: np.ndarray,
        listed_items: np.ndarray,
        listed_scores: np.ndarray | None = None,
        *,
        num_items: int,
        column: str = columns.USER_ID,
    ) -> ArrayTeacher:
        """Build a teacher from lists of its best items, with or without their logits.

        Items that are not listed get the list's smallest logit minus `log(num_items)`, so that
        together they have about the same probability as the last item of the list. Without logits,
        rank r, from 1, gets the logit `-log r`: a probability proportional to `1 / r`.

        Args:
            query_ids: int [num_queries], unique values of the batch's column.
            listed_items: int [num_queries, k], item indices, best first; 0 fills short lists.
            listed_scores: float [num_queries, k], or None if only the order is available.
            num_items: number of items in the catalogue.
            column: the batch's column that names the query: `"user_id"` or `"example_id"`.

        Raises:
            InputError: shapes differ, an index is out of range or occurs twice in a list, or a list
                is empty.
        """
        items = whole_numbers("listed_items", listed_items)
        if listed_scores is None and items.ndim == 2:
            ranks = np.arange(1, items.shape[1] + 1, dtype=np.float32)
            listed_scores = np.broadcast_to(-np.log(ranks), items.shape)
        scores = np.asarray(listed_scores, np.float32)
        if items.ndim != 2 or items.shape != scores.shape:
            raise InputError(
                "`listed_items` and `listed_scores` must both be [num_queries, k]. Received: "
                f"{items.shape} and {scores.shape}."
            )
        _check_lists(items, num_items)
        there = items > columns.PADDING
        floor = np.where(there, scores, np.inf).min(axis=1) - np.log(num_items)
        scores = np.where(there, scores, 0.0).astype(np.float32)
        arrays = {"listed_items": items, "listed_scores": scores, "floor": floor.astype(np.float32)}
        return cls(query_ids, arrays, num_items, column)

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        *,
        catalogue: Catalogue,
        user_ids: Sequence[str] | None = None,
        column: str = columns.USER_ID,
    ) -> ArrayTeacher:
        """Build a teacher from a file of another program, with the ids of the data set.

        `.npz` and `.safetensors` hold arrays by name, in one of three forms:

        - `query_ids` [num_queries], `item_ids` [n], `query_embeddings` [num_queries, dim] and
          `item_embeddings` [n, dim], whose dot products are logits;
        - `query_ids` [num_queries], `item_ids` [n] and `scores` [num_queries, n], logits;
        - `query_ids` [num_queries], `listed_items` [num_queries, k], item ids, best first, and
          optionally `listed_scores` [num_queries, k], their logits. Short lists end with `""`, or
          with a number below 0.

        `.npy` is one array, [num_queries, num_items]: logits of users 0, 1, ... (or of `user_ids`)
        and of items in catalogue order. `.parquet` is a table: one row per query and item, with the
        columns `query_id`, `item_id` and `score` (a logit) or `rank` (the smallest is the best); or
        one row per query, with `query_id` and lists in `listed_items` and optionally
        `listed_scores`.

        Ids are texts, or integers, which are read as decimal text: 50 is the item "50". Embeddings
        and scores are required for every item of the catalogue, in any order; lists may omit items
        (see `from_lists`). A model of probabilities must write their logarithms.

        Args:
            path: the file.
            catalogue: the items.
            user_ids: user ids of the data set, in the order of their indices, as in
                `Interactions.user_ids`; None if the file's queries already are values of `column`.
            column: the batch's column that names the query: `"user_id"` or `"example_id"`.

        Raises:
            InputError: the file is missing or damaged, an array is missing or has a wrong shape, an
                id is unknown or occurs twice, an item is missing, or a value is not finite.
            MissingExtraError: it is a Parquet file and pyarrow is not installed.
            ValueError: `user_ids` are given for another column than `"user_id"`.
        """
        if user_ids is not None and column != columns.USER_ID:
            raise ValueError(
                f"`user_ids` are for queries that are users. Received: column={column!r}."
            )
        found = read_query_arrays(path)
        arrays = found.arrays
        num_queries = len(next(iter(arrays.values())))
        if user_ids is not None:
            user_ids = plain_texts("user_ids", user_ids)
        query_ids = query_values(found, user_ids, num_queries, column)
        try:
            if "listed_items" in arrays:
                return cls.from_lists(
                    query_ids,
                    listed_indices(found, catalogue),
                    arrays.get("listed_scores"),
                    num_items=catalogue.num_items,
                    column=column,
                )
            order = item_indices(found, catalogue)
            if "scores" in arrays:
                return cls.from_scores(query_ids, arrays["scores"][:, order], column=column)
            return cls.from_embeddings(
                query_ids,
                arrays["query_embeddings"],
                arrays["item_embeddings"][order],
                column=column,
            )
        except InputError as error:
            if str(path) in str(error):
                raise
            raise InputError(f"{path}: {error}") from error

    def missing_queries(self, windows: Windows) -> np.ndarray:
        """Return the queries of windows that are not in the arrays, ascending.

        Example:
        >>> from tfrs_distill.data import Catalogue
        >>> items = Catalogue(("a", "b"), ("A", "B"), ("A", "B"))
        >>> history, labels = np.array([[1]] * 3), np.array([[2]] * 3)
        >>> windows = Windows(items, np.array([4, 7, 4]), history, labels)
        >>> teacher = ArrayTeacher.from_scores(np.array([7]), np.zeros([1, 2]))
        >>> teacher.missing_queries(windows).tolist()
        [4]
        """
        by_user = self.column == columns.USER_ID
        return np.setdiff1d(windows.users if by_user else np.arange(len(windows)), self.query_ids)

    def logits(self, batch: dict[str, tf.Tensor], candidate_ids: tf.Tensor) -> tf.Tensor:
        """Scores at the batch's rows, float32 [num_rows, num_candidates]; NaN for other queries.

        Raises:
            ValueError: the batch does not have the column.
        """
        if self.column not in batch:
            raise ValueError(
                f"The batch has no column {self.column!r}, which names this teacher's "
                f"queries. It has: {sorted(batch)}."
            )
        queries = tf.cast(batch[self.column], tf.int64)
        if columns.HISTORY in batch:
            queries = broadcast_to_rows(queries, batch)
        known = tf.constant(self.query_ids, tf.int64)
        place = tf.minimum(tf.searchsorted(known, queries), len(self.query_ids) - 1)
        is_known = tf.equal(tf.gather(known, place), queries)
        return tf.where(is_known[:, None], self._logits_at(place, candidate_ids), float("nan"))

    def _logits_at(self, place: tf.Tensor, candidate_ids: tf.Tensor) -> tf.Tensor:
        arrays = {
            name: tensor if name == "item_embeddings" else tf.gather(tensor, place)
            for name, tensor in self.tensors.items()
        }
        if "query_embeddings" in arrays:
            items = tf.gather(arrays["item_embeddings"], candidate_ids - 1)
            return tf.matmul(arrays["query_embeddings"], items, transpose_b=True)
        if "scores" in arrays:
            return tf.gather(arrays["scores"], candidate_ids - 1, axis=1)
        rows = tf.broadcast_to(
            tf.range(tf.shape(place)[0])[:, None], tf.shape(arrays["listed_items"])
        )
        table = tf.repeat(arrays["floor"][:, None], self.num_items + 1, axis=1)
        indices = tf.stack([rows, arrays["listed_items"]], axis=-1)
        table = tf.tensor_scatter_nd_update(table, indices, arrays["listed_scores"])
        return tf.gather(table, candidate_ids, axis=1)  # column 0 has the values of padding

    def fingerprint(self) -> str:
        """sha256 of the column and every array."""
        digest = hashlib.sha256(self.column.encode())
        for name, array in [("query_ids", self.query_ids), *sorted(self.arrays.items())]:
            digest.update(str((name, array.dtype.str, array.shape)).encode() + array.tobytes())
        return digest.hexdigest()


def _check_ids(name: str, ids: np.ndarray) -> None:
    if ids.ndim != 1 or not len(ids) or not np.issubdtype(ids.dtype, np.integer):
        raise InputError(
            f"`{name}` must be whole numbers, [num_queries], at least one. Received: {ids.dtype} "
            f"of shape {ids.shape}."
        )
    values, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise InputError(f"`{name}` must be unique. {values[counts > 1][0]} occurs twice.")


def _check_lists(items: np.ndarray, num_items: int) -> None:
    out = (items < 0) | (items > num_items)
    if out.any():
        row, place = map(int, np.argwhere(out)[0])
        raise InputError(
            f"`listed_items` must be item indices, 1 to {num_items}, or 0. Row {row} holds "
            f"{items[row, place]}."
        )
    empty = ~(items > columns.PADDING).any(axis=1)
    if empty.any():
        raise InputError(f"Every list must hold an item. Row {int(np.argmax(empty))} is empty.")
    ordered: Any = np.sort(items, axis=1)
    twice = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] > columns.PADDING)).any(axis=1)
    if twice.any():
        row = int(np.argmax(twice))
        raise InputError(f"A list must hold an item once. Row {row} holds one twice.")
