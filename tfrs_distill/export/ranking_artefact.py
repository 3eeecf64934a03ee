"""The whole artefact of a ranking student, every format, in one go."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.errors import InputError
from tfrs_distill.export.ranking_module import RankingModule, ranking_signature_of
from tfrs_distill.export.saved_model import provenance_of, refuse_foreign_folder, write_saved_model
from tfrs_distill.export.tflite import write_tflite
from tfrs_distill.files import whole_folder
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.serving.artefact import (
    TFLITE,
    TFLITE_INT8,
    RankingArtefact,
    write_ranking_sidecars,
)
from tfrs_distill.serving.word_vocabulary import WordVocabulary

PART = "its features, crosses, hidden layers or heads"
TOLERANCE = 1e-4  # of a prediction of 1; float32 files were within 1e-6 of the model


def export_ranking_artefact(
    student: RankingModel,
    directory: str | os.PathLike[str],
    *,
    vocabularies: Mapping[str, Sequence[str] | WordVocabulary] | None = None,
    catalogue: Catalogue | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> RankingArtefact:
    """Write a SavedModel, `student.tflite` and `student_int8.tflite` to one folder.

    What the files take and give is said in `RankingModule`: the signatures are `score` (also the
    SavedModel's `serving_default`) and, for a student of query and item, `rank`. Both `.tflite`
    files hold built-in operators only; `student_int8.tflite` has its tables and matrices in 8 bits
    and computes with 8-bit integers where LiteRT can (dynamic range). The folder appears whole or
    not at all; an artefact that is there already stays as it was until then.

    Args:
        student: what has learnt.
        directory: the folder to write, `saved_models/<name>/<version>`; see `next_version`.
        vocabularies: by column, what turns what people know into indices: the ids of a column of
            ids, entry i with the index `i + 1`, or the `WordVocabulary` of a column of words. They
            travel with the files, for `Ranker`; a column without takes indices only. The item ids
            serve the history too.
        catalogue: the items the student was trained on: their ids become the vocabulary of
            `columns.ITEM_ID`, and their titles travel along.
        provenance: what `provenance.json` shall say beside versions and fingerprints.

    Returns:
        The artefact that was written.

    Raises:
        InputError: `directory` holds something that is no artefact; a vocabulary or the catalogue
            does not fit the student; the student's weights are not finite; LiteRT has no operator
            for a part of it, or computes something else.

    Example:
    >>> import tempfile
    >>> from tfrs_distill.serving.ranker import Ranker
    >>> from tfrs_distill.models.ranking_student import RankingStudent
    >>> from tfrs_distill.models.features import IdFeature, ItemFeature
    >>> from tfrs_distill.models.tasks import Binary
    >>> features = [IdFeature("user_id", 2, 4, side="query"), ItemFeature(9, 4)]
    >>> student = RankingStudent(features, [Binary("like")], hidden_units=(), num_cross_layers=1)
    >>> folder = tempfile.mkdtemp() + "/1"
    >>> artefact = export_ranking_artefact(
    ...     student, folder, vocabularies={"user_id": ("ann", "bob")})
    >>> said = Ranker.load(folder).rank(query={"user_id": "bob"}, items={"item_id": [1, 5, 9]})
    >>> said["like"].shape
    (3,)
    """
    refuse_foreign_folder(Path(directory))
    with whole_folder(directory) as folder:
        write_ranking_artefact(student, folder, vocabularies or {}, catalogue, provenance)
    return RankingArtefact.read(directory)


def write_ranking_artefact(
    student: RankingModel,
    folder: Path,
    vocabularies: Mapping[str, Sequence[str] | WordVocabulary],
    catalogue: Catalogue | None,
    provenance: Mapping[str, Any] | None,
) -> None:
    """Write all files of the artefact into the empty `folder`; see `export_ranking_artefact`."""
    require_features(student)
    if catalogue is not None:
        vocabularies = {**vocabularies, columns.ITEM_ID: catalogue.item_ids}
    ids: dict[str, Sequence[str]] = {}
    words: dict[str, Sequence[str]] = {}
    for name, given in vocabularies.items():
        if isinstance(given, WordVocabulary):
            words[name] = given.words
        else:
            ids[name] = given
            _require_text(name, given)
    module = RankingModule(student)
    signature = ranking_signature_of(module, student, vocabularies)
    _check_finite(module.needed_variables)
    expected = module.answers(module.questions)
    write_saved_model(module, folder)
    for name, quantization in ((TFLITE, "float32"), (TFLITE_INT8, "int8")):
        answers = write_tflite(folder, folder / name, quantization, module.questions, part=PART)
        if quantization == "float32":
            _check_answers(answers, expected)
    write_ranking_sidecars(
        folder,
        vocabularies=ids,
        words=words,
        titles=() if catalogue is None else catalogue.titles,
        signature=signature,
        provenance=provenance_of(student, catalogue, provenance),
    )


def require_features(student: Any) -> None:
    """Raises an InputError unless the student is made of features."""
    if not isinstance(student, RankingModel):
        raise InputError(
            "Only a ranking student made of features can be exported, as they say what every "
            f"column is. Received: {type(student).__name__}. Save a model that was adopted with "
            "`tf.saved_model.save`."
        )


def _require_text(name: str, ids: Sequence[str]) -> None:
    """Raises an InputError unless ids are text: a reader takes a number for an index."""
    for given in ids:
        if not isinstance(given, str):
            raise InputError(
                f"The vocabulary of {name!r} must be of text. Received: {given!r}. Give every id "
                "as text, such as '50', or no vocabulary where ids are indices."
            )


def _check_finite(variables: Sequence[tf.Variable]) -> None:
    for variable in variables:
        if not np.isfinite(variable.numpy()).all():
            raise InputError(
                f"The student's weights are not all finite, among them {variable.name}. Its "
                "training diverged: train it again, for example with a smaller learning rate."
            )


def _check_answers(
    answers: Mapping[str, Mapping[str, np.ndarray]],
    expected: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    """Hold what LiteRT says against what TensorFlow says of the same rows."""
    for name, said in expected.items():
        for task, values in said.items():
            difference = np.abs(answers[name][task] - values)
            if not (difference <= TOLERANCE * np.maximum(1.0, np.abs(values))).all():
                raise InputError(
                    f"LiteRT computes something else than TensorFlow: predictions of {task!r} by "
                    f"{name!r} differ by up to {difference.max():g}. A part of {PART} is written "
                    "in a way that the converter gets wrong. Write it differently."
                )
