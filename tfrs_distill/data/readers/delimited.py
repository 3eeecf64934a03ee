"""Rows of a delimited text file, each with its line number, so that an error can point at it."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from tfrs_distill.errors import InputError

Row = tuple[int, list[str]]  # line number (from 1) and the fields of that line


def split_rows(path: Path, separator: str, *, encoding: str = "utf-8-sig") -> Iterator[Row]:
    """The rows of a file whose fields are never quoted; blank lines are skipped.

    Args:
        path: the file.
        separator: what stands between two fields, of any length: a tab, `"::"`.
        encoding: of the file.

    Raises:
        InputError: the file is not text of that encoding.
    """
    try:
        with open(path, encoding=encoding) as file:
            for number, line in enumerate(file, start=1):
                line = line.rstrip("\n")
                if line:
                    yield number, line.split(separator)
    except UnicodeDecodeError as error:
        raise _wrong_encoding(path, error) from error


def csv_rows(path: Path) -> Iterator[Row]:
    """The rows of a UTF-8 CSV file, fields quoted where they hold commas; blank lines are skipped.

    Raises:
        InputError: the file is not UTF-8, or its quotes do not match.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            for fields in reader:
                if fields:
                    yield reader.line_num, fields
        except UnicodeDecodeError as error:
            raise _wrong_encoding(path, error) from error
        except csv.Error as error:
            raise InputError(f"{path}, line {reader.line_num}: not valid CSV ({error}).") from error


def with_num_fields(path: Path, rows: Iterator[Row], num_fields: int) -> Iterator[Row]:
    """The same rows, each checked to have `num_fields` fields.

    Raises:
        InputError: a row has fewer or more.
    """
    for number, fields in rows:
        if len(fields) != num_fields:
            raise InputError(
                f"{path}, line {number}: {num_fields} fields expected, {len(fields)} found."
            )
        yield number, fields


def read_header(path: Path, rows: Iterator[Row]) -> list[str]:
    """The column names: the first row of `rows`, which is consumed.

    Raises:
        InputError: there is no row.
    """
    _, names = next(rows, (0, None))
    if names is None:
        raise InputError(f"{path} is empty: a header with the names of the columns was expected.")
    return names


def position_of(path: Path, names: Sequence[str], wanted: str) -> int:
    """The position of the column called `wanted`.

    Raises:
        InputError: no column has that name.
    """
    if wanted not in names:
        raise InputError(
            f"{path}, line 1: a column {wanted!r} was expected. Received the columns: "
            f"{', '.join(names)}."
        )
    return names.index(wanted)


def batches_of(rows: Iterator[Row], size: int = 1024) -> Iterator[list[Row]]:
    """Lists of at most `size` rows, so that a file of any length is read in bounded memory."""
    while batch := list(islice(rows, size)):
        yield batch


def _wrong_encoding(path: Path, error: UnicodeDecodeError) -> InputError:
    return InputError(f"{path} is not text in the encoding {error.encoding} ({error.reason}).")
