"""The whole artefact, every format, in one go."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.export.saved_model import (
    refuse_foreign_folder,
    serving_module,
    sidecars_of,
    write_saved_model,
)
from tfrs_distill.export.serving_module import ExportableStudent
from tfrs_distill.export.tflite import QUESTION, write_tflite
from tfrs_distill.files import whole_folder
from tfrs_distill.serving.artefact import TFLITE, TFLITE_INT8, Artefact, write_sidecars


def export_artefact(
    student: ExportableStudent,
    directory: str | os.PathLike[str],
    catalogue: Catalogue,
    *,
    k: int = 100,
    provenance: Mapping[str, Any] | None = None,
) -> Artefact:
    """Write a SavedModel, `student.tflite` and `student_int8.tflite` to one folder.

    Both `.tflite` files are converted from that SavedModel. The folder appears whole or not at
    all; an artefact that is there already stays as it was until then.

    Args:
        student: what has learnt.
        directory: the folder to write, `saved_models/<name>/<version>`; see `next_version`.
        catalogue: the items the student was trained on, `splits.catalogue`; its `exclude_seen` says
            whether the history's items are left out.
        k: how many items a query gets.
        provenance: what `provenance.json` shall say beside versions and fingerprints.

    Returns:
        The artefact that was written.

    Raises:
        InputError: see `to_saved_model` and `to_tflite`.
    """
    refuse_foreign_folder(Path(directory))
    with whole_folder(directory) as folder:
        write_artefact(student, folder, catalogue, k, provenance)
    return Artefact.read(directory)


def write_artefact(
    student: ExportableStudent,
    folder: Path,
    catalogue: Catalogue,
    k: int,
    provenance: Mapping[str, Any] | None,
    *,
    more_of_signature: Mapping[str, Any] | None = None,
) -> None:
    """Write all files of the artefact into `folder`; see `export_artefact`.

    Args:
        student: what has learnt.
        folder: where; what is there already becomes part of the artefact.
        catalogue: the items the student was trained on.
        k: how many items a query gets.
        provenance: what `provenance.json` shall say beside versions and fingerprints.
        more_of_signature: what `signature.json` shall say beside the student's own.
    """
    module = serving_module(student, catalogue, k)
    write_saved_model(module, folder)
    write_tflite(folder, folder / TFLITE, "float32", QUESTION)
    write_tflite(folder, folder / TFLITE_INT8, "int8", QUESTION)
    sidecars = sidecars_of(module, student, catalogue, provenance)
    sidecars["signature"] |= more_of_signature or {}
    write_sidecars(folder, **sidecars)
