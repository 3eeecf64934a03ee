"""Which model file of an artefact a reader asks for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tfrs_distill.errors import InputError
from tfrs_distill.serving.artefact.files import PROVENANCE, SAVED_MODEL
from tfrs_distill.serving.artefact.ranking import RankingArtefact
from tfrs_distill.serving.artefact.retrieval import Artefact

AnArtefact = TypeVar("AnArtefact", Artefact, RankingArtefact)


def find_model(
    path: str | os.PathLike[str], format: str | None, read: Callable[[Path], AnArtefact]
) -> tuple[AnArtefact, str]:
    """The artefact at `path`, and the name of the model file to run.

    Args:
        path: the artefact's folder, or one `.tflite` file inside it.
        format: "tflite" or "saved_model"; None takes `.tflite` where there is one.
        read: reads the artefact in a folder.

    Raises:
        InputError: it is no artefact, a file of it is truncated, or it lacks the format.
    """
    path = Path(path)
    if format not in (None, "tflite", "saved_model"):
        raise InputError(
            f"`format` must be 'tflite' or 'saved_model'. Received: format={format!r}."
        )
    if path.suffix != ".tflite" or path.is_dir():
        artefact = read(path)
        return artefact, _choose(artefact, format)
    if format == "saved_model":
        raise InputError(f"{path} is a .tflite file. For format='saved_model' give its folder.")
    return _read_around(path, read), path.name


def _choose(artefact: Artefact | RankingArtefact, format: str | None) -> str:
    """The model file that `format` asks for."""
    if format != "saved_model" and artefact.tflite_files:
        return artefact.tflite_files[0]
    if format != "tflite" and artefact.has_saved_model:
        return SAVED_MODEL
    models = [*artefact.tflite_files, *([SAVED_MODEL] if artefact.has_saved_model else [])]
    raise InputError(
        f"{artefact.folder} holds no model in format {format or 'tflite or saved_model'!r}; "
        f"it has: {', '.join(models) or 'none'}."
    )


def _read_around(path: Path, read: Callable[[Path], AnArtefact]) -> AnArtefact:
    """The artefact that the `.tflite` file `path` is part of."""
    if not path.is_file():
        raise InputError(f"There is no file {path}. Check the path.")
    if not (path.parent / PROVENANCE).is_file():
        raise InputError(
            f"{path} is alone: {PROVENANCE} and the item titles are not beside it. "
            "Copy the whole folder that it was exported to."
        )
    artefact = read(path.parent)
    if path.name not in artefact.tflite_files:
        raise InputError(
            f"{path} is not part of the artefact around it, which has: "
            f"{', '.join(artefact.tflite_files) or 'no .tflite file'}."
        )
    return artefact
