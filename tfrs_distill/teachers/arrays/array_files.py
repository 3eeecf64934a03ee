"""Reads and checks files of other programs' predictions by query, with the data set's indices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.errors import InputError
from tfrs_distill.teachers.arrays.named_arrays_file import (
    read_by_ending,
    read_named_arrays,
    read_parquet_table,
    unreadable,
)

FORMS = (  # the arrays of each form in addition to `query_ids`; the first identifies the form
    ("query_embeddings", "item_embeddings", "item_ids"),
    ("scores", "item_ids"),
    ("listed_items",),
)


class QueryArrays(NamedTuple):
    """The arrays of a file, with the ids of the file.

    Args:
        path: the file, for messages.
        query_ids: one text per query; None if the file has none (`.npy`).
        item_ids: one text per item (column) of the arrays; None if the file has none.
        arrays: `query_embeddings` and `item_embeddings`, or `scores`, or `listed_items` (texts,
            `""` at the end of a shorter list) and optionally `listed_scores`.
    """

    path: Path
    query_ids: list[str] | None
    item_ids: list[str] | None
    arrays: dict[str, np.ndarray]


def read_query_arrays(path: str | os.PathLike[str]) -> QueryArrays:
    """Read a file, in a format given by its ending; for the forms see `ArrayTeacher.read`.

    Raises:
        InputError: it is missing, damaged or of another format, or an array is missing or has a
            wrong shape.
        MissingExtraError: it is a Parquet file and pyarrow is not installed.
    """
    return read_by_ending(
        Path(path),
        {
            ".npz": _read_named,
            ".npy": _read_npy,
            ".safetensors": _read_named,
            ".parquet": _read_parquet,
        },
    )


def _named(path: Path, arrays: dict[str, np.ndarray]) -> QueryArrays:
    """Check the arrays' names and shapes, and convert ids to texts."""
    form = next((form for form in FORMS if form[0] in arrays), None)
    needed = ("query_ids", *(form or ()))
    missing = [name for name in needed if name not in arrays]
    if form is None or missing:
        raise InputError(
            f"{path} must hold `query_ids` and one of: `query_embeddings`, `item_embeddings` and "
            "`item_ids`; `scores` and `item_ids`; `listed_items` and optionally `listed_scores`. "
            f"It holds: {', '.join(sorted(arrays)) or 'nothing'}."
        )
    shapes = {name: arrays[name].shape for name in arrays}
    for name in ("query_ids", "item_ids"):
        if name in needed and len(shapes[name]) != 1:
            raise InputError(f"{path}: `{name}` must be one-dimensional, not {shapes[name]}.")
    ids = {
        name: as_texts(path, name, arrays[name]) if name in needed else None
        for name in ("query_ids", "item_ids", "listed_items")
    }
    numbers = [name for name in form if name not in ids]
    if form[0] == "listed_items" and "listed_scores" in arrays:
        numbers = ["listed_scores"]
    kept = {name: _floats(path, name, arrays[name]) for name in numbers}
    if ids["listed_items"] is not None:
        kept["listed_items"] = ids["listed_items"]
    query_ids, item_ids = (
        None if texts is None else texts.tolist() for texts in (ids["query_ids"], ids["item_ids"])
    )
    return _checked(QueryArrays(path, query_ids, item_ids, kept))


def _checked(found: QueryArrays) -> QueryArrays:
    """Raise an InputError if an array has a wrong shape or a value that is not finite."""
    queries = None if found.query_ids is None else len(found.query_ids)
    items = None if found.item_ids is None else len(found.item_ids)
    expected: dict[str, tuple[int | None, int | None]] = {
        "query_embeddings": (queries, None),
        "item_embeddings": (items, None),
        "scores": (queries, items),
        "listed_items": (queries, None),
        "listed_scores": (queries, None),
    }
    for name, array in found.arrays.items():
        wanted = expected[name]
        if array.ndim != 2 or any(w not in (None, n) for w, n in zip(wanted, array.shape)):
            shape = ", ".join("any" if number is None else str(number) for number in wanted)
            raise InputError(
                f"{found.path}: `{name}` must be [{shape}], one row for each id. Received: shape "
                f"{list(array.shape)}."
            )
    for name in set(found.arrays) - {"listed_items"}:
        values = found.arrays[name]
        wrong = ~np.isfinite(values)
        if name == "listed_scores" and found.arrays["listed_items"].shape == values.shape:
            wrong &= found.arrays["listed_items"] != ""
        if wrong.any():
            row, place = map(int, np.argwhere(wrong)[0])
            owner = query_name(found, row)
            if name == "item_embeddings" and found.item_ids is not None:
                owner = f"item {found.item_ids[row]!r}"
            raise InputError(
                f"{found.path}: `{name}` of {owner} holds {values[row, place]} at place {place}. "
                "Give finite numbers; of probabilities p, log(p + 1e-12)."
            )
    return found


