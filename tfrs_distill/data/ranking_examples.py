"""Ranking examples: rows of a query and an item, with a label a task, as batches of columns."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.columns import plain_array, row_numbers
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.checked_arrays import (
    check_histories,
    check_items,
    feature_array,
    float32_array,
    logits_array,
    text_tuple,
    weights_array,
    whole_numbers,
)
from tfrs_distill.data.column_batches import batches_of_lists, batches_of_rows
from tfrs_distill.errors import InputError


@dataclass(frozen=True, eq=False)
class RankingExamples:
    """Rows of a query and an item: what is known of both, and a label for each task.

    Arrays are kept as int32 (whole numbers, true or false) or float32. NaN in a float feature says
    that the value is not known; NaN as a label says that the row has none for that task.

    Args:
        features: arrays `[num_rows, ...]` of numbers by column name: `item_id`, `history`, ...
        labels: `[num_rows]` by task, NaN = this row has no label for the task.
        users: int32 [num_rows], whose the row is: folds and intervals are made of whole users. It
            is the column `user_id` of a batch, so an index that `IdFeature` can look up.
        queries: int32 [num_rows], the candidate list that a row belongs to.
        texts: the raw texts of the rows, by name, for a teacher that reads; never batched.
        teacher_logits: `[num_rows, width]` or `[num_rows]` by task; a row of NaN = the teacher
            does not label it.
        weights: `[num_rows]`, at least 0, how much a row counts; None counts all alike.
        catalogue: the items whose indices `item_id` and `history` hold, 0 for none of them. None
            where there is no catalogue to hold them against.

    Raises:
        InputError: there is no row; an array has another shape, is not of numbers, or holds an
            infinite value; an item index is not a whole number or not in the catalogue; a name is
            taken by a column that every batch has.

    Example:
    >>> examples = RankingExamples(
    ...     {"item_id": np.array([3, 1, 3])}, {"like": np.array([1.0, 0.0, np.nan])},
    ...     users=np.array([1, 1, 2]), queries=np.array([1, 1, 2]))
    >>> batch = next(iter(examples.batches(2)))
    >>> batch["item_id"].numpy().tolist(), batch["label/like"].numpy().tolist()
    ([3, 1], [1.0, 0.0])
    """

    features: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray]
    users: np.ndarray
    queries: np.ndarray
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    teacher_logits: Mapping[str, np.ndarray] = field(default_factory=dict)
    weights: np.ndarray | None = None
    catalogue: Catalogue | None = None

    def __post_init__(self) -> None:
        num_rows = plain_array("users", self.users).size
        if num_rows == 0:
            raise InputError("Ranking examples need at least one row. Received: none.")
        changed: dict[str, object] = {
            "users": whole_numbers("users", self.users, num_rows),
            "queries": whole_numbers("queries", self.queries, num_rows),
            "features": {
                name: feature_array(name, values, num_rows)
                for name, values in self.features.items()
            },
            "labels": {
                task: float32_array(f"labels[{task!r}]", values, num_rows)
                for task, values in self.labels.items()
            },
            "teacher_logits": {
                task: logits_array(task, values, num_rows)
                for task, values in self.teacher_logits.items()
            },
            "texts": {
                name: text_tuple(name, values, num_rows) for name, values in self.texts.items()
            },
        }
        if self.weights is not None:
            changed["weights"] = weights_array(self.weights, num_rows)
        for name, value in changed.items():
            object.__setattr__(self, name, value)
        check_histories(self.features)
        if self.catalogue is not None:
            check_items(self.features, self.catalogue.num_items)

    def __len__(self) -> int:
        return len(self.users)

    @property
    def num_queries(self) -> int:
        """How many candidate lists there are."""
        return len(np.unique(self.queries))

    def labels_of(self, task: str) -> np.ndarray:
        """Return a task's labels, float32 [num_rows], NaN = none.

        Raises:
            InputError: the examples have no such task, or no row has a label for it.
        """
        if task not in self.labels:
            raise InputError(
                f"There are no labels for the task {task!r}. Tasks with labels: "
                f"{', '.join(sorted(self.labels)) or 'none'}."
            )
        if np.isnan(self.labels[task]).all():
            raise InputError(
                f"The task {task!r} has no label in any of {len(self)} rows (all are NaN), so "
                "there is nothing to learn or to measure. Give labels, or leave the task out."
            )
        return self.labels[task]

    def subset(self, rows: np.ndarray) -> RankingExamples:
        """Return the examples at `rows` (indices or a boolean mask), with all that belongs to them.

        Raises:
            InputError: `rows` is empty, or the mask has another length.
        """
        rows = row_numbers(rows, len(self))
        if not len(rows):
            raise InputError(f"At least one of the {len(self)} rows must be taken. Received: none.")

        def of_rows(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {name: array[rows] for name, array in arrays.items()}

        return replace(
            self,
            features=of_rows(self.features),
            labels=of_rows(self.labels),
            users=self.users[rows],
            queries=self.queries[rows],
            texts={name: tuple(texts[row] for row in rows) for name, texts in self.texts.items()},
            teacher_logits=of_rows(self.teacher_logits),
            weights=None if self.weights is None else self.weights[rows],
        )

    def with_teacher(self, teacher_logits: Mapping[str, np.ndarray]) -> RankingExamples:
        """Return the rows with a teacher's logits for these tasks, in place of earlier ones.

        Args:
            teacher_logits: `[num_rows]` or `[num_rows, width]` by task, a row of NaN = none.
        """
        return replace(self, teacher_logits={**self.teacher_logits, **teacher_logits})

    def with_features(self, features: Mapping[str, np.ndarray]) -> RankingExamples:
        """Return the rows with these features too, in place of earlier ones of the same name."""
        return replace(self, features={**self.features, **features})

    def joined(self, others: RankingExamples) -> RankingExamples:
        """Return these rows, and then others with the same columns.

        Raises:
            InputError: a feature, label, text, teacher's logit or the weights are in one only, or
                are of another type or width; or the rows are of different catalogues.
        """
        kinds = ("features", "labels", "texts", "teacher_logits")
        for kind in kinds:
            first, second = getattr(self, kind), getattr(others, kind)
            odd = set(first) ^ set(second)
            if odd:
                raise InputError(
                    f"Rows can be joined that have the same {kind}. In one of them only: "
                    f"{', '.join(sorted(odd))}."
                )
            for name in first if kind != "texts" else ():
                types = [f"{a.dtype} {['rows', *a.shape[1:]]}" for a in (first[name], second[name])]
                if types[0] != types[1]:
                    raise InputError(
                        f"Rows can be joined whose `{kind}[{name!r}]` are of one type and width. "
                        f"Received: {types[0]} and {types[1]}."
                    )
        if (self.weights is None) != (others.weights is None):
            raise InputError("Rows with weights and rows without cannot be joined.")
        catalogues = [each.catalogue and each.catalogue.fingerprint() for each in (self, others)]
        if catalogues[0] != catalogues[1]:
            raise InputError(
                "Rows can be joined whose item indices are of one catalogue. Received: rows of "
                "different catalogues, or with one and without."
            )

        def both(name: str) -> Any:
            first, second = getattr(self, name), getattr(others, name)
            if first is None:
                return None
            if name == "texts":
                return {key: first[key] + second[key] for key in first}
            if name in kinds:
                return {key: np.concatenate([first[key], second[key]]) for key in first}
            return np.concatenate([first, second])

        names = (*kinds, "users", "queries", "weights")
        return replace(self, **{name: both(name) for name in names})

    def batches(self, batch_size: int, *, seed: int | None = None) -> tf.data.Dataset:
        """Return batches of rows as dicts of columns; the last, smaller batch is kept.

        Columns: the features, `label/<task>`, `teacher_logits/<task>`, `user_id`, `query_id`,
        `example_id` (the row's number) and, where there are weights, `sample_weight`.

        Args:
            batch_size: rows a batch.
            seed: int; reshuffles every epoch, in an order that the seed fixes. None keeps the
                order, for evaluation.
        """
        if batch_size < 1:
            raise InputError(f"`batch_size` must be at least 1. Received: {batch_size}.")
        return batches_of_rows(self._columns(), batch_size, seed)

    def list_batches(self, num_queries: int, *, seed: int | None = None) -> tf.data.Dataset:
        """Return batches of whole candidate lists: all rows of a batch's queries, list after list.

        Lists may have unequal lengths. Without a seed they come in the order of their first rows;
        the rows of a list keep their order.

        Args:
            num_queries: lists a batch; the last batch may have fewer.
            seed: as in `batches`, of the order of the lists.
        """
        if num_queries < 1:
            raise InputError(f"`num_queries` must be at least 1. Received: {num_queries}.")
        return batches_of_lists(self._columns(), self.queries, num_queries, seed)

    def fingerprint(self) -> str:
        """Return the sha256 of all that the examples hold, with every name, type and shape."""
        digest = hashlib.sha256()
        arrays = self._columns()
        for name in sorted(arrays):
            array = np.ascontiguousarray(arrays[name])
            digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
            digest.update(array.tobytes())
        for name in sorted(self.texts):
            digest.update(f"text/{name}\0".encode())
            for text in self.texts[name]:
                digest.update(hashlib.sha256(text.encode()).digest())
        if self.catalogue is not None:
            digest.update(self.catalogue.fingerprint().encode())
        return digest.hexdigest()

    def _columns(self) -> dict[str, np.ndarray]:
        """Return every column of a batch, for all rows."""
        found = {
            **self.features,
            columns.EXAMPLE_ID: np.arange(len(self), dtype=np.int64),
            columns.USER_ID: self.users,
            columns.QUERY_ID: self.queries,
            **{columns.label(task): values for task, values in self.labels.items()},
            **{columns.teacher_logits(t): values for t, values in self.teacher_logits.items()},
        }
        return found if self.weights is None else found | {columns.SAMPLE_WEIGHT: self.weights}


@dataclass(frozen=True, eq=False)
class RankingSplits:
    """One data set for ranking, in three parts with the same columns.

    Args:
        name: the data set's name.
        train: to learn from.
        validation: to choose by.
        test: to be looked at once.

    Raises:
        InputError: a part lacks a feature or a task that another has.
    """

    name: str
    train: RankingExamples
    validation: RankingExamples
    test: RankingExamples

    def __post_init__(self) -> None:
        for part, examples in (("validation", self.validation), ("test", self.test)):
            for kind in ("features", "labels"):
                expected, received = set(getattr(self.train, kind)), set(getattr(examples, kind))
                if expected != received:
                    raise InputError(
                        f"Data set {self.name!r}: {part} and train must have the same {kind}. In "
                        f"one of them only: {', '.join(sorted(expected ^ received))}."
                    )
