"""Tables as batches of named columns, from files of any size or from a frame in memory."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import Any

from tfrs_distill.data.readers.delimited import encoding_of
from tfrs_distill.errors import InputError, MissingExtraError, first_line
from tfrs_distill.files import COMPRESSED, name_without_endings

BLOCK_BYTES = 1 << 25  # block of a text file that is read at once
BATCH_ROWS = 1 << 20
HEADER_BYTES = 1 << 20  # in which the first line of a text file must end
SEPARATORS = ",\t;|"
DELIMITED, LINES, PARQUET = "delimited", "json lines", "parquet"
ENDINGS = {
    ".csv": DELIMITED,
    ".tsv": DELIMITED,
    ".txt": DELIMITED,
    ".jsonl": LINES,
    ".ndjson": LINES,
    ".json": LINES,
    ".parquet": PARQUET,
    ".pq": PARQUET,
}
NO_VALUE = ["", "NULL", "null", "NaN", "nan", "None"]
Tables = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class TableBatch:
    """Some rows of a table.

    Args:
        columns: pyarrow arrays by name.
        place: `place(row)` returns the file and position of a row, for error messages.
    """

    columns: dict[str, Any]
    place: Callable[[int], str]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


@dataclass(frozen=True)
class Table:
    """A table: its names and columns, and its rows in batches.

    Args:
        title: name of the table in messages.
        name: name of a data set that is read from it.
        names: names of the columns.
        batches: `batches(names)` reads these columns.
    """

    title: str
    name: str
    names: tuple[str, ...]
    batches: Callable[[Sequence[str]], Iterator[TableBatch]]


def open_table(source: Any) -> Table:
    """Open a frame, a file, several files with the same columns, or a folder of them.

    Raises:
        MissingExtraError: pyarrow is not installed.
        InputError: a file is missing, unreadable or of another format, or columns differ between
            files.
    """
    if isinstance(source, (str, os.PathLike)):
        return _of_files(_files_of(Path(source)), str(source), name_without_endings(source))
    if isinstance(source, (list, tuple)):
        if not source:
            raise InputError("At least one file was expected. Received: none.")
        name = name_without_endings(source[0])
        return _of_files([Path(path) for path in source], ", ".join(map(str, source)), name)
    return _of_frame(source)


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtraError("pyarrow", "tables", "Reading a table") from error
    return pyarrow


def _compression(path: Path) -> str:
    return path.suffix if path.suffix in COMPRESSED else ""


def _ending(path: Path) -> str:
    return Path(path.name.removesuffix(_compression(path))).suffix


def _files_of(path: Path) -> list[Path]:
    """Return the file, or the files of a folder sorted by name, without hidden ones."""
    if not path.exists():
        raise InputError(f"{path} does not exist. A file or a folder with a table was expected.")
    if not path.is_dir():
        return [path]
    files = [
        file
        for file in sorted(path.iterdir())
        if file.is_file() and file.name[0] not in "._" and _ending(file) in ENDINGS
    ]
    if not files:
        raise InputError(f"The folder {path} holds no table. {_endings_read()}")
    return files


def _endings_read() -> str:
    return f"Files read: {', '.join(ENDINGS)}; text files also compressed: {', '.join(COMPRESSED)}."


def _of_files(files: list[Path], title: str, name: str) -> Table:
    _pyarrow()
    for file in files:
        if not file.is_file():
            what = "is a folder" if file.is_dir() else "does not exist"
            raise InputError(f"The file {file} {what}.")
        if _ending(file) not in ENDINGS:
            raise InputError(f"{file} does not end as a table's file. {_endings_read()}")
    again = [file for number, file in enumerate(files) if file in files[:number]]
    if again:
        raise InputError(f"The file {again[0]} is given twice: its rows would count twice.")
    columns = {file: _OPENERS[ENDINGS[_ending(file)]].names(file) for file in files}
    first = files[0]
    for file, names in columns.items():
        _check_names(str(file), names)
        if set(names) != set(columns[first]):
            differ = sorted(set(names) ^ set(columns[first]))
            raise InputError(
                f"The files of a table must have the same columns. {first} and {file} differ in: "
                f"{', '.join(differ)}."
            )

    def batches(names: Sequence[str]) -> Iterator[TableBatch]:
        for file in files:
            yield from _OPENERS[ENDINGS[_ending(file)]].batches(file, names)

    return Table(title, name, tuple(columns[first]), batches)


def _of_frame(frame: Any) -> Table:
    """Read a pandas or Polars frame, a pyarrow table, or a dict of columns."""
    arrow = _pyarrow()
    title = "the table"
    if isinstance(frame, dict) or hasattr(frame, "iloc"):
        _check_names(title, [str(name) for name in frame])
        columns = frame.items()
        table = _joined(title, {str(name): _column(title, name, of) for name, of in columns})
    elif isinstance(frame, arrow.Table) or hasattr(frame, "to_arrow"):
        table = frame if isinstance(frame, arrow.Table) else frame.to_arrow()
        _check_names(title, table.column_names)
    else:
        raise InputError(
            "A frame of pandas or Polars, a pyarrow table, a dict of columns or the path of a file "
            f"was expected. Received: {type(frame).__name__}."
        )

    def batches(names: Sequence[str]) -> Iterator[TableBatch]:
        start = 0
        for batch in table.select(list(names)).to_batches(BATCH_ROWS):
            yield _batch(batch, start, lambda row: f"row {row} of {title}")
            start += len(batch)

    return Table(title, "data", tuple(table.column_names), batches)


def _check_names(title: str, names: Sequence[str]) -> None:
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{title} has two columns called {twice!r}. Give each its own name.")


def _column(title: str, name: Any, values: Any) -> Any:
    """Convert a frame's column to pyarrow; refuses dates mixed with numbers."""
    arrow = _pyarrow()
    listed = isinstance(values, (list, tuple)) or str(getattr(values, "dtype", "")) == "object"
    types = {type(value) for value in values} if listed else set()
    kinds = {kind for kind in (Integral, date) if any(issubclass(of, kind) for of in types)}
    if len(kinds) > 1:
        raise InputError(f"Column {str(name)!r} of {title} mixes dates and numbers.")
    try:
        return arrow.table({"column": values}).column(0)
    except (arrow.ArrowInvalid, arrow.ArrowTypeError) as error:
        raise InputError(
            f"Column {str(name)!r} of {title} mixes types: {first_line(error)}. Convert them to "
            "one type, in pandas with `.astype(str)`."
        ) from error


