"""The ids in a file of answers, and which query and item of the data each of them is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.errors import InputError


class Answers(NamedTuple):
    """What a file holds, with ids as it writes them.

    Args:
        path: the file, for messages.
        query_ids: one text a query; None where the file has none (`.npy`).
        item_ids: one text an item of the arrays' columns; None where it has none.
        arrays: `query_embeddings` and `item_embeddings`, or `scores`, or `listed_items` (texts,
            `""` where a list is shorter) and perhaps `listed_scores`.
    """

    path: Path
    query_ids: list[str] | None
    item_ids: list[str] | None
    arrays: dict[str, np.ndarray]


def as_texts(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    """Ids as texts: whole numbers by their decimal text, a number below 0 (or no text) as `""`."""
    if values.dtype.kind in "iu":
        return np.where(values < 0, "", values.astype(str)).astype(object)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    if values.dtype.kind not in "U":
        raise InputError(
            f"{path}: `{name}` must be whole numbers or texts. Received: {values.dtype}. In NumPy: "
            "np.array(ids, dtype=str)."
        )
    return values.astype(object)


def item_indices(answers: Answers, catalogue: Catalogue) -> np.ndarray:
    """The column of each catalogue item in the arrays: int [num_items].

    Raises:
        InputError: an item is missing, unknown or there twice.
    """
    if answers.item_ids is None:
        there = answers.arrays["scores"].shape[1]
        if there != catalogue.num_items:
            raise InputError(
                f"{answers.path} has {there} columns, but the catalogue has {catalogue.num_items} "
                "items. A .npy file holds every item in their order; an .npz file names them "
                "(`item_ids`)."
            )
        return np.arange(there)
    column = _numbered(answers.path, "item", answers.item_ids)
    known = set(catalogue.item_ids)
    for item_id in answers.item_ids:
        if item_id not in known:
            raise _unknown_item(answers.path, item_id, catalogue)
    missing = [item_id for item_id in catalogue.item_ids if item_id not in column]
    if missing:
        raise InputError(
            f"{answers.path} says nothing about {len(missing)} of the catalogue's "
            f"{catalogue.num_items} items, first: item {missing[0]!r}. Have the model score every "
            "item, or write its lists (`listed_items`), which need not hold all."
        )
    return np.array([column[item_id] for item_id in catalogue.item_ids])


def listed_indices(answers: Answers, catalogue: Catalogue) -> np.ndarray:
    """The lists as item indices, int32 [num_queries, k], 0 where a list is shorter.

    Raises:
        InputError: an item is unknown, twice in a list, or behind an empty place; or a list is
            empty.
    """
    index_of = {item_id: index for index, item_id in enumerate(catalogue.item_ids, start=1)}
    listed = answers.arrays["listed_items"]
    indices = np.zeros(listed.shape, np.int32)
    for row, items in enumerate(listed.tolist()):
        query = query_name(answers, row)
        there = [item_id for item_id in items if item_id]
        if not there or items[: len(there)] != there:
            what = "is empty" if not there else "has an empty place before an item"
            raise InputError(
                f"{answers.path}: the list of {query} {what}. Give every query at least one item, "
                "and fill short lists at their end."
            )
        for place, item_id in enumerate(there):
            if item_id not in index_of:
                raise _unknown_item(answers.path, item_id, catalogue)
            indices[row, place] = index_of[item_id]
        if len(set(there)) < len(there):
            twice = next(item_id for item_id in there if there.count(item_id) > 1)
            raise InputError(
                f"{answers.path}: the list of {query} names item {twice!r} twice. Name it once."
            )
    return indices


def query_values(
    answers: Answers, user_ids: Sequence[str] | None, num_queries: int, column: str
) -> np.ndarray:
    """The values of the batch's column that the file's queries stand for: int64 [num_queries].

    Raises:
        InputError: a query is unknown, there twice, or no number where it must be.
    """
    path = answers.path
    if user_ids is None:
        if answers.query_ids is None:
            return np.arange(num_queries)
        _numbered(path, "query", answers.query_ids)
        wrong = [query for query in answers.query_ids if not query.isdecimal()]
        if wrong:
            raise InputError(
                f"{path}: query {wrong[0]!r} is not a value of the column {column!r}, a whole "
                "number. Give `user_ids`, the data set's own ids in the order of its user indices."
            )
        return np.array([int(query) for query in answers.query_ids], np.int64)
    if answers.query_ids is None:
        if num_queries != len(user_ids):
            raise InputError(
                f"{path} has rows for {num_queries} users, but `user_ids` names {len(user_ids)}. A "
                ".npy file holds every user in their order; an .npz file names them (`query_ids`)."
            )
        return np.arange(num_queries)
    index_of = {user_id: index for index, user_id in enumerate(user_ids)}
    _numbered(path, "query", answers.query_ids)
    unknown = [query for query in answers.query_ids if query not in index_of]
    if unknown:
        raise InputError(
            f"{path}: {len(unknown)} of {len(answers.query_ids)} queries are not among the "
            f"{len(user_ids)} users of the data, first: {unknown[0]!r}. Write ids as the data set "
            "does, and leave other users out."
        )
    return np.array([index_of[query] for query in answers.query_ids], np.int64)


def _unknown_item(path: Path, item_id: str, catalogue: Catalogue) -> InputError:
    return InputError(
        f"{path}: item {item_id!r} is not among the catalogue's {catalogue.num_items} items, such "
        f"as {catalogue.item_ids[0]!r}. Write ids as the data set does, and leave other items out."
    )


def query_name(answers: Answers, row: int) -> str:
    """What a message calls the query of a row."""
    return f"row {row}" if answers.query_ids is None else f"query {answers.query_ids[row]!r}"


def _numbered(path: Path, kind: str, ids: Sequence[str]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for number, name in enumerate(ids):
        if name in numbers:
            raise InputError(f"{path}: {kind} {name!r} occurs twice. Write each {kind} once.")
        numbers[name] = number
    return numbers
