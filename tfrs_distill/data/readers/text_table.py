"""Columns of a CSV or Parquet file as texts, each row with its location for error messages."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfrs_distill.data.readers.delimited import csv_rows, position_of, read_header, with_num_fields
from tfrs_distill.errors import InputError, MissingExtraError

PARQUET_ENDINGS = (".parquet", ".parquet.brotli")


@dataclass(frozen=True)
class TextTable:
    """Some columns of a file.

    Args:
        path: the file.
        columns: by name, one text per row; "" if the cell is empty.
        row_name: unit of the row numbers: "line" or "row".
        row_numbers: number of each row, from 1.
    """

    path: Path
    columns: dict[str, list[str]]
    row_name: str
    row_numbers: Sequence[int]

    def __len__(self) -> int:
        return len(self.row_numbers)

    def place(self, row: int) -> str:
        """Return the location of a row, as the beginning of a message."""
        return f"{self.path}, {self.row_name} {self.row_numbers[row]}"

    def numbers(self, name: str) -> np.ndarray:
        """Return a column as numbers, float64 [num_rows], NaN for empty cells.

        Raises:
            InputError: a cell is not a number.
        """
        numbers = np.full(len(self), math.nan)
        for row, text in enumerate(self.columns[name]):
            if not text.strip():
                continue
            try:
                numbers[row] = float(text)
            except ValueError:
                pass  # still NaN
            if not math.isfinite(numbers[row]):
                raise InputError(f"{self.place(row)}: {name} {text!r} is not a number.")
        return numbers


def read_text_table(path: str | os.PathLike[str], names: Sequence[str]) -> TextTable:
    """Read columns by name from a CSV file with header, or Parquet, depending on the file name.

    Raises:
        InputError: the file is missing, empty, damaged or of another kind, or lacks a column.
        MissingExtraError: it is a Parquet file and pyarrow is not installed.
    """
    path = Path(path)
    if not path.name.endswith((".csv", *PARQUET_ENDINGS)):
        raise InputError(
            f"A file that ends in .csv, {' or '.join(PARQUET_ENDINGS)} was expected. Received: "
            f"{path}."
        )
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    table = (_read_csv if path.suffix == ".csv" else _read_parquet)(path, names)
    if not len(table):
        raise InputError(f"{path} has no rows.")
    return table


def _read_csv(path: Path, names: Sequence[str]) -> TextTable:
    rows = csv_rows(path)
    header = read_header(path, rows)
    places = {name: position_of(path, header, name) for name in names}
    found: dict[str, list[str]] = {name: [] for name in names}
    lines = []
    for line, fields in with_num_fields(path, rows, len(header)):
        lines.append(line)
        for name, place in places.items():
            found[name].append(fields[place])
    return TextTable(path, found, "line", lines)


def _read_parquet(path: Path, names: Sequence[str]) -> TextTable:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "tables", "Reading a Parquet file") from error
    try:
        received = pyarrow.parquet.read_schema(path).names
        missing = [name for name in names if name not in received]
        if missing:
            raise InputError(
                f"{path}: a column {missing[0]!r} was expected. Received the columns: "
                f"{', '.join(received)}."
            )
        table = pyarrow.parquet.read_table(path, columns=list(names))
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}.") from error
    found = {
        name: ["" if value is None else str(value) for value in table.column(name).to_pylist()]
        for name in names
    }
    return TextTable(path, found, "row", range(1, table.num_rows + 1))
