"""The `.tflite` file: for LiteRT on a phone, in a browser, or in Python without TensorFlow."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.errors import InputError
from tfrs_distill.export.saved_model import serving_module, sidecars_of, write_saved_model
from tfrs_distill.export.serving_module import ExportableStudent
from tfrs_distill.files import whole_file
from tfrs_distill.serving.artefact import PROVENANCE, SIDECARS, Artefact, write_sidecars
from tfrs_distill.serving.interpreter import TFLiteModel
from tfrs_distill.serving.quiet import quiet_stderr

QUANTIZATIONS = ("float32", "float16", "int8")
QUESTION = {"serving_default": {"history": np.array([[1, 0]], np.int32)}}


def to_tflite(
    student: ExportableStudent,
    path: str | os.PathLike[str],
    catalogue: Catalogue,
    *,
    quantization: str = "float32",
    k: int = 100,
    provenance: Mapping[str, Any] | None = None,
) -> Artefact:
    """Write `student` as a `.tflite` file, with what a reader needs beside it.

    The file holds built-in operators only. Its signature `serving_default` takes and gives what
    is said in `ServingModule`; both sizes of `history` are free, so resize the input first.
    `vocabulary.txt`, `titles.txt`, `signature.json` and `provenance.json` are written to the same
    folder, which becomes, or stays, an artefact.

    Args:
        student: what has learnt.
        path: the file to write, ending in `.tflite`.
        catalogue: the items the student was trained on, `splits.catalogue`; its `exclude_seen` says
            whether the history's items are left out.
        quantization: "float32"; "float16", weights in half the bytes; or "int8", weights in a
            quarter, computing with 8-bit integers where LiteRT can (dynamic range).
        k: how many items a query gets.
        provenance: what `provenance.json` shall say beside versions and fingerprints.

    Returns:
        The artefact that the file is now part of.

    Raises:
        InputError: an argument is unknown, the student uses operators LiteRT does not have, or
            the folder holds a model of another catalogue or k.
    """
    path = Path(path)
    if path.suffix != ".tflite":
        raise InputError(f"`path` must end in .tflite. Received: {path}.")
    _check_quantization(quantization)
    module = serving_module(student, catalogue, k)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".", suffix=".partial") as partial:
        stage = Path(partial)
        with tempfile.TemporaryDirectory() as saved_model:
            write_saved_model(module, Path(saved_model))
            write_tflite(Path(saved_model), stage / path.name, quantization, QUESTION)
        _write_sidecars_beside(stage, path, sidecars_of(module, student, catalogue, provenance))
        for name in (path.name, *SIDECARS):
            os.replace(stage / name, path.parent / name)
    return Artefact.read(path.parent)


def write_tflite(
    saved_model: Path,
    path: Path,
    quantization: str,
    questions: Mapping[str, Mapping[str, np.ndarray]],
    *,
    part: str = "`encode_histories`",
) -> dict[str, dict[str, np.ndarray]]:
    """Convert the SavedModel in the folder `saved_model`, with nothing on standard error.

    Args:
        saved_model: the folder.
        path: the file to write.
        quantization: see `to_tflite`.
        questions: by name, the signatures that the file gets, with inputs to ask it once: the
            converter also writes models that LiteRT cannot open.
        part: what of the student becomes operators, for messages.

    Returns:
        What the file answered, by signature and output.

    Raises:
        InputError: LiteRT has no built-in operator for something the student does, or cannot run
            what the converter made of it.
    """
    with quiet_stderr():
        converter = tf.lite.TFLiteConverter.from_saved_model(
            str(saved_model), signature_keys=list(questions)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if quantization != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        try:
            model = converter.convert()
        except Exception as error:  # its class is private to TensorFlow
            if "NEEDS_FLEX_OPS" not in str(error) and "NEEDS_CUSTOM_OPS" not in str(error):
                raise
            raise InputError(
                "The student cannot become a .tflite file: LiteRT has no built-in operator for a "
                f"part of {part}. Write that part differently, or export a SavedModel. "
                f"TensorFlow says: {error}"
            ) from error
    with whole_file(path) as file:
        file.write(model)
    return _ask(path, questions, part)


def _ask(
    path: Path, questions: Mapping[str, Mapping[str, np.ndarray]], part: str
) -> dict[str, dict[str, np.ndarray]]:
    """What the file answers to a question a signature."""
    try:
        model = TFLiteModel(path)
        return {name: model.run(name, question) for name, question in questions.items()}
    except (InputError, ValueError, RuntimeError) as error:
        raise InputError(
            "The student was converted, but LiteRT cannot run the result: a part of "
            f"{part} is written in a way that the converter gets wrong for sizes that "
            f"are free. Write it differently, or export a SavedModel. LiteRT says: {error}"
        ) from error


def _check_quantization(quantization: str) -> None:
    if quantization not in QUANTIZATIONS:
        raise InputError(
            f"`quantization` must be one of {', '.join(map(repr, QUANTIZATIONS))}. "
            f"Received: {quantization!r}."
        )


def _write_sidecars_beside(stage: Path, path: Path, sidecars: dict[str, Any]) -> None:
    """Write the sidecars into `stage`, vouching for the other models in `path`'s folder too."""
    if not (path.parent / PROVENANCE).is_file():
        write_sidecars(stage, **sidecars)
        return
    there = Artefact.read(path.parent)
    kept = {
        name: described
        for name, described in there.provenance["files"].items()
        if name not in (path.name, *SIDECARS)
    }
    same = there.signature == sidecars["signature"] and (
        (there.item_ids, there.titles) == (tuple(sidecars["item_ids"]), tuple(sidecars["titles"]))
    )
    if kept and not same:
        raise InputError(
            f"{path.parent} holds {', '.join(sorted(kept))}, exported with another catalogue, k, "
            "exclude_seen or student width. Give another folder, or remove that one first."
        )
    write_sidecars(stage, **sidecars, other_files=kept)
