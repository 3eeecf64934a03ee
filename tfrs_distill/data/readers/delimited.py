"""Rows of a delimited text file, each with its line number, so that an error can point at it.

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
    """Return the encoding of a text file, by what its bytes can be.

    A byte order mark says which it is; else what can be read as UTF-8 is UTF-8, and anything else
    is Latin-1, in the form of it that Windows writes (code page 1252, which has curly quotes where
    Latin-1 has only invisible characters).

    Raises:
        InputError: most characters beyond ASCII are UTF-8, but not all: the file is damaged.
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
        separator: what stands between two fields, of any length: a tab, `"::"`.

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

    In a quoted field separators and line breaks are text, and a doubled quote is one; a field that
    does not begin with a quote holds quotes as they are. Blank lines are skipped. A row has the
    number of the line that it ends on.

    Args:
        path: the file.
        separator: one character that stands between two fields.
        escape: a character before a quote that is text; None where quotes are doubled alone.
        encoding: of the file; None finds it out.

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
        InputError: a row has fewer or more.
    """
    for number, fields in rows:
        if len(fields) != num_fields:
            raise InputError(
                f"{path}, line {number}: {num_fields} fields expected, {len(fields)} found."
            )
        yield number, fields


def read_header(path: Path, rows: Iterator[Row]) -> list[str]:
    """Return the column names: the first row of `rows`, which is consumed.

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
    """Yield lists of at most `size` rows, to read a file of any length in bounded memory."""
    while batch := list(islice(rows, size)):
        yield batch


def _wrong_encoding(path: Path, error: UnicodeDecodeError) -> InputError:
    return InputError(f"{path} is not text in the encoding {error.encoding} ({error.reason}).")