def _joined(title: str, columns: dict[str, Any]) -> Any:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"The columns of {title} differ in length: {lengths}.")
    return _pyarrow().table(columns)


def _batch(batch: Any, start: int, place: Callable[[int], str]) -> TableBatch:
    """Return the batch that starts at row `start` of its file; `place` takes rows of the file."""
    columns = dict(zip(batch.schema.names, batch.columns))
    return TableBatch(columns, lambda row: place(start + row))


class _Delimited:
    """Delimited text: every column is read as text, so that the id `007` keeps its zeros."""

    @staticmethod
    def names(path: Path) -> list[str]:
        with _readable(path), _opened(path) as text:
            reader = csv.reader(text, delimiter=_separator(path))
            return next((fields for fields in reader if fields), [])

    @staticmethod
    def batches(path: Path, names: Sequence[str]) -> Iterator[TableBatch]:
        from pyarrow import csv as arrow_csv

        arrow = _pyarrow()
        with _readable(path), arrow.input_stream(path, compression="detect") as stream:
            reader = arrow_csv.open_csv(
                stream,
                arrow_csv.ReadOptions(
                    block_size=BLOCK_BYTES, encoding=_encoding(path).removesuffix("-sig")
                ),
                arrow_csv.ParseOptions(delimiter=_separator(path), newlines_in_values=True),
                arrow_csv.ConvertOptions(
                    include_columns=list(names),
                    column_types=dict.fromkeys(names, arrow.string()),
                    null_values=NO_VALUE,
                    strings_can_be_null=True,
                ),
            )
            start = 0
            for batch in reader:
                yield _batch(batch, start, lambda row: _Delimited._line(path, row))
                start += len(batch)

    @staticmethod
    def _line(path: Path, row: int) -> str:
        """Return the location of a row; counted again, as only errors need it."""
        with _opened(path) as text:
            reader = csv.reader(text, delimiter=_separator(path))
            found = (reader.line_num for fields in reader if fields)
            for number, line in enumerate(found):
                if number == row + 1:  # the first row has the names
                    return f"{path}, line {line}"
        return f"{path}, row {row + 1}"


