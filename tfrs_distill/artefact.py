r"""The folder that an exported student lives in, and how it is read and checked.

`saved_models/<name>/<version>/` holds

    saved_model.pb, variables/   the SavedModel, where TensorFlow Serving looks for it
    student.tflite               the same function for LiteRT, float32
    student_int8.tflite          the same with weights in 8 bits
    vocabulary.txt, titles.txt   line i is the id, the title, of the item with index i
    signature.json               inputs, outputs, padding value, k, history length, embeddings
    provenance.json              how it was made; size and sha256 of every other file

Reading needs no TensorFlow. In the two text files a backslash, a line feed and a carriage return
are written as `\\`, `\n` and `\r`, so any text is one line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfrs_distill.atomic import whole_file
from tfrs_distill.checksums import file_sha256
from tfrs_distill.errors import InputError

SAVED_MODEL = "saved_model.pb"
TFLITE = "student.tflite"
TFLITE_INT8 = "student_int8.tflite"
VOCABULARY = "vocabulary.txt"
TITLES = "titles.txt"
SIGNATURE = "signature.json"
PROVENANCE = "provenance.json"
SIDECARS = (VOCABULARY, TITLES, SIGNATURE, PROVENANCE)  # in the order they are put in place


@dataclass(frozen=True)
class Artefact:
    """An artefact folder whose files are all there and whole.

    Args:
        folder: where it is.
        item_ids: the id of every item; `item_ids[i]` has the item index `i + 1`.
        titles: the title of every item, in the same order.
        signature: the contents of `signature.json`.
        provenance: the contents of `provenance.json`.
    """

    folder: Path
    item_ids: tuple[str, ...]
    titles: tuple[str, ...]
    signature: dict[str, Any]
    provenance: dict[str, Any]

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Artefact:
        """Read and check the artefact in `folder`.

        Raises:
            InputError: it is no artefact, or a file of it is missing, truncated or changed.
        """
        folder = Path(folder)
        if not (folder / PROVENANCE).is_file():
            raise InputError(_no_artefact(folder))
        provenance = _read_json(folder / PROVENANCE)
        for name, expected in _listed_files(folder, provenance).items():
            _check_file(folder / name, expected)
        return cls(
            folder=folder,
            item_ids=_read_lines(folder / VOCABULARY),
            titles=_read_lines(folder / TITLES),
            signature=_read_json(folder / SIGNATURE),
            provenance=provenance,
        )

    @property
    def num_items(self) -> int:
        """How many items the model can recommend."""
        return len(self.item_ids)

    @property
    def k(self) -> int:
        """How many items a query gets; fixed when the student was exported."""
        return int(self.signature["k"])

    @property
    def max_history(self) -> int | None:
        """How many of the last items the student reads; all of them are excluded."""
        max_history = self.signature["max_history"]
        return None if max_history is None else int(max_history)

    @property
    def has_saved_model(self) -> bool:
        """Whether the folder holds a SavedModel."""
        return SAVED_MODEL in self.provenance["files"]

    @property
    def tflite_files(self) -> tuple[str, ...]:
        """The names of its `.tflite` files, `student.tflite` first."""
        names = [name for name in self.provenance["files"] if name.endswith(".tflite")]
        return tuple(sorted(names, key=lambda name: (name != TFLITE, name)))

    def bytes_of(self, name: str) -> int:
        """Size of the model file `name`; of `saved_model.pb`, its variables' data included.

        Their index is not counted: the same variables give it a few bytes more or less.
        """
        files = self.provenance["files"]
        if name != SAVED_MODEL:
            return int(files[name]["bytes"])
        own = [f for f in files if f == SAVED_MODEL or f.startswith("variables/variables.data")]
        return sum(int(files[f]["bytes"]) for f in own)


def write_sidecars(
    folder: Path,
    *,
    item_ids: Iterable[str],
    titles: Iterable[str],
    signature: Mapping[str, Any],
    provenance: Mapping[str, Any],
    other_files: Mapping[str, Any] | None = None,
) -> None:
    """Write everything but the models into `folder`, which holds the models already.

    Args:
        folder: where; the files that are there are the ones `provenance.json` will vouch for.
        item_ids: one a line of `vocabulary.txt`.
        titles: one a line of `titles.txt`.
        signature: what `signature.json` says.
        provenance: what `provenance.json` says, beside the files.
        other_files: entries for files that will stand beside these but are not in `folder` yet.
    """
    _write_lines(folder / VOCABULARY, item_ids)
    _write_lines(folder / TITLES, titles)
    _write_json(folder / SIGNATURE, signature)
    files = {**(other_files or {}), **_describe_files(folder)}
    _write_json(folder / PROVENANCE, {**provenance, "files": files})


def next_version(folder: str | os.PathLike[str]) -> Path:
    """The version folder after the newest in `saved_models/<name>`: 1 where there is none.

    Example:
    >>> next_version("no/such/folder").as_posix()
    'no/such/folder/1'
    """
    return Path(folder) / str(max(_versions(Path(folder)), default=0) + 1)


def _versions(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    numbers = (entry.name for entry in folder.iterdir() if entry.is_dir())
    return sorted(int(name) for name in numbers if name.isascii() and name.isdigit())


def _no_artefact(folder: Path) -> str:
    if not folder.exists():
        return f"There is no artefact at {folder}: no such folder. Check the path."
    message = f"{folder} is not an artefact: it has no {PROVENANCE}."
    versions = _versions(folder)
    if versions:
        return f"{message} It has versions; give one of them, such as {folder / str(versions[-1])}."
    return f"{message} Give a folder that `tfrs-distill run` or `export_artefact` wrote."


def _listed_files(folder: Path, provenance: Any) -> dict[str, Any]:
    files = provenance.get("files") if isinstance(provenance, dict) else None
    if not isinstance(files, dict) or not {VOCABULARY, TITLES, SIGNATURE} <= files.keys():
        raise InputError(
            f"{folder / PROVENANCE} does not list the artefact's files, as it must. "
            "Export the student again."
        )
    return files


def _check_file(path: Path, expected: Mapping[str, Any]) -> None:
    """Hold one file against its size and sha256."""
    again = "Copy the whole folder again, or export the student again."
    if not path.is_file():
        raise InputError(f"The artefact's file {path} is missing. {again}")
    size = path.stat().st_size
    if size != expected["bytes"]:
        state = "truncated" if size < expected["bytes"] else "changed"
        raise InputError(
            f"The artefact's file {path} is {state}: {size} bytes, expected "
            f"{expected['bytes']}. {again}"
        )
    if file_sha256(path) != expected["sha256"]:
        raise InputError(
            f"The artefact's file {path} is changed: its sha256 is not the one in {PROVENANCE}. "
            f"{again}"
        )


def _describe_files(folder: Path) -> dict[str, Any]:
    own = folder / PROVENANCE
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != own)
    return {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": file_sha256(path),
        }
        for path in paths
    }


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def _unescape(line: str) -> str:
    parts = line.split("\\\\")
    return "\\".join(part.replace("\\n", "\n").replace("\\r", "\r") for part in parts)


def _write_lines(path: Path, values: Iterable[str]) -> None:
    lines = "".join(f"{_escape(value)}\n" for value in values)
    try:
        encoded = lines.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{path.name} cannot be written as UTF-8: {error}.") from error
    with whole_file(path) as file:
        file.write(encoded)


def _read_lines(path: Path) -> tuple[str, ...]:
    # Not `splitlines`: it also ends a line at characters such as U+0085 that a title may contain.
    return tuple(_unescape(line) for line in path.read_bytes().decode().split("\n")[:-1])


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    with whole_file(path, "w") as file:
        json.dump(value, file, indent=2, default=lambda scalar: scalar.item())  # NumPy's scalars
        file.write("\n")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:  # bad JSON, or bytes that are no UTF-8
        raise InputError(
            f"The artefact's file {path} is truncated or changed: {error}. "
            "Copy the whole folder again, or export the student again."
        ) from error
