"""Ranking examples: rows of a query and an item with one label per task, as batches of columns."""

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
    """Rows of a query and an item, with features and one label per task.

    Arrays are stored as int32 (integers, booleans) or float32. NaN in a float feature means that
    the value is missing; NaN as a label means that the row has no label for the task.

    Args:
        features: numeric arrays `[num_rows, ...]` by column name: `item_id`, `history`, ...
        labels: `[num_rows]` by task; NaN = the row has no label for the task.
        users: int32 [num_rows], user index of each row. Folds and intervals are over whole users.
            It is the batch column `user_id`, so `IdFeature` can look it up.
        queries: int32 [num_rows], the candidate list of each row.
        texts: texts of the rows by name, for a text teacher; never in batches.
        teacher_logits: `[num_rows, width]` or `[num_rows]` by task; a row of NaN = no teacher
            output.
        weights: `[num_rows]`, at least 0, weight of each row; None for equal weights.
        catalogue: the items that `item_id` and `history` refer to; index 0 is none of them. None to
            skip this check.

    Raises:
        InputError: there is no row; an array has another shape, is not numeric, or holds an
            infinite value; an item index is not an integer or not in the catalogue; a name is
            reserved for a column that every batch has.

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
        """Number of candidate lists."""
        return len(np.unique(self.queries))

    def labels_of(self, task: str) -> np.ndarray:
        """Return a task's labels, float32 [num_rows], NaN = no label.

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
                "it cannot be trained or evaluated. Give labels, or remove the task."
            )
        return self.labels[task]

    def subset(self, rows: np.ndarray) -> RankingExamples:
        """Return the examples at `rows` (indices or a boolean mask), with all their columns.

        Raises:
            InputError: `rows` is empty, or the mask has another length.
        """
        rows = row_numbers(rows, len(self))
        if not len(rows):
            raise InputError(
                f"At least one of the {len(self)} rows must be selected. Received: none."
            )

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
        """Return the rows with a teacher's logits for these tasks, which replace earlier ones.

        Args:
            teacher_logits: `[num_rows]` or `[num_rows, width]` by task; a row of NaN = no output.
        """
        return replace(self, teacher_logits={**self.teacher_logits, **teacher_logits})

    def with_features(self, features: Mapping[str, np.ndarray]) -> RankingExamples:
        """Return the rows with these features, which replace earlier ones of the same name."""
        return replace(self, features={**self.features, **features})

    def joined(self, others: RankingExamples) -> RankingExamples:
        """Return these rows followed by others with the same columns.

        Raises:
            InputError: a feature, label, text, teacher logit or the weights exist in one only, or
                differ in type or width; or the catalogues differ.
        """
        kinds = ("features", "labels", "texts", "teacher_logits")
        for kind in kinds:
            first, second = getattr(self, kind), getattr(others, kind)
            odd = set(first) ^ set(second)
            if odd:
                raise InputError(
                    f"Only rows with the same {kind} can be joined. In one of them only: "
                    f"{', '.join(sorted(odd))}."
                )
            for name in first if kind != "texts" else ():
                types = [f"{a.dtype} {['rows', *a.shape[1:]]}" for a in (first[name], second[name])]
                if types[0] != types[1]:
                    raise InputError(
                        f"Only rows with the same type and width of `{kind}[{name!r}]` can be "
                        "joined. "
                        f"Received: {types[0]} and {types[1]}."
                    )
        if (self.weights is None) != (others.weights is None):
            raise InputError("Rows with weights and rows without cannot be joined.")
        catalogues = [each.catalogue and each.catalogue.fingerprint() for each in (self, others)]
        if catalogues[0] != catalogues[1]:
            raise InputError(
                "Only rows with item indices of the same catalogue can be joined. Received: rows "
                "of different catalogues, or with one and without."
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
        """Return batches of rows as dicts of columns; the last batch may be smaller.

        Columns: the features, `label/<task>`, `teacher_logits/<task>`, `user_id`, `query_id`,
        `example_id` (the row's number) and, with weights, `sample_weight`.

        Args:
            batch_size: rows per batch.
            seed: int; reshuffles every epoch, reproducibly. None keeps the order, for evaluation.
        """
        if batch_size < 1:
            raise InputError(f"`batch_size` must be at least 1. Received: {batch_size}.")
        return batches_of_rows(self._columns(), batch_size, seed)

    def list_batches(self, num_queries: int, *, seed: int | None = None) -> tf.data.Dataset:
        """Return batches of whole candidate lists: all rows of a batch's queries, list after list.

        Lists may have different lengths. Without a seed they are in the order of their first rows;
        rows keep their order within a list.

        Args:
            num_queries: lists per batch; the last batch may have fewer.
            seed: as in `batches`, for the order of the lists.
        """
        if num_queries < 1:
            raise InputError(f"`num_queries` must be at least 1. Received: {num_queries}.")
        return batches_of_lists(self._columns(), self.queries, num_queries, seed)

    def fingerprint(self) -> str:
        """Return the sha256 of all columns with their names, types and shapes."""
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
        name: name of the data set.
        train: rows to train on.
        validation: rows for model selection.
        test: rows for the final evaluation.

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
