"""The artefact of a student: its model files in every form, and what a reader needs beside them."""

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

    These are a SavedModel and what is converted from it: `student.tflite` in float32 and a smaller
    file with tables and matrices in 8 bits, which computes with 8-bit integers where LiteRT can
    (dynamic range); both of built-in operators only. What they take and give
    is in `RetrievalModule` and `RankingModule`; a student of mixed precision computes in float32
    there. The folder appears whole or not at all; an artefact
    that is there already stays as it was until then.

    Of two stages the folder is the artefact of the retrieval student and holds that of the ranking
    student in `ranking/`, as is noted in `signature.json`. `Recommender` reads it as any other, and
    calls the ranking model once a query. A history has no ratings there: a ranking student that
    reads them gets 0, not rated.

    Args:
        student: a trained student of retrieval, of ranking and made of features, or of both.
        directory: the folder to write, `saved_models/<name>/<version>`; see `next_version`.
        catalogue: the items the student was trained on, `splits.catalogue`. Retrieval needs it,
            and its `exclude_seen` decides whether the history's items are left out. Of a ranking
            student their ids become the vocabulary of `columns.ITEM_ID`, and their titles are kept.
        k: of retrieval: how many items a query gets, 100 by default; of two stages it is the
            student's `num_candidates`.
        vocabularies: of ranking: by column, what turns what people know into indices: the ids of a
            column of ids, entry i with the index `i + 1`, or the `WordVocabulary` of a column of
            words. They are kept with the files, for `Ranker`; a column without takes indices only.
            The item ids serve the history too.
        provenance: what `provenance.json` holds beside versions and fingerprints.

    Returns:
        The artefact that was written.

    Raises:
        InputError: `directory` holds something that is no artefact; an argument is missing, of the
            other kind of student, or does not fit the student; the ranking student of two stages
            reads more than a history and an item; the student's weights are not finite; LiteRT
            has no operator for a part of it, or computes something else.

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
    """Write `student` as an artefact of a SavedModel alone at `directory`.

    TensorFlow Serving serves `saved_models/<name>` when `directory` is
    `saved_models/<name>/<version>`, the version a number. An artefact that is at `directory`
    already is replaced, all its files.

    Args:
        student: see `export_artefact`, as for all arguments.
        directory: the folder to write; it appears whole or not at all.
        catalogue: the items the student was trained on.
        k: see `export_artefact`.
        provenance: what `provenance.json` holds beside versions and fingerprints.

    Returns:
        The artefact that was written.

    Raises:
        InputError: `directory` holds something that is no artefact, or student and catalogue do
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
    """Return what the model files in `folder` compute, and the artefact that they are part of.

    Of two stages the second one's come first: the artefact in `folder` lists the files of both.
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
    """The same of one student."""
    provenance = provenance_of(student, catalogue, provenance)
    student = in_float32(student)
    if isinstance(student, RankingModel):
        if k is not None:
            raise InputError(
                "A ranking student scores the items that it is given, so it takes no `k`. "
                f"Received: k={k!r}."
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
            "A student can be exported that has `catalogue_embeddings` and `encode_histories`, or "
            "is a ranking student made of features, as they say what every column is. "
            f"Received: {type(student).__name__}. Save a model that was adopted with "
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
    """Write the model files of `module`, the SavedModel first, and what stands beside them."""
    for form in forms:
        form.write(module, described.folder)
    described.write()


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


def provenance_of(
    student: Any, catalogue: Catalogue | None, provenance: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return versions and fingerprints, with what is given, for `provenance.json`."""
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
    """Return the ids, which must be text: a reader takes a number for an index."""
    for given in ids:
        if not isinstance(given, str):
            raise InputError(
                f"The vocabulary of {name!r} must be of text. Received: {given!r}. Give every id "
                "as text, such as '50', or no vocabulary where ids are indices."
            )
    return tuple(ids)
