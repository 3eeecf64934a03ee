"""The SavedModel: for TensorFlow Serving, and the source of every other file."""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import tensorflow as tf

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.errors import InputError
from tfrs_distill.export.serving_module import ExportableStudent, ServingModule, signature_of
from tfrs_distill.files import whole_folder
from tfrs_distill.serving.artefact import PROVENANCE, Artefact, write_sidecars


def to_saved_model(
    student: ExportableStudent,
    directory: str | os.PathLike[str],
    catalogue: Catalogue,
    *,
    k: int = 100,
    provenance: Mapping[str, Any] | None = None,
) -> Artefact:
    """Write `student` as a SavedModel artefact at `directory`.

    TensorFlow Serving serves `saved_models/<name>` when `directory` is
    `saved_models/<name>/<version>`, the version a number. What the model takes and gives is said
    in `ServingModule`. An artefact that is at `directory` already is replaced, all its files.

    Args:
        student: what has learnt.
        directory: the folder to write; it appears whole or not at all.
        catalogue: the items the student was trained on, `splits.catalogue`; its `exclude_seen` says
            whether the history's items are left out.
        k: how many items a query gets.
        provenance: what `provenance.json` shall say beside versions and fingerprints.

    Returns:
        The artefact that was written.

    Raises:
        InputError: `directory` holds something that is no artefact, or student and catalogue do
            not belong together.
    """
    refuse_foreign_folder(Path(directory))
    module = serving_module(student, catalogue, k)
    with whole_folder(directory) as folder:
        write_saved_model(module, folder)
        write_sidecars(folder, **sidecars_of(module, student, catalogue, provenance))
    return Artefact.read(directory)


def serving_module(student: ExportableStudent, catalogue: Catalogue, k: int) -> ServingModule:
    """What every file of the artefact is made of."""
    return ServingModule(student, catalogue.num_items, k=k, exclude_seen=catalogue.exclude_seen)


class ServedModule(Protocol):
    """A `tf.Module` that says what is served of it."""

    @property
    def served(self) -> dict[str, Any]:
        """Its functions, by the names of their signatures."""


def write_saved_model(module: ServedModule, folder: Path) -> None:
    """Write `module` into the empty `folder`.

    Raises:
        OSError: the disk is full.
    """
    try:
        tf.saved_model.save(module, str(folder), module.served)
    except tf.errors.ResourceExhaustedError as error:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error


def refuse_foreign_folder(folder: Path) -> None:
    """Raise unless `folder` is absent, empty or an artefact, so that nothing else is replaced.

    Raises:
        InputError: it is something else.
    """
    if not folder.exists() or (folder / PROVENANCE).is_file():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise InputError(
            f"{folder} holds something that is not an artefact, and it would be replaced. "
            "Give a folder that is new or empty, such as saved_models/my_student/1."
        )


def sidecars_of(
    module: ServingModule,
    student: ExportableStudent,
    catalogue: Catalogue,
    provenance: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The arguments of `write_sidecars` that say what `module` is and where it comes from."""
    return {
        "item_ids": catalogue.item_ids,
        "titles": catalogue.titles,
        "signature": signature_of(module, getattr(student, "max_history", None)),
        "provenance": provenance_of(student, catalogue, provenance),
    }


def provenance_of(
    student: Any, catalogue: Catalogue | None, provenance: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What `provenance.json` says beside the files: versions, fingerprints, what was given."""
    own = {
        "versions": {"python": platform.python_version(), **_installed_versions()},
        "student": type(student).__name__,
    }
    if catalogue is not None:
        own["catalogue_fingerprint"] = catalogue.fingerprint()
    return {**own, **(provenance or {})}


def _installed_versions() -> dict[str, str]:
    versions = {}
    for name in ("tfrs-distill", "tensorflow", "tf-keras", "tensorflow-recommenders", "numpy"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # a checkout that is not installed
            versions[name] = "not installed"
    return versions
