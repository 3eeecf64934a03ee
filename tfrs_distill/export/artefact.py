"""The artefact of a student: its model files in every form, and the files that a reader needs."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from tfrs_distill import columns
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.errors import InputError
from tfrs_distill.export.forms import FORMS, ExportForm
from tfrs_distill.export.forms.form import ServedModule
from tfrs_distill.export.in_float32 import in_float32
from tfrs_distill.export.ranking_module import RankingModule, ranking_signature
from tfrs_distill.export.retrieval_module import (
    ExportableStudent,
    RetrievalModule,
    retrieval_signature,
)
from tfrs_distill.export.two_stage import check_second_stage
from tfrs_distill.files import whole_folder
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.two_stage_student import TwoStageStudent
from tfrs_distill.serving.artefact import (
    PIECES,
    PROVENANCE,
    RANKING,
    RANKING_FOLDER,
    RETRIEVAL,
    Artefact,
    RankingStage,
)
from tfrs_distill.serving.word_vocabulary import WordVocabulary

DEFAULT_K = 100
Vocabularies = Mapping[str, Sequence[str] | WordVocabulary]


def export_artefact(
    student: ExportableStudent | RankingModel | TwoStageStudent,
    directory: str | os.PathLike[str],
    catalogue: Catalogue | None = None,
    *,
    k: int | None = None,
    vocabularies: Vocabularies | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Artefact:
    """Write a student to one folder, in every form of `export/forms/`.

    The forms are a SavedModel and files converted from it: `student.tflite` in float32, and a
    smaller file with tables and matrices in 8 bits, which computes with 8-bit integers where LiteRT
    can (dynamic range). Both use built-in operators only. Their inputs and outputs are in
    `RetrievalModule` and `RankingModule`. A mixed-precision student computes in float32 there. The
    folder is written atomically; until then an existing artefact does not change.

    For two stages the folder is the artefact of the retrieval student, with that of the ranking
    student in `ranking/` and an entry in `signature.json`. `Recommender` reads it like any other
    artefact, with one call of the ranking model per query. A history has no ratings there: a
    ranking student that reads them gets 0 (not rated).

    Args:
        student: a trained retrieval student, a ranking student made of features, or a
            `TwoStageStudent`.
        directory: the folder to write, `saved_models/<name>/<version>`; see `next_version`.
        catalogue: the items the student was trained on, `splits.catalogue`. Required for retrieval,
            where its `exclude_seen` decides whether items in the history are excluded. For a
            ranking student its ids become the vocabulary of `columns.ITEM_ID`, and its titles are
            stored.
        k: for retrieval: number of items per query, 100 by default; two stages have their
            `num_candidates`.
        vocabularies: for ranking: by column, the ids of a column of ids (entry i has the index
            `i + 1`), or the `WordVocabulary` of a column of words. They are stored with the files,
            for `Ranker`; a column without a vocabulary takes indices only. The item ids are also
            used for the history.
        provenance: further entries of `provenance.json`, besides versions and fingerprints.

    Returns:
        The artefact that was written.

    Raises:
        InputError: `directory` holds something that is not an artefact; an argument is missing, for
            the other kind of student, or does not fit the student; the ranking student of two
            stages reads more than a history and an item; the student's weights are not finite;
            LiteRT has no operator for a part of it, or its results differ.

    Example:
    >>> import tempfile
    >>> from tfrs_distill.serving.ranker import Ranker
    >>> from tfrs_distill.models.ranking_student import RankingStudent
    >>> from tfrs_distill.models.features import IdFeature, ItemFeature
    >>> from tfrs_distill.models.tasks import Binary
    >>> features = [IdFeature("user_id", 2, 4, side="query"), ItemFeature(9, 4)]
    >>> student = RankingStudent(features, [Binary("like")], hidden_units=(), num_cross_layers=1)
    >>> folder = tempfile.mkdtemp() + "/1"
    >>> artefact = export_artefact(student, folder, vocabularies={"user_id": ("ann", "bob")})
    >>> ranker = Ranker.load(folder)
    >>> ranker.rank(query={"user_id": "bob"}, items={"item_id": [1, 5, 9]})["like"].shape
    (3,)
    """
    refuse_foreign_folder(Path(directory))
    with whole_folder(directory) as folder:
        for module, described in describe(
            student, folder, catalogue, k=k, vocabularies=vocabularies, provenance=provenance
        ):
            write_artefact(module, described)
    return Artefact.read(directory)


def to_saved_model(
    student: ExportableStudent | TwoStageStudent,
    directory: str | os.PathLike[str],
    catalogue: Catalogue,
    *,
    k: int | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Artefact:
    """Write `student` as an artefact with only a SavedModel at `directory`.

    TensorFlow Serving serves `saved_models/<name>` if `directory` is
    `saved_models/<name>/<version>`, with a number as version. An existing artefact at `directory`
    is replaced with all its files.

    Args:
        student: see `export_artefact`.
        directory: the folder to write, atomically.
        catalogue: the items the student was trained on.
        k: see `export_artefact`.
        provenance: further entries of `provenance.json`, besides versions and fingerprints.

    Returns:
        The artefact that was written.

    Raises:
        InputError: `directory` holds something that is not an artefact, or student and catalogue do
            not belong together.
    """
    refuse_foreign_folder(Path(directory))
    with whole_folder(directory) as folder:
        for module, described in describe(student, folder, catalogue, k=k, provenance=provenance):
            write_artefact(module, described, [FORMS["saved_model"]])
    return Artefact.read(directory)


def describe(
    student: ExportableStudent | RankingModel | TwoStageStudent,
    folder: Path,
    catalogue: Catalogue | None,
    *,
    k: int | None = None,
    vocabularies: Vocabularies | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> list[tuple[ServedModule, Artefact]]:
    """Return the functions of the model files in `folder`, and the artefacts they belong to.

    The second of two stages comes first: the artefact in `folder` lists the files of both.
    """
    if not isinstance(student, TwoStageStudent):
        return [_describe(student, folder, catalogue, k, vocabularies, provenance)]
    if catalogue is None or k is not None or vocabularies is not None:
        raise InputError(
            "A student of two stages needs the `catalogue` it was trained on, `splits.catalogue`, "
            "and takes neither `k`, which is its `num_candidates`, nor `vocabularies`. Received: "
            f"catalogue={catalogue!r}, k={k!r}."
        )
    check_second_stage(student.ranking_student, catalogue)
    (folder / RANKING_FOLDER).mkdir()
    second = _describe(
        student.ranking_student,
        folder / RANKING_FOLDER,
        None,  # the titles are in the folder above
        None,
        {columns.ITEM_ID: catalogue.item_ids},
        provenance,
    )
    module, first = _describe(
        student.retrieval_student, folder, catalogue, student.num_candidates, None, provenance
    )
    stage = RankingStage(student.task, student.num_candidates, student.retrieval_weight)
    signature = first.signature | {"ranking": asdict(stage)}
    return [second, (module, replace(first, signature=signature))]


def _describe(
    student: ExportableStudent | RankingModel,
    folder: Path,
    catalogue: Catalogue | None,
    k: int | None,
    vocabularies: Vocabularies | None,
    provenance: Mapping[str, Any] | None,
) -> tuple[ServedModule, Artefact]:
    """Return the function of one student's model files, and their artefact."""
    provenance = provenance_of(student, catalogue, provenance)
    student = in_float32(student)
    if isinstance(student, RankingModel):
        if k is not None:
            raise InputError(
                f"A ranking student scores given items, so it takes no `k`. Received: k={k!r}."
            )
        vocabularies = dict(vocabularies or {})
        if catalogue is not None:
            vocabularies[columns.ITEM_ID] = catalogue.item_ids
        ranking = RankingModule(student)
        words = {n: v.words for n, v in vocabularies.items() if isinstance(v, WordVocabulary)}
        return ranking, Artefact(
            folder=folder,
            kind=RANKING,
            vocabularies={
                name: _texts(name, ids)
                for name, ids in vocabularies.items()
                if not isinstance(ids, WordVocabulary)
            },
            words=words,
            titles=() if catalogue is None else catalogue.titles,
            signature=ranking_signature(ranking, student, vocabularies),
            provenance=provenance,
        )
    if not hasattr(student, "catalogue_embeddings"):
        raise InputError(
            "Only students with `catalogue_embeddings` and `encode_histories`, and ranking "
            "students made of features (which describe every column), can be exported. "
            f"Received: {type(student).__name__}. Save an adapted model with "
            "`tf.saved_model.save`."
        )
    if catalogue is None or vocabularies is not None:
        raise InputError(
            "A retrieval student needs the `catalogue` it was trained on, `splits.catalogue`, and "
            f"takes no `vocabularies`. Received: catalogue={catalogue!r}."
        )
    retrieval = RetrievalModule(
        student,
        catalogue.num_items,
        k=DEFAULT_K if k is None else k,
        exclude_seen=catalogue.exclude_seen,
    )
    return retrieval, Artefact(
        folder=folder,
        kind=RETRIEVAL,
        vocabularies={columns.ITEM_ID: catalogue.item_ids},
        words={} if retrieval.word_pieces is None else {PIECES: retrieval.word_pieces.pieces},
        titles=catalogue.titles,
        signature=retrieval_signature(retrieval, getattr(student, "max_history", None)),
        provenance=provenance,
    )


