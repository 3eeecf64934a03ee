"""What any model said of ranking rows, as arrays: a GBDT, a PyTorch model, a service."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from tfrs_distill import columns
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError
from tfrs_distill.models.tasks import RankingTask
from tfrs_distill.teachers.arrays.array_ids import as_texts
from tfrs_distill.teachers.arrays.named_arrays_file import read_named_arrays
from tfrs_distill.teachers.task_probabilities import task_logits


def ranking_answers_from_arrays(
    examples: RankingExamples,
    values: Mapping[str, np.ndarray],
    tasks: Sequence[RankingTask],
    *,
    example_ids: np.ndarray | None = None,
    pairs: tuple[np.ndarray, np.ndarray] | None = None,
    probabilities: bool = False,
) -> dict[str, np.ndarray]:
    """A model's predictions as a teacher's logits for each row, whatever order they come in.

    They are found by the rows' numbers or by their users and items; what is said of anything else
    is left out. `examples.with_teacher(...)` takes the result.

    Probabilities become logits, see `task_logits`; values of a `Regression` are what they are.

    Args:
        examples: the rows.
        values: by task, [n] or [n, width] in any order: logits, or probabilities, of the positive
            class [n] or of all classes [n, K]. A row of NaN says nothing of a row.
        tasks: the tasks that `values` are of.
        example_ids: int [n], row numbers of `examples`, as in the column `example_id`.
        pairs: users int [n] and items int [n], as in `examples.users` and the feature `item_id`;
            all rows of a user and an item get what is said of the two.
        probabilities: whether `values` are probabilities.

    Returns:
        float32 [num_rows, width] by task, in the order of the examples.

    Raises:
        ValueError: not one of `example_ids` and `pairs` is given.
        InputError: a row is missing or said twice, a shape is not the task's, a value is infinite,
            or a probability is not one.

    Example:
    >>> from tfrs_distill.models.tasks import Binary
    >>> examples = RankingExamples(
    ...     {"item_id": np.array([3, 4])}, {}, users=np.array([7, 7]), queries=np.array([0, 0]))
    >>> pairs = np.array([7, 7, 8]), np.array([4, 3, 3])
    >>> said = ranking_answers_from_arrays(
    ...     examples, {"like": np.array([0.5, 0.75, 0.1])}, [Binary("like")], pairs=pairs,
    ...     probabilities=True)
    >>> np.exp(said["like"]).round(4).tolist()  # odds of 3/4 and 1/2
    [[3.0], [1.0]]
    """
    if (example_ids is None) == (pairs is None):
        raise ValueError("Give either `example_ids` or `pairs`, which say what the values are of.")
    if pairs is None:
        ids = _ids("example_ids", np.asarray(example_ids))
        place, num_values = _places_of_rows(examples, ids), len(ids)
    else:
        users, items = _ids("pairs[0]", pairs[0]), _ids("pairs[1]", pairs[1])
        if len(users) != len(items):
            raise InputError(
                f"`pairs` must be as many users as items. Received: {len(users)} and {len(items)}."
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


def read_ranking_answers(
    path: str | os.PathLike[str],
    examples: RankingExamples,
    tasks: Sequence[RankingTask],
    *,
    vocabularies: Mapping[str, Sequence[str]] = MappingProxyType({}),
    probabilities: bool = False,
) -> dict[str, np.ndarray]:
    """The same from a file that another program wrote.

    `.npz`, `.safetensors` and `.parquet` hold arrays (columns) by name: `example_id`, or `user_id`
    and `item_id`; and one for each task, called as the task is, [n] or [n, width] (in Parquet,
    lists). A file may hold answers for fewer tasks than there are, and about other rows.

    Args:
        path: the file.
        examples: the rows.
        tasks: the tasks that may be in the file.
        vocabularies: of `"user_id"` and `"item_id"`, where the file names them as the data set
            does: entry i is index i + 1 of the examples. Ids are then texts, or whole numbers,
            which count by their decimal text; those that are not in the vocabulary are left out.
            A column without vocabulary holds the examples' own numbers.
        probabilities: whether the values are probabilities; see `ranking_answers_from_arrays`.

    Raises:
        InputError: as `ranking_answers_from_arrays`, or the file is missing or damaged, or has no
            ids or no task.
        MissingExtraError: it is a Parquet file and pyarrow is not installed.
    """
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
    try:
        if by_row:
            return ranking_answers_from_arrays(
                examples,
                values,
                tasks,
                example_ids=arrays[columns.EXAMPLE_ID],
                probabilities=probabilities,
            )
        pairs, values = _of_known(Path(path), arrays, values, vocabularies)
        return ranking_answers_from_arrays(
            examples, values, tasks, pairs=pairs, probabilities=probabilities
        )
    except InputError as error:
        if str(path) in str(error):
            raise
        raise InputError(f"{path}: {error}") from error


def _of_known(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    values: dict[str, np.ndarray],
    vocabularies: Mapping[str, Sequence[str]],
) -> tuple[tuple[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """The pairs as the examples' own numbers, with their values; unknown ids are left out."""
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
        return (users, items), values  # refused by name, later
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
    """One number a pair of int32."""
    return users.astype(np.int64) * (1 << 32) + items


def _places_of_rows(examples: RankingExamples, example_ids: np.ndarray) -> np.ndarray:
    """Where what is said of each row stands, int64 [num_rows]."""
    out = (example_ids < 0) | (example_ids >= len(examples))
    if out.any():
        raise InputError(
            f"`example_ids` must be row numbers of the examples, 0 to {len(examples) - 1}. "
            f"Received: {example_ids[out][0]}."
        )
    return _places(example_ids, np.arange(len(examples)), lambda row: f"example {row}")


def _places_of_pairs(examples: RankingExamples, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Where what is said of each row's user and item stands, int64 [num_rows]."""
    if columns.ITEM_ID not in examples.features:
        raise InputError(
            f"The examples have no feature {columns.ITEM_ID!r}, by which pairs of user and item "
            "could be found. Give `example_ids`."
        )
    own = _key(examples.users, examples.features[columns.ITEM_ID])

    def name(key: int) -> str:
        item = (key + (1 << 31)) % (1 << 32) - (1 << 31)
        return f"user {(key - item) >> 32} and item {item}"

    return _places(_key(users, items), own, name)


def _places(said: np.ndarray, asked: np.ndarray, name: Callable[[int], str]) -> np.ndarray:
    """Where each of `asked` stands in `said`, int64 [num_rows].

    Raises:
        InputError: something is asked that is not said, or is said twice.
    """
    order = np.argsort(said, kind="stable")
    ordered = said[order]
    twice = ordered[1:] == ordered[:-1]
    if twice.any():
        raise InputError(
            f"Something is said twice of {name(int(ordered[1:][twice][0]))}. Say it once."
        )
    place = np.minimum(np.searchsorted(ordered, asked), len(ordered) - 1)
    missing = ordered[place] != asked if len(ordered) else np.ones(len(asked), bool)
    if missing.any():
        row = int(np.argmax(missing))
        raise InputError(
            f"Nothing is said of {int(missing.sum())} of {len(asked)} examples, first of "
            f"{name(int(asked[row]))} (row {row}). Have the model answer for every row, or give a "
            "row of NaN where it has nothing to say."
        )
    return order[place]
