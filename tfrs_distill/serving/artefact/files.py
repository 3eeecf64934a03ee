r"""The files of an artefact: their names, and how they are written, read and checked.

A text file has one value per line. A backslash, a line feed and a carriage return are written as
`\\`, `\n` and `\r`, so that any text fits on one line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tfrs_distill.errors import InputError
from tfrs_distill.files import file_sha256, whole_file

SAVED_MODEL = "saved_model.pb"
TFLITE = "student.tflite"
VOCABULARY = "vocabulary.txt"
TITLES = "titles.txt"
SIGNATURE = "signature.json"
PROVENANCE = "provenance.json"
RANKING_FOLDER = "ranking"  # of the second of two stages
AGAIN = "Copy the whole folder again, or export the student again."


def read_provenance(folder: Path) -> dict[str, Any]:
    """Return the contents of `provenance.json`.

    Raises:
        InputError: the folder is not an artefact, or the file is damaged.
    """
    if not (folder / PROVENANCE).is_file():
        raise InputError(_no_artefact(folder))
    provenance = read_json(folder / PROVENANCE)
    if not isinstance(provenance, dict) or not isinstance(provenance.get("files"), dict):
        raise InputError(_lists_no_files(folder))
    return provenance


def check_files(folder: Path, provenance: Mapping[str, Any], required: set[str]) -> None:
    """Compare every file in the provenance with its size and sha256.

    Raises:
        InputError: a file in `required` is not listed; or a file is missing, truncated or changed.
    """
    if not required <= provenance["files"].keys():
        raise InputError(_lists_no_files(folder))
    for name, expected in provenance["files"].items():
        _check_file(folder / name, expected)


def describe_files(folder: Path) -> dict[str, Any]:
    """Return size and sha256 of every file in `folder` and below, except `provenance.json`."""
    itself = folder / PROVENANCE
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != itself)
    return {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": file_sha256(path),
        }
        for path in paths
    }


def size_of(files: Mapping[str, Any], name: str) -> int:
    """Return the bytes of the model file `name`; of a SavedModel, with its variables' data.

    The index of the variables is not counted: its size can differ by a few bytes for the same
    variables.

    Args:
        files: the files in a `provenance.json`.
        name: a path in the artefact's folder.
    """
    names = [name]
    if name.endswith(SAVED_MODEL):
        variables = f"{name.removesuffix(SAVED_MODEL)}variables/variables.data"
        names += [file for file in files if file.startswith(variables)]
    return sum(int(files[name]["bytes"]) for name in names)


def write_lines(path: Path, values: Iterable[str]) -> None:
    """Write one value per line.

    Raises:
        InputError: a value is not valid Unicode.
    """
    lines = "".join(f"{_escape(value)}\n" for value in values)
    try:
        encoded = lines.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{path.name} cannot be written as UTF-8: {error}.") from error
    with whole_file(path) as file:
        file.write(encoded)


def read_lines(path: Path) -> tuple[str, ...]:
    """Return the values written by `write_lines`."""
    # Not `splitlines`: it also ends a line at characters such as U+0085 that a title may contain.
    return tuple(_unescape(line) for line in path.read_bytes().decode().split("\n")[:-1])


def read_json(path: Path) -> Any:
    """Return the contents of a JSON file.

    Raises:
        InputError: it is damaged.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:  # bad JSON, or bytes that are no UTF-8
        raise InputError(
            f"The artefact's file {path} is truncated or changed: {error}. {AGAIN}"
        ) from error


def next_version(folder: str | os.PathLike[str]) -> Path:
    """Return the version folder after the newest in `saved_models/<name>`; 1 if there is none.

    Example:
    >>> next_version("no/such/folder").as_posix()
    'no/such/folder/1'
    """
    return Path(folder) / str(max(versions_in(Path(folder)), default=0) + 1)


def versions_in(folder: Path) -> list[int]:
    """Return the versions in a folder, oldest first; empty if the folder does not exist."""
    if not folder.is_dir():
        return []
    numbers = (entry.name for entry in folder.iterdir() if entry.is_dir())
    return sorted(int(name) for name in numbers if name.isascii() and name.isdigit())


def _no_artefact(folder: Path) -> str:
    if not folder.exists():
        return f"There is no artefact at {folder}: no such folder. Check the path."
    message = f"{folder} is not an artefact: it has no {PROVENANCE}."
    versions = versions_in(folder)
    if versions:
        return f"{message} It has versions; give one of them, such as {folder / str(versions[-1])}."
    return f"{message} Give a folder that `tfrs-distill run` or `export_artefact` wrote."


def _lists_no_files(folder: Path) -> str:
    return f"{folder / PROVENANCE} does not list the artefact's files. Export the student again."


def _check_file(path: Path, expected: Mapping[str, Any]) -> None:
    if not path.is_file():
        raise InputError(f"The artefact's file {path} is missing. {AGAIN}")
    size = path.stat().st_size
    if size != expected["bytes"]:
        state = "truncated" if size < expected["bytes"] else "changed"
        raise InputError(
            f"The artefact's file {path} is {state}: {size} bytes, expected "
            f"{expected['bytes']}. {AGAIN}"
        )
    if file_sha256(path) != expected["sha256"]:
        raise InputError(
            f"The artefact's file {path} is changed: its sha256 is not the one in {PROVENANCE}. "
            f"{AGAIN}"
        )


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def _unescape(line: str) -> str:
    parts = line.split("\\\\")
    return "\\".join(part.replace("\\n", "\n").replace("\\r", "\r") for part in parts)
