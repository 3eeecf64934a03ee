"""Arrays by name out of a file that another program wrote: npz, safetensors or Parquet."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors
import safetensors.numpy

from tfrs_distill.errors import InputError, MissingExtraError

T = TypeVar("T")


def read_named_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Every array of a file, by its name; a Parquet table's columns are its arrays.

    A Parquet column of lists becomes one array [num_rows, width].

    Raises:
        InputError: the file is missing, damaged or of another kind; a Parquet column has empty
            values or lists of different lengths.
        MissingExtraError: it is a Parquet file and pyarrow is not installed.
    """
    return read_by_ending(
        Path(path), {".npz": _npz, ".safetensors": _safetensors, ".parquet": _parquet}
    )


def read_by_ending(path: Path, readers: Mapping[str, Callable[[Path], T]]) -> T:
    """Read a file with the reader of its ending.

    Raises:
        InputError: there is no file, or no reader of its ending.
    """
    if path.suffix not in readers:
        raise InputError(
            f"{path} must end in one of {', '.join(readers)}. Received: {path.suffix or 'no end'}."
        )
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    return readers[path.suffix](path)


def _npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise unreadable(path, error) from error


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load_file(path)
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise unreadable(path, error) from error


def read_parquet_table(path: Path) -> Any:
    """A Parquet file's table, as pyarrow has it.

    Raises:
        InputError: the file cannot be read.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "tables", "Reading a Parquet file") from error
    try:
        return pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise unreadable(path, error) from error


def _parquet(path: Path) -> dict[str, np.ndarray]:
    table = read_parquet_table(path)
    arrays = {}
    for name in table.column_names:
        column = table.column(name)
        if column.null_count:
            raise InputError(f"{path}: column {name!r} has {column.null_count} empty values.")
        values = np.asarray(column.to_numpy())
        if values.dtype == object:  # texts or lists
            try:
                values = np.array(column.to_pylist())
            except ValueError as error:
                raise InputError(
                    f"{path}: the lists in column {name!r} differ in length. Give every row one "
                    "number for each of the task's logits."
                ) from error
        arrays[name] = values
    return arrays


def unreadable(path: Path, error: Exception) -> InputError:
    """Return the error that a file cannot be read, to be raised from `error`."""
    hint = " Ids of type object are pickled: save np.array(ids, dtype=str)."
    return InputError(
        f"{path} cannot be read ({str(error)[:150]}). It may be truncated or of another kind."
        + (hint if "pickle" in str(error) else "")
    )