def write_artefact(
    module: ServedModule, described: Artefact, forms: Iterable[ExportForm] = tuple(FORMS.values())
) -> None:
    """Write the model files of `module`, the SavedModel first, and the other files."""
    for form in forms:
        form.write(module, described.folder)
    described.write()


def refuse_foreign_folder(folder: Path) -> None:
    """Raise unless `folder` is absent, empty or an artefact, so that only artefacts are replaced.

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


def provenance_of(
    student: Any, catalogue: Catalogue | None, provenance: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return versions and fingerprints, with the given entries, for `provenance.json`."""
    known = {
        "versions": {"python": platform.python_version(), **_installed_versions()},
        "student": type(student).__name__,
    }
    if catalogue is not None:
        known["catalogue_fingerprint"] = catalogue.fingerprint()
    return {**known, **(provenance or {})}


def _installed_versions() -> dict[str, str]:
    versions = {}
    for name in ("tfrs-distill", "tensorflow", "tf-keras", "tensorflow-recommenders", "numpy"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # a checkout that is not installed
            versions[name] = "not installed"
    return versions


def _texts(name: str, ids: Sequence[str]) -> tuple[str, ...]:
    """Return the ids, which must be text: readers interpret numbers as indices."""
    for given in ids:
        if not isinstance(given, str):
            raise InputError(
                f"The vocabulary of {name!r} must be text. Received: {given!r}. Give every id "
                "as text, such as '50', or no vocabulary if ids are indices."
            )
    return tuple(ids)