class _Lines:
    """One JSON object per line."""

    @staticmethod
    def names(path: Path) -> list[str]:
        with _readable(path):
            return list(_Lines._reader(path).schema.names)

    @staticmethod
    def batches(path: Path, names: Sequence[str]) -> Iterator[TableBatch]:
        start = 0
        with _readable(path):
            for batch in _Lines._reader(path):
                some = batch.select(list(names))
                yield _batch(some, start, lambda row: f"{path}, line {row + 1}")
                start += len(batch)

    @staticmethod
    def _reader(path: Path) -> Any:
        from pyarrow import json as arrow_json

        stream = _pyarrow().input_stream(path, compression="detect")
        return arrow_json.open_json(stream, arrow_json.ReadOptions(block_size=BLOCK_BYTES))


class _Parquet:
    @staticmethod
    def names(path: Path) -> list[str]:
        from pyarrow import parquet

        with _readable(path):
            return list(parquet.read_schema(path).names)

    @staticmethod
    def batches(path: Path, names: Sequence[str]) -> Iterator[TableBatch]:
        from pyarrow import parquet

        start = 0
        with _readable(path), parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=list(names)):
                some = batch.select(list(names))
                yield _batch(some, start, lambda row: f"{path}, row {row + 1}")
                start += len(batch)


_OPENERS: dict[str, Any] = {DELIMITED: _Delimited, LINES: _Lines, PARQUET: _Parquet}


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn pyarrow's errors about a file into an `InputError`."""
    arrow = _pyarrow()
    try:
        yield
    except (arrow.ArrowException, UnicodeDecodeError, csv.Error, OSError) as error:
        if (
            isinstance(error, OSError) and error.errno is not None
        ):  # an error of the system, not of the file
            raise
        where = _uneven_line(path) if "CSV parse error" in str(error) else ""
        raise InputError(f"{path}{where} cannot be read: {first_line(error)}") from error


def _uneven_line(path: Path) -> str:
    """Return the first line with another number of fields than the first; empty if none."""
    with _opened(path) as text, contextlib.suppress(csv.Error, OSError):
        reader = csv.reader(text, delimiter=_separator(path))
        number = 0
        for fields in reader:
            number = number or len(fields)
            if fields and len(fields) != number:
                return f", line {reader.line_num},"
    return ""


def _opened(path: Path) -> io.TextIOWrapper:
    """Open the file as text, decompressed."""
    stream = _pyarrow().input_stream(path, compression="detect")
    return io.TextIOWrapper(io.BufferedReader(stream), encoding=_encoding(path), newline="")


def _encoding(path: Path) -> str:
    return "utf-8-sig" if _compression(path) else _found_encoding(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _found_encoding(path: Path, _: int) -> str:
    """Return the encoding; cached by modification time, because the whole file is read."""
    return encoding_of(path)


def _separator(path: Path) -> str:
    """Return the most frequent separator in the first line."""
    with _opened(path) as text:
        header = text.readline(HEADER_BYTES)
    if not header.strip():
        raise InputError(f"{path} is empty: a first line with column names was expected.")
    return max(SEPARATORS, key=header.count)
