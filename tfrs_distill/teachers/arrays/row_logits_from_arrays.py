"""Converts any model's predictions for ranking rows to logits: a GBDT, PyTorch model, service."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from tfrs_distill import columns
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError
from tfrs_distill.models.tasks import RankingTask
from tfrs_distill.teachers.arrays.array_files import as_texts
from tfrs_distill.teachers.arrays.named_arrays_file import read_named_arrays

FLOOR = 1e-6  # probabilities are kept this far from 0 and 1: logits stay within +-13.8
ROUNDING = 1e-3  # largest difference between 1 and the sum of a row's probabilities


def row_logits_from_arrays(
    examples: RankingExamples,
    values: Mapping[str, np.ndarray],
    tasks: Sequence[RankingTask],
    *,
    example_ids: np.ndarray | None = None,
    pairs: tuple[np.ndarray, np.ndarray] | None = None,
    probabilities: bool = False,
) -> dict[str, np.ndarray]:
    """Return a model's predictions, in any order, as a teacher's logits of each row.

    They are matched by row number, or by user and item; predictions for other rows are ignored.
    Pass the result to `examples.with_teacher(...)`.

    Probabilities are converted to logits, see `task_logits`; values of a `Regression` do not
    change.

    Args:
        examples: the rows.
        values: by task, [n] or [n, width] in any order: logits, or probabilities, of the positive
            class [n] or of all classes [n, K]. A row of NaN has no soft target.
        tasks: the tasks of `values`.
        example_ids: int [n], row numbers of `examples`, as in the column `example_id`.
        pairs: users int [n] and items int [n], as in `examples.users` and the feature `item_id`;
            all rows of a user and an item get the same values.
        probabilities: whether `values` are probabilities.

    Returns:
        float32 [num_rows, width] by task, in the order of the examples.

    Raises:
        ValueError: not exactly one of `example_ids` and `pairs` is given.
        InputError: a row is missing or duplicate, a shape is not the task's, a value is infinite,
            or a probability is invalid.

    Example:
    >>> from tfrs_distill.models.tasks import Binary
    >>> examples = RankingExamples(
    ...     {"item_id": np.array([3, 4])}, {}, users=np.array([7, 7]), queries=np.array([0, 0]))
    >>> pairs = np.array([7, 7, 8]), np.array([4, 3, 3])
    >>> logits = row_logits_from_arrays(
    ...     examples, {"like": np.array([0.5, 0.75, 0.1])}, [Binary("like")], pairs=pairs,
    ...     probabilities=True)
    >>> np.exp(logits["like"]).round(4).tolist()  # odds of 3/4 and 1/2
    [[3.0], [1.0]]
    """
    if (example_ids is None) == (pairs is None):
        raise ValueError("Give either `example_ids` or `pairs`: the rows of the values.")
    if pairs is None:
        ids = _ids("example_ids", np.asarray(example_ids))
        place, num_values = _places_of_rows(examples, ids), len(ids)
    else:
        users, items = _ids("pairs[0]", pairs[0]), _ids("pairs[1]", pairs[1])
        if len(users) != len(items):
            raise InputError(
                f"`pairs` must have as many users as items. Received: {len(users)} and "
                f"{len(items)}."
            )
        place, num_values = _places_of_pairs(examples, users, items), len(users)
    named = {task.name: task for task in tasks}
    unknown = sorted(set(values) - set(named))
    if unknown or not values:
        raise InputError(
            "`values` must be of one or several of the tasks "
            f"{', '.join(named)}. Received: {', '.join(values) or 'none'}."
        )
    return {
        name: task_logits(named[name], np.asarray(array), num_values, probabilities)[place]
        for name, array in values.items()
    }


class RowArrays:
    """A teacher of ranking rows whose logits are in a file of another program.

    `.npz`, `.safetensors` and `.parquet` hold arrays (columns) by name: `example_id`, or `user_id`
    and `item_id`; and one with the name of each task, [n] or [n, width] (in Parquet, lists). The
    file may omit tasks and contain other rows. It is read once.

    Args:
        path: the file.
        tasks: the tasks that may be in the file.
        vocabularies: vocabularies of `"user_id"` and `"item_id"`, if the file has the ids of the
            data set: entry i is index i + 1 of the examples. Ids are then texts, or integers, which
            are read as decimal text; ids that are not in the vocabulary are skipped. A column
            without vocabulary has the indices of the examples.
        probabilities: whether the values are probabilities; see `row_logits_from_arrays`.

    Raises:
        InputError: the file is missing or damaged, or has no ids or no task of `tasks`.
        MissingExtraError: it is a Parquet file and pyarrow is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        tasks: Sequence[RankingTask],
        *,
        vocabularies: Mapping[str, Sequence[str]] = MappingProxyType({}),
        probabilities: bool = False,
    ) -> None:
        arrays = read_named_arrays(path)
        by_row = columns.EXAMPLE_ID in arrays
        ids = (columns.EXAMPLE_ID,) if by_row else (columns.USER_ID, columns.ITEM_ID)
        values = {task.name: arrays[task.name] for task in tasks if task.name in arrays}
        if not values or not set(ids) <= set(arrays):
            raise InputError(
                f"{path} must hold `{columns.EXAMPLE_ID}`, or `{columns.USER_ID}` and "
                f"`{columns.ITEM_ID}`, and one or several of the tasks "
                f"{', '.join(task.name for task in tasks)}. It holds: {', '.join(sorted(arrays))}."
            )
        self.path, self.tasks, self.probabilities = path, tasks, probabilities
        self._ids: dict[str, Any]
        if by_row:
            self._ids, self._values = {"example_ids": arrays[columns.EXAMPLE_ID]}, values
        else:
            pairs, self._values = _of_known(Path(path), arrays, values, vocabularies)
            self._ids = {"pairs": pairs}

    def row_logits(self, examples: RankingExamples) -> dict[str, np.ndarray]:
        """Return logits by task, float32 [num_rows, width], in the order of the examples.

        Raises:
            InputError: as `row_logits_from_arrays`.
        """
        try:
            return row_logits_from_arrays(
                examples, self._values, self.tasks, **self._ids, probabilities=self.probabilities
            )
        except InputError as error:
            if str(self.path) in str(error):
                raise
            raise InputError(f"{self.path}: {error}") from error


