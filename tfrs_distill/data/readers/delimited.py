"""Rows of a delimited text file, each with its line number for error messages.

Every file is UTF-8, with or without a byte order mark, or Latin-1: see `encoding_of`.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from tfrs_distill.errors import InputError

BYTES_AT_A_TIME = 1 << 20
WIDE, NOT_UTF_8 = re.compile("[^\x00-\x7f]"), re.compile("[\udc80-\udcff]")  # "surrogateescape"
Row = tuple[int, list[str]]  # line number (from 1) and the fields of that line


def encoding_of(path: Path) -> str:
    """Detect the encoding of a text file from its bytes.

    A byte order mark decides; otherwise a file that is valid UTF-8 is UTF-8, and any other file is
    Latin-1 in its Windows form (code page 1252, which has curly quotes where Latin-1 has only
    invisible characters).

    Raises:
        InputError: most non-ASCII characters are valid UTF-8, but not all: the file is damaged.
    """
    with open(path, "rb") as file:
        start = file.read(len(codecs.BOM_UTF8))
        if start.startswith(codecs.BOM_UTF8):
            return "utf-8-sig"
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        file.seek(0)
        if _is_utf_8(file):
            return "utf-8"
        file.seek(0)
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        num_read = num_wrong = 0
        while part := file.read(BYTES_AT_A_TIME):
            text = decoder.decode(part)
            wrong = len(NOT_UTF_8.findall(text))
            num_wrong, num_read = num_wrong + wrong, num_read + len(WIDE.findall(text)) - wrong
        num_wrong += len(decoder.decode(b"", final=True))
    if num_read > num_wrong:
        raise InputError(
            f"{path} is damaged: {num_read} characters are UTF-8, but {num_wrong} bytes cannot be. "
            "Save it again as UTF-8."
        )
    return "cp1252"


def _is_utf_8(file: BinaryIO) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while part := file.read(BYTES_AT_A_TIME):
            decoder.decode(part)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def split_rows(path: Path, separator: str) -> Iterator[Row]:
    """Yield the rows of a file whose fields are never quoted; blank lines are skipped.

    Args:
        path: the file.
        separator: the text between two fields, of any length: a tab, `"::"`.

    Raises:
        InputError: the file is not text.
    """
    try:
        with open(path, encoding=encoding_of(path)) as file:
            for number, line in enumerate(file, start=1):
                line = line.rstrip("\n")
                if line:
                    yield number, line.split(separator)
    except UnicodeDecodeError as error:
        raise _wrong_encoding(path, error) from error


def csv_rows(
    path: Path, separator: str = ",", *, escape: str | None = None, encoding: str | None = None
) -> Iterator[Row]:
    """Yield the rows of a file whose fields may be quoted, as pandas reads and writes them.

    Quoted fields may contain separators and line breaks; a doubled quote in them is one quote.
    Quotes inside a field that does not begin with a quote are kept as they are. Blank lines are
    skipped. The number of a row is that of its last line.

    Args:
        path: the file.
        separator: the single character between two fields.
        escape: a character that escapes a quote; None if quotes are only doubled.
        encoding: encoding of the file; None to detect it.

    Raises:
        InputError: the file is not text, or its quotes do not match.
    """
    with open(path, encoding=encoding or encoding_of(path), newline="") as file:
        reader = csv.reader(file, delimiter=separator, escapechar=escape, strict=True)
        try:
            for fields in reader:
                if len(fields) > 1 or fields and fields[0].strip():
                    yield reader.line_num, fields
        except UnicodeDecodeError as error:
            raise _wrong_encoding(path, error) from error
        except csv.Error as error:
            raise InputError(
                f"{path}, line {reader.line_num}: not valid CSV ({error}). A field that begins "
                "with a quote is quoted as a whole and the quotes in it are doubled, as pandas' "
                "`to_csv` does."
            ) from error


def with_num_fields(path: Path, rows: Iterator[Row], num_fields: int) -> Iterator[Row]:
    """Yield the rows, each checked to have `num_fields` fields.

    Raises:
        InputError: a row has another number of fields.
    """
    for number, fields in rows:
        if len(fields) != num_fields:
            raise InputError(
                f"{path}, line {number}: {num_fields} fields expected, {len(fields)} found."
            )
        yield number, fields


def read_header(path: Path, rows: Iterator[Row]) -> list[str]:
    """Return the column names from the first row of `rows`, which is consumed.

    Raises:
        InputError: there is no row.
    """
    _, names = next(rows, (0, None))
    if names is None:
        raise InputError(f"{path} is empty: a header with the names of the columns was expected.")
    return names


def position_of(path: Path, names: Sequence[str], wanted: str) -> int:
    """Return the position of the column called `wanted`.

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
    """Yield lists of at most `size` rows, to read files of any length in bounded memory."""
    while batch := list(islice(rows, size)):
        yield batch


def _wrong_encoding(path: Path, error: UnicodeDecodeError) -> InputError:
    return InputError(f"{path} is not text in the encoding {error.encoding} ({error.reason}).")