def _floats(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "iuf" and values.dtype.name != "bfloat16":
        raise InputError(f"{path}: `{name}` must be numbers. Received: {values.dtype}.")
    return values.astype(np.float32)


def _read_named(path: Path) -> QueryArrays:
    return _named(path, read_named_arrays(path))


def _read_npy(path: Path) -> QueryArrays:
    try:
        with path.open("rb") as file:
            scores = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise unreadable(path, error) from error
    return _checked(QueryArrays(path, None, None, {"scores": _floats(path, "scores", scores)}))


def _read_parquet(path: Path) -> QueryArrays:
    table = read_parquet_table(path)
    names = set(table.column_names)
    if {"query_id", "listed_items"} <= names:
        return _wide(path, table)
    if {"query_id", "item_id"} <= names and names & {"score", "rank"}:
        return _long(path, table)
    raise InputError(
        f"{path} must have the columns query_id, item_id and score or rank; or query_id, "
        f"listed_items and optionally listed_scores. It has: {', '.join(table.column_names)}."
    )


def _column(path: Path, table: Any, name: str) -> np.ndarray:
    column = table.column(name)
    if column.null_count:
        raise InputError(f"{path}: column {name!r} has {column.null_count} empty values.")
    values = np.asarray(column.to_numpy())
    return values.astype(str) if values.dtype == object else values


def _long(path: Path, table: Any) -> QueryArrays:
    """Read one row per query and item, in any order; sort them into lists, best first."""
    by = "score" if "score" in table.column_names else "rank"
    queries = as_texts(path, "query_id", _column(path, table, "query_id"))
    items = as_texts(path, "item_id", _column(path, table, "item_id"))
    values = _column(path, table, by).astype(np.float64)
    if not np.isfinite(values).all():
        row = int(np.argmax(~np.isfinite(values)))
        raise InputError(
            f"{path}: the {by} of query {queries[row]!r} and item {items[row]!r} is "
            f"{values[row]}. Give a finite number."
        )
    names, number = np.unique(queries.astype(str), return_inverse=True)
    order = np.lexsort((-values if by == "score" else values, number))
    number, values = number[order], values[order]
    starts = np.searchsorted(number, np.arange(len(names)))
    place = np.arange(len(number)) - starts[number]
    if by == "rank":
        tie = (place[1:] > 0) & (values[1:] == values[:-1])
        if tie.any():
            row = order[int(np.argmax(tie)) + 1]
            raise InputError(
                f"{path}: query {queries[row]!r} has two items of rank {values[np.argmax(tie)]:g}. "
                "Give each another rank, or a score."
            )
    shape = (len(names), int(place.max()) + 1 if len(place) else 1)
    listed, scores = np.full(shape, "", object), np.zeros(shape, np.float32)
    listed[number, place], scores[number, place] = items[order], values
    arrays = {"listed_items": listed} | ({"listed_scores": scores} if by == "score" else {})
    return QueryArrays(path, names.tolist(), None, arrays)


def _wide(path: Path, table: Any) -> QueryArrays:
    """Read one row per query, with its list in one column; lists may differ in length."""
    query_ids = as_texts(path, "query_id", _column(path, table, "query_id")).tolist()
    lists = table.column("listed_items").to_pylist()
    scored = "listed_scores" in table.column_names
    scores = table.column("listed_scores").to_pylist() if scored else [None] * len(lists)
    longest = max((len(items or ()) for items in lists), default=0)
    listed = np.full((len(lists), longest), "", object)
    values = np.zeros(listed.shape, np.float32)
    for row, (query, items, item_scores) in enumerate(zip(query_ids, lists, scores)):
        if scored and len(item_scores or ()) != len(items or ()):
            raise InputError(
                f"{path}: query {query!r} has {len(items or ())} items and "
                f"{len(item_scores or ())} scores. Give one score per item."
            )
        if items:
            listed[row, : len(items)] = as_texts(path, "listed_items", np.array(items))
        if items and item_scores:
            values[row, : len(items)] = np.array(item_scores, np.float64)
    arrays = {"listed_items": listed} | ({"listed_scores": values} if scored else {})
    return QueryArrays(path, query_ids, None, arrays)


def as_texts(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    """Return ids as texts: integers as decimal text, a number below 0 (or no text) as `""`."""
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


def item_indices(found: QueryArrays, catalogue: Catalogue) -> np.ndarray:
    """Return the column of each catalogue item in the arrays: int [num_items].

    Raises:
        InputError: an item is missing, unknown or duplicate.
    """
    if found.item_ids is None:
        num_columns = found.arrays["scores"].shape[1]
        if num_columns != catalogue.num_items:
            raise InputError(
                f"{found.path} has {num_columns} columns, but the catalogue has "
                f"{catalogue.num_items} items. A .npy file holds every item in their order; an "
                ".npz file names them (`item_ids`)."
            )
        return np.arange(num_columns)
    column = _numbered(found.path, "item", found.item_ids)
    known = set(catalogue.item_ids)
    for item_id in found.item_ids:
        if item_id not in known:
            raise _unknown_item(found.path, item_id, catalogue)
    missing = [item_id for item_id in catalogue.item_ids if item_id not in column]
    if missing:
        raise InputError(
            f"{found.path} lacks {len(missing)} of the catalogue's {catalogue.num_items} items, "
            f"first: item {missing[0]!r}. Have the model score every item, or write its lists "
            "(`listed_items`), which need not hold all."
        )
    return np.array([column[item_id] for item_id in catalogue.item_ids])


def listed_indices(found: QueryArrays, catalogue: Catalogue) -> np.ndarray:
    """Return the lists as item indices, int32 [num_queries, k]; shorter lists end with 0.

    Raises:
        InputError: an item is unknown, twice in a list, or after an empty place; or a list is
            empty.
    """
    index_of = {item_id: index for index, item_id in enumerate(catalogue.item_ids, start=1)}
    listed = found.arrays["listed_items"]
    indices = np.zeros(listed.shape, np.int32)
    for row, items in enumerate(listed.tolist()):
        query = query_name(found, row)
        listed_ids = [item_id for item_id in items if item_id]
        if not listed_ids or items[: len(listed_ids)] != listed_ids:
            what = "is empty" if not listed_ids else "has an empty place before an item"
            raise InputError(
                f"{found.path}: the list of {query} {what}. Give every query at least one item, "
                "and fill short lists at their end."
            )
        for place, item_id in enumerate(listed_ids):
            if item_id not in index_of:
                raise _unknown_item(found.path, item_id, catalogue)
            indices[row, place] = index_of[item_id]
        if len(set(listed_ids)) < len(listed_ids):
            twice = next(item_id for item_id in listed_ids if listed_ids.count(item_id) > 1)
            raise InputError(
                f"{found.path}: the list of {query} names item {twice!r} twice. Name it once."
            )
    return indices


def query_values(
    found: QueryArrays, user_ids: Sequence[str] | None, num_queries: int, column: str
) -> np.ndarray:
    """Return the values of the batch's column for the file's queries: int64 [num_queries].

    Raises:
        InputError: a query is unknown, duplicate, or not a number although it must be.
    """
    path = found.path
    if user_ids is None:
        if found.query_ids is None:
            return np.arange(num_queries)
        _numbered(path, "query", found.query_ids)
        wrong = [query for query in found.query_ids if not query.isdecimal()]
        if wrong:
            raise InputError(
                f"{path}: query {wrong[0]!r} is not a value of the column {column!r}, a whole "
                "number. Give `user_ids`, the ids of the data set in the order of its user indices."
            )
        return np.array([int(query) for query in found.query_ids], np.int64)
    if found.query_ids is None:
        if num_queries != len(user_ids):
            raise InputError(
                f"{path} has rows for {num_queries} users, but `user_ids` names {len(user_ids)}. A "
                ".npy file holds every user in their order; an .npz file names them (`query_ids`)."
            )
        return np.arange(num_queries)
    index_of = {user_id: index for index, user_id in enumerate(user_ids)}
    _numbered(path, "query", found.query_ids)
    unknown = [query for query in found.query_ids if query not in index_of]
    if unknown:
        raise InputError(
            f"{path}: {len(unknown)} of {len(found.query_ids)} queries are not among the "
            f"{len(user_ids)} users of the data, first: {unknown[0]!r}. Write ids as the data set "
            "does, and leave other users out."
        )
    return np.array([index_of[query] for query in found.query_ids], np.int64)


def _unknown_item(path: Path, item_id: str, catalogue: Catalogue) -> InputError:
    return InputError(
        f"{path}: item {item_id!r} is not among the catalogue's {catalogue.num_items} items, such "
        f"as {catalogue.item_ids[0]!r}. Write ids as the data set does, and leave other items out."
    )


def query_name(found: QueryArrays, row: int) -> str:
    """Return the name of a row's query for a message."""
    return f"row {row}" if found.query_ids is None else f"query {found.query_ids[row]!r}"


def _numbered(path: Path, kind: str, ids: Sequence[str]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for number, name in enumerate(ids):
        if name in numbers:
            raise InputError(f"{path}: {kind} {name!r} occurs twice. Write each {kind} once.")
        numbers[name] = number
    return numbers
