"""Reads arrays by name from files of other programs: npz, safetensors or Parquet."""

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
    """Read all arrays of a file, by name; the arrays of a Parquet table are its columns.

    A Parquet column of lists becomes one array [num_rows, width].

    Raises:
        InputError: the file is missing, damaged or of another format; or a Parquet column has
            missing values or lists of different lengths.
        MissingExtraError: it is a Parquet file and pyarrow is not installed.
    """
    return read_by_ending(
        Path(path), {".npz": _npz, ".safetensors": _safetensors, ".parquet": _parquet}
    )


def read_by_ending(path: Path, readers: Mapping[str, Callable[[Path], T]]) -> T:
    """Read a file with the reader for its ending.

    Raises:
        InputError: there is no file, or no reader for its ending.
    """
    if path.suffix not in readers:
        raise InputError(
            f"{path} must end in one of {', '.join(readers)}. Received: "
            f"{path.suffix or 'no ending'}."
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
    """Read a Parquet file's table with pyarrow.

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
    """Return the error for an unreadable file, to be raised from `error`."""
    hint = " Ids of type object are pickled: save np.array(ids, dtype=str)."
    return InputError(
        f"{path} cannot be read ({str(error)[:150]}). It may be truncated or of another kind."
        + (hint if "pickle" in str(error) else "")
    )
