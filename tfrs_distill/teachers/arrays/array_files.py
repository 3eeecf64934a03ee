"""Files in which another program left a model's answers, read without believing them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.errors import InputError
from tfrs_distill.teachers.arrays.array_ids import Answers, as_texts, query_name
from tfrs_distill.teachers.arrays.named_arrays_file import (
    read_named_arrays,
    read_parquet_table,
    unreadable,
)

FORMS = (  # the arrays of each form beside `query_ids`; the first tells which form it is
    ("query_embeddings", "item_embeddings", "item_ids"),
    ("scores", "item_ids"),
    ("listed_items",),
)


def read_answers(path: str | os.PathLike[str]) -> Answers:
    """Read a file by its ending; what stands in it is described at `ArrayTeacher.read`.

    Raises:
        InputError: it is missing, damaged, of another kind, or an array is missing or misshaped.
        MissingExtraError: it is a Parquet file and pyarrow is not installed.
    """
    path = Path(path)
    readers = {
        ".npz": _read_named,
        ".npy": _read_npy,
        ".safetensors": _read_named,
        ".parquet": _read_parquet,
    }
    if path.suffix not in readers:
        raise InputError(
            f"{path} must end in one of {', '.join(readers)}. Received: {path.suffix or 'no end'}."
        )
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    return readers[path.suffix](path)


def _named(path: Path, arrays: dict[str, np.ndarray]) -> Answers:
    """Check the arrays' names and shapes, and make texts of ids."""
    form = next((form for form in FORMS if form[0] in arrays), None)
    needed = ("query_ids", *(form or ()))
    missing = [name for name in needed if name not in arrays]
    if form is None or missing:
        raise InputError(
            f"{path} must hold `query_ids` and one of: `query_embeddings`, `item_embeddings` and "
            "`item_ids`; `scores` and `item_ids`; `listed_items` and perhaps `listed_scores`. "
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
        None if found is None else found.tolist() for found in (ids["query_ids"], ids["item_ids"])
    )
    answers = Answers(path, query_ids, item_ids, kept)
    _check_shapes(answers)
    _check_finite(answers)
    return answers


def _check_shapes(answers: Answers) -> None:
    queries = None if answers.query_ids is None else len(answers.query_ids)
    items = None if answers.item_ids is None else len(answers.item_ids)
    expected: dict[str, tuple[int | None, int | None]] = {
        "query_embeddings": (queries, None),
        "item_embeddings": (items, None),
        "scores": (queries, items),
        "listed_items": (queries, None),
        "listed_scores": (queries, None),
    }
    for name, array in answers.arrays.items():
        wanted = expected[name]
        if array.ndim != 2 or any(w not in (None, n) for w, n in zip(wanted, array.shape)):
            said = ", ".join("any" if number is None else str(number) for number in wanted)
            raise InputError(
                f"{answers.path}: `{name}` must be [{said}], one row for each id. Received: shape "
                f"{list(array.shape)}."
            )


def _check_finite(answers: Answers) -> None:
    for name in set(answers.arrays) - {"listed_items"}:
        values = answers.arrays[name]
        wrong = ~np.isfinite(values)
        if name == "listed_scores" and answers.arrays["listed_items"].shape == values.shape:
            wrong &= answers.arrays["listed_items"] != ""
        if wrong.any():
            row, place = map(int, np.argwhere(wrong)[0])
            who = query_name(answers, row)
            if name == "item_embeddings" and answers.item_ids is not None:
                who = f"item {answers.item_ids[row]!r}"
            raise InputError(
                f"{answers.path}: `{name}` of {who} holds {values[row, place]} at place {place}. "
                "Give finite numbers; what gives probabilities should write log(p + 1e-12)."
            )


def _floats(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "iuf" and values.dtype.name != "bfloat16":
        raise InputError(f"{path}: `{name}` must be numbers. Received: {values.dtype}.")
    return values.astype(np.float32)


def _read_named(path: Path) -> Answers:
    return _named(path, read_named_arrays(path))


def _read_npy(path: Path) -> Answers:
    try:
        with path.open("rb") as file:
            scores = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise unreadable(path, error) from error
    answers = Answers(path, None, None, {"scores": _floats(path, "scores", scores)})
    _check_shapes(answers)
    _check_finite(answers)
    return answers


def _read_parquet(path: Path) -> Answers:
    table = read_parquet_table(path)
    names = set(table.column_names)
    if {"query_id", "listed_items"} <= names:
        return _wide(path, table)
    if {"query_id", "item_id"} <= names and names & {"score", "rank"}:
        return _long(path, table)
    raise InputError(
        f"{path} must have the columns query_id, item_id and score or rank; or query_id, "
        f"listed_items and perhaps listed_scores. It has: {', '.join(table.column_names)}."
    )


def _column(path: Path, table: Any, name: str) -> np.ndarray:
    column = table.column(name)
    if column.null_count:
        raise InputError(f"{path}: column {name!r} has {column.null_count} empty values.")
    values = np.asarray(column.to_numpy())
    return values.astype(str) if values.dtype == object else values


def _long(path: Path, table: Any) -> Answers:
    """One row a query and item, in any order: sorted into lists, best first."""
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
                "Give each its own rank, or a score."
            )
    shape = (len(names), int(place.max()) + 1 if len(place) else 1)
    listed, scores = np.full(shape, "", object), np.zeros(shape, np.float32)
    listed[number, place], scores[number, place] = items[order], values
    arrays = {"listed_items": listed} | ({"listed_scores": scores} if by == "score" else {})
    return Answers(path, names.tolist(), None, arrays)


def _wide(path: Path, table: Any) -> Answers:
    """One row a query, its list in one column; lists may differ in length."""
    query_ids = as_texts(path, "query_id", _column(path, table, "query_id")).tolist()
    lists = table.column("listed_items").to_pylist()
    scored = "listed_scores" in table.column_names
    scores = table.column("listed_scores").to_pylist() if scored else [None] * len(lists)
    longest = max((len(items or ()) for items in lists), default=0)
    listed = np.full((len(lists), longest), "", object)
    values = np.zeros(listed.shape, np.float32)
    for row, (query, items, own) in enumerate(zip(query_ids, lists, scores)):
        if scored and len(own or ()) != len(items or ()):
            raise InputError(
                f"{path}: query {query!r} has {len(items or ())} items and {len(own or ())} "
                "scores. Give one score an item."
            )
        if items:
            listed[row, : len(items)] = as_texts(path, "listed_items", np.array(items))
        if items and own:
            values[row, : len(items)] = np.array(own, np.float64)
    arrays = {"listed_items": listed} | ({"listed_scores": values} if scored else {})
    return Answers(path, query_ids, None, arrays)
