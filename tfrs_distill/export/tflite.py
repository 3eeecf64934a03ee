"""The `.tflite` file: for LiteRT on a phone, in a browser, or in Python without TensorFlow."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.errors import InputError
from tfrs_distill.export.artefact import Vocabularies, describe, refuse_foreign_folder
from tfrs_distill.export.forms.form import ServedModule
from tfrs_distill.export.forms.saved_model import write_saved_model
from tfrs_distill.export.forms.tflite import QUANTIZATIONS, write_tflite
from tfrs_distill.export.retrieval_module import ExportableStudent
from tfrs_distill.files import whole_folder
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.two_stage_student import TwoStageStudent
from tfrs_distill.serving.artefact import PROVENANCE, Artefact


def to_tflite(
    student: ExportableStudent | RankingModel | TwoStageStudent,
    path: str | os.PathLike[str],
    catalogue: Catalogue | None = None,
    *,
    quantization: str = "float32",
    k: int | None = None,
    vocabularies: Vocabularies | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Artefact:
    """Write `student` as a `.tflite` file, with the files that a reader needs.

    The file uses built-in operators only. Inputs and outputs of its signatures are in
    `RetrievalModule` and `RankingModule`; the sizes of `history` are free, so resize the input
    first. Vocabularies, `titles.txt`, `signature.json`, `provenance.json` and, for a student that
    reads texts, its word pieces are written to the same folder, which becomes, or stays, an
    artefact.

    Two stages are two files of this name, see `export_artefact`; an existing artefact in the folder
    is replaced with all its files.

    Args:
        student: a trained retrieval student, a ranking student made of features, or a
            `TwoStageStudent`.
        path: the file to write, ending in `.tflite`.
        catalogue: the items the student was trained on, see `export_artefact`.
        quantization: "float32"; "float16", weights in half the bytes; or "int8", weights in a
            quarter, computing with 8-bit integers where LiteRT can (dynamic range).
        k: for retrieval, see `export_artefact`.
        vocabularies: for ranking, see `export_artefact`.
        provenance: further entries of `provenance.json`, besides versions and fingerprints.

    Returns:
        The artefact that the file is now part of.

    Raises:
        InputError: an argument is invalid, LiteRT lacks an operator of the student, or the folder
            holds a model of another catalogue or k, or a file of the same name as one of an
            artefact's that is of none.
    """
    path = Path(path)
    if path.suffix != ".tflite":
        raise InputError(f"`path` must end in .tflite. Received: {path}.")
    if quantization not in QUANTIZATIONS:
        raise InputError(
            f"`quantization` must be one of {', '.join(map(repr, QUANTIZATIONS))}. "
            f"Received: {quantization!r}."
        )
    given: dict[str, Any] = {"k": k, "vocabularies": vocabularies, "provenance": provenance}
    if isinstance(student, TwoStageStudent):
        refuse_foreign_folder(path.parent)
        with whole_folder(path.parent) as folder:
            for module, described in describe(student, folder, catalogue, **given):
                _convert(module, described.folder / path.name, quantization)
                described.write()
        return Artefact.read(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".", suffix=".partial") as partial:
        stage = Path(partial)
        ((module, described),) = describe(student, stage, catalogue, **given)
        _convert(module, stage / path.name, quantization)
        there = Artefact.read(path.parent) if (path.parent / PROVENANCE).is_file() else None
        described.write({} if there is None else _other_files(there, path, described))
        if there is None:
            _refuse_foreign_files(path, described)
        for name in (path.name, *described.sidecars):
            (path.parent / name).parent.mkdir(exist_ok=True)
            os.replace(stage / name, path.parent / name)
        if there is not None:
            _remove(there, described)
    return Artefact.read(path.parent)


def _convert(module: ServedModule, path: Path, quantization: str) -> None:
    with tempfile.TemporaryDirectory() as saved_model:
        write_saved_model(module, Path(saved_model))
        write_tflite(module, Path(saved_model), path, quantization)


def _other_files(there: Artefact, path: Path, described: Artefact) -> dict[str, Any]:
    """Return what `provenance.json` lists of the other models in the folder of `path`."""
    kept = {
        name: file
        for name, file in there.provenance["files"].items()
        if name not in (path.name, *there.sidecars)
    }
    there = replace(there, folder=described.folder, provenance=described.provenance)
    if kept and there != described:
        raise InputError(
            f"{path.parent} holds {', '.join(sorted(kept))}, exported with another catalogue, k, "
            "exclude_seen or student width, or of a student that reads other texts or attributes "
            "of users. Give another folder, or remove that one first."
        )
    return kept


def _refuse_foreign_files(path: Path, described: Artefact) -> None:
    """Raise unless the folder's files can be replaced; an interrupted export left equal ones."""
    for name in described.sidecars:
        file = path.parent / name
        if file.exists() and file.read_bytes() != (described.folder / name).read_bytes():
            raise InputError(
                f"{path.parent} is not an artefact, and its {name} would be replaced. Give a "
                "folder that is new or empty, such as saved_models/my_student/1."
            )


def _remove(before: Artefact, described: Artefact) -> None:
    """Remove the other files of a replaced student that the new one does not have."""
    for name in set(before.sidecars) - set(described.sidecars):
        path = before.folder / name
        path.unlink(missing_ok=True)
        if path.parent != before.folder and not any(path.parent.iterdir()):
            path.parent.rmdir()