def read_row_logits(
    path: str | os.PathLike[str],
    examples: RankingExamples,
    tasks: Sequence[RankingTask],
    *,
    vocabularies: Mapping[str, Sequence[str]] = MappingProxyType({}),
    probabilities: bool = False,
) -> dict[str, np.ndarray]:
    """Return the logits of rows in a file of another program, see `RowArrays`.

    Args:
        path: the file.
        examples: the rows.
        tasks: see `RowArrays`.
        vocabularies: see `RowArrays`.
        probabilities: see `RowArrays`.

    Raises:
        InputError: as `RowArrays` and `row_logits_from_arrays`.
        MissingExtraError: it is a Parquet file and pyarrow is not installed.
    """
    arrays = RowArrays(path, tasks, vocabularies=vocabularies, probabilities=probabilities)
    return arrays.row_logits(examples)


def _of_known(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    values: dict[str, np.ndarray],
    vocabularies: Mapping[str, Sequence[str]],
) -> tuple[tuple[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """Return the pairs as indices of the examples, with their values, without unknown ids."""
    found = []
    for name in (columns.USER_ID, columns.ITEM_ID):
        ids = arrays[name]
        if name in vocabularies:
            index_of = {entry: index for index, entry in enumerate(vocabularies[name], start=1)}
            texts = as_texts(path, name, ids)
            found.append(np.array([index_of.get(text, 0) for text in texts], np.int64))
        else:
            found.append(ids)
    users, items = found
    if any(len(array) != len(users) for array in (items, *values.values())):
        return (users, items), values  # a later check raises an error with the name
    known = np.ones(len(users), bool)
    for name, indices in ((columns.USER_ID, users), (columns.ITEM_ID, items)):
        if name in vocabularies:
            known &= indices > 0
    return (users[known], items[known]), {name: array[known] for name, array in values.items()}


def _ids(name: str, ids: np.ndarray) -> np.ndarray:
    ids, limits = np.asarray(ids), np.iinfo(np.int32)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise InputError(
            f"`{name}` must be whole numbers, [n]. Received: {ids.dtype} of shape "
            f"{list(ids.shape)}."
        )
    out = (ids < limits.min) | (ids > limits.max)
    if out.any():
        raise InputError(f"`{name}` must fit into int32. Received: {ids[out][0]}.")
    return ids.astype(np.int64)


def _key(users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Return one number per pair of int32."""
    return users.astype(np.int64) * (1 << 32) + items


def _places_of_rows(examples: RankingExamples, example_ids: np.ndarray) -> np.ndarray:
    """Return the place of each row's values, int64 [num_rows]."""
    out = (example_ids < 0) | (example_ids >= len(examples))
    if out.any():
        raise InputError(
            f"`example_ids` must be row numbers of the examples, 0 to {len(examples) - 1}. "
            f"Received: {example_ids[out][0]}."
        )
    return _places(example_ids, np.arange(len(examples)), lambda row: f"example {row}")


def _places_of_pairs(examples: RankingExamples, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Return the place of the values of each row's user and item, int64 [num_rows]."""
    if columns.ITEM_ID not in examples.features:
        raise InputError(
            f"The examples have no feature {columns.ITEM_ID!r}, by which pairs of user and item "
            "could be found. Give `example_ids`."
        )
    wanted = _key(examples.users, examples.features[columns.ITEM_ID])

    def name(key: int) -> str:
        item = (key + (1 << 31)) % (1 << 32) - (1 << 31)
        return f"user {(key - item) >> 32} and item {item}"

    return _places(_key(users, items), wanted, name)


def _places(given: np.ndarray, wanted: np.ndarray, name: Callable[[int], str]) -> np.ndarray:
    """Return the place of each of `wanted` in `given`, int64 [num_rows]."""
    order = np.argsort(given, kind="stable")
    ordered = given[order]
    twice = ordered[1:] == ordered[:-1]
    if twice.any():
        raise InputError(f"There are two values of {name(int(ordered[1:][twice][0]))}. Give one.")
    place = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    missing = ordered[place] != wanted if len(ordered) else np.ones(len(wanted), bool)
    if missing.any():
        row = int(np.argmax(missing))
        raise InputError(
            f"There are no values of {int(missing.sum())} of {len(wanted)} examples, first of "
            f"{name(int(wanted[row]))} (row {row}). Have the model score every row, or give a row "
            "of NaN."
        )
    return order[place]


def task_logits(
    task: RankingTask, values: np.ndarray, num_values: int, probabilities: bool
) -> np.ndarray:
    """Convert values or probabilities of a task to its logits, float32 [n, width].

    Probabilities p, clipped to between 1e-6 and 1 - 1e-6, become

    - `Binary`: `log p - log(1 - p)`;
    - `RatingDistribution`, `NextItem`: `log p` of every class;
    - `Ordinal`: `log q - log(1 - q)` of `q_k = P(y > level_k)`, the sum of the p of all classes
      above, for every level but the last.

    Args:
        task: the task of the values.
        values: [n] or [n, width]: logits, which do not change; or probabilities, of the positive
            class, [n], or of all K classes, [n, K]. A row of NaN stays NaN.
        num_values: n.
        probabilities: whether `values` are probabilities; a `Regression` has none.

    Raises:
        InputError: the shape is wrong, a value is not finite, or a probability is invalid.

    Example:
    >>> from tfrs_distill.models.tasks import Ordinal
    >>> stars, shares = Ordinal("stars", (1, 2, 3)), np.array([[0.2, 0.3, 0.5]])
    >>> np.exp(task_logits(stars, shares, 1, True)).round(3).tolist()  # odds 8 : 2 and 1 : 1
    [[4.0, 1.0]]
    """
    of_classes = probabilities and task.num_classes is not None
    width = task.num_classes if of_classes else task.width
    column = values[:, None] if values.ndim == 1 else values
    if column.shape != (num_values, width) or column.dtype.kind not in "iuf":
        kind = "the probabilities of all classes" if of_classes else "numbers"
        raise InputError(
            f"The values of {task.name!r} must be {kind}, {[num_values, width]}. Received: "
            f"{values.dtype} of shape {list(values.shape)}."
        )
    column = column.astype(np.float64)
    wrong = ~(np.isfinite(column).all(axis=1) | np.isnan(column).all(axis=1))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"The values of {task.name!r} must be finite, or a row of NaN. "
            f"Place {row} holds {column[row].tolist()}."
        )
    if probabilities and task.activation != "linear":
        column = _logits_of_probabilities(task, column)
    return column.astype(np.float32)


def _logits_of_probabilities(task: RankingTask, probabilities: np.ndarray) -> np.ndarray:
    """Convert rows that are finite or NaN; NaN passes all comparisons as intended."""
    wrong = ((probabilities < -FLOOR) | (probabilities > 1 + FLOOR)).any(axis=1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"The probabilities of {task.name!r} must be within 0 and 1. Place {row} holds "
            f"{probabilities[row].tolist()}. Give logits without `probabilities`."
        )
    if task.num_classes is None:
        return _logit(probabilities)
    total = probabilities.sum(axis=1)
    wrong = np.abs(total - 1) > ROUNDING
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"The probabilities of {task.name!r} must add up to 1 in every row. In place {row} "
            f"they add up to {total[row]:.4f}."
        )
    if task.activation == "sigmoid":  # of being above each level but the last
        above = np.cumsum(probabilities[:, ::-1], axis=1)[:, ::-1]
        return _logit(above[:, 1:])
    return np.log(np.clip(probabilities, FLOOR, 1 - FLOOR))


def _logit(probabilities: np.ndarray) -> np.ndarray:
    kept = np.clip(probabilities, FLOOR, 1 - FLOOR)
    return np.log(kept) - np.log1p(-kept)
