"""The artefact of a student: its files besides the model files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfrs_distill.columns import ITEM_ID, USER_ATTRIBUTES
from tfrs_distill.errors import InputError
from tfrs_distill.files import write_json
from tfrs_distill.serving.artefact.files import (
    PROVENANCE,
    SAVED_MODEL,
    SIGNATURE,
    TFLITE,
    TITLES,
    VOCABULARY,
    check_files,
    describe_files,
    read_json,
    read_lines,
    read_provenance,
    size_of,
    write_lines,
)
from tfrs_distill.serving.attribute_vocabulary import AttributeVocabulary
from tfrs_distill.serving.word_pieces import WordPieces

RETRIEVAL, RANKING = "retrieval", "ranking"  # kinds of student
RANKING_FORMAT = 2  # of `signature.json`; 1 had histories of one length
VOCABULARIES, WORDS = "vocabularies", "words"  # folders of one text file a column
PIECES = "pieces"  # among the words of retrieval: those of the items' texts


@dataclass(frozen=True)
class RankingStage:
    """How the ranking student in the subfolder `ranking/` ranks the retrieved items.

    `score = prediction of the task + retrieval_weight * retrieval score`.

    Args:
        task: the task whose prediction is used.
        num_candidates: number of items that are retrieved and ranked.
        retrieval_weight: weight of the retrieval student's score.
    """

    task: str
    num_candidates: int
    retrieval_weight: float


@dataclass(frozen=True)
class Artefact:
    """A complete and valid artefact folder.

    Args:
        folder: its path.
        kind: `RETRIEVAL` or `RANKING`, the kind of student.
        vocabularies: by column, the known ids; entry i has the index `i + 1`. A retrieval student
            has only that of `columns.ITEM_ID`.
        words: by text column, the words in the order of their indices; a retrieval student that
            reads item texts has their word pieces as `PIECES`.
        titles: the title of every item, in the order of the item ids; empty for a ranking student
            that was exported without a catalogue.
        signature: the contents of `signature.json`.
        provenance: the contents of `provenance.json`.
    """

    folder: Path
    kind: str
    vocabularies: dict[str, tuple[str, ...]]
    words: dict[str, tuple[str, ...]]
    titles: tuple[str, ...]
    signature: dict[str, Any]
    provenance: dict[str, Any]

    @classmethod
    def read(cls, folder: str | os.PathLike[str], kind: str | None = None) -> Artefact:
        """Read and check the artefact in `folder`.

        Args:
            folder: its path.
            kind: the expected kind of student; None for any.

        Raises:
            InputError: it is not an artefact, or has another kind of student or another
                version, or a file is missing, truncated or changed.
        """
        folder = Path(folder)
        provenance = read_provenance(folder)
        found = provenance.get("kind", RETRIEVAL)
        if kind not in (None, found):
            raise InputError(
                f"{folder} holds a ranking student, which scores given items and cannot "
                "recommend by itself. Read it with `Ranker.load`, or give a two-stage folder."
                if found == RANKING
                else f"{folder} is not the artefact of a ranking student. Read a retrieval student "
                "with `Recommender.load`; in a two-stage folder the ranking student is in "
                "`ranking`."
            )
        needs_items = {VOCABULARY, TITLES} if found == RETRIEVAL else set()
        check_files(folder, provenance, {SIGNATURE} | needs_items)
        files = provenance["files"]
        signature = read_json(folder / SIGNATURE)
        if found == RANKING and signature["format"] != RANKING_FORMAT:
            raise InputError(
                f"{folder / SIGNATURE} has format {signature['format']}, of another version of "
                f"tfrs-distill; this one reads format {RANKING_FORMAT}. Export the student again."
            )
        vocabularies = (
            {ITEM_ID: read_lines(folder / VOCABULARY)}
            if found == RETRIEVAL
            else _read_columns(folder, VOCABULARIES, files)
        )
        return cls(
            folder=folder,
            kind=found,
            vocabularies=vocabularies,
            words=_read_columns(folder, WORDS, files),
            titles=read_lines(folder / TITLES) if TITLES in files else (),
            signature=signature,
            provenance=provenance,
        )

    @property
    def sidecars(self) -> list[str]:
        """The files besides the models that `write` writes, in the order of replacement."""
        is_retrieval = self.kind == RETRIEVAL
        vocabularies = [] if is_retrieval else self.vocabularies
        return [
            *(f"{WORDS}/{column}.txt" for column in self.words),
            *(f"{VOCABULARIES}/{column}.txt" for column in vocabularies),
            *([VOCABULARY] if is_retrieval else []),
            *([TITLES] if self.titles else []),
            SIGNATURE,
            PROVENANCE,
        ]

    def write(self, other_files: Mapping[str, Any] | None = None) -> None:
        """Write everything except the models into the folder, which already has the models.

        Args:
            other_files: entries of `provenance.json` for files that will be added later.

        Raises:
            InputError: a text is not valid Unicode.
        """
        vocabularies = self.vocabularies
        provenance = self.provenance
        if self.kind == RETRIEVAL:
            write_lines(self.folder / VOCABULARY, vocabularies[ITEM_ID])
            vocabularies = {}
        else:
            provenance = {"kind": self.kind, **provenance}
        for name, lines_by_column in ((VOCABULARIES, vocabularies), (WORDS, self.words)):
            for column, lines in lines_by_column.items():
                write_lines(self.folder / name / f"{column}.txt", lines)
        if self.titles:
            write_lines(self.folder / TITLES, self.titles)
        write_json(self.folder / SIGNATURE, self.signature)
        files = {**(other_files or {}), **describe_files(self.folder)}
        write_json(self.folder / PROVENANCE, {**provenance, "files": files})

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The id of every item; `item_ids[i]` has the item index `i + 1`."""
        return self.vocabularies[ITEM_ID]

    @property
    def num_items(self) -> int:
        """Number of items that a retrieval student can recommend."""
        return len(self.item_ids)

    @property
    def k(self) -> int:
        """Number of items per query; fixed when a retrieval student is exported."""
        return int(self.signature["k"])

    @property
    def max_history(self) -> int | None:
        """Number of last items that a retrieval student reads."""
        max_history = self.signature["max_history"]
        return None if max_history is None else int(max_history)

    @property
    def exclude_seen(self) -> bool:
        """Whether a retrieval student never recommends items in the history."""
        return bool(self.signature["exclude_seen"])

    @property
    def word_pieces(self) -> WordPieces | None:
        """Converts texts of new items to indices; None if the student uses item ids alone."""
        if self.kind != RETRIEVAL or PIECES not in self.words:
            return None
        return WordPieces(self.words[PIECES], **self.signature["texts"])

    @property
    def user_attributes(self) -> AttributeVocabulary | None:
        """The user attributes that a retrieval student reads besides a history; None for none.

        They are in `signature.json`: `user_attributes` lists each attribute's `name` and, in the
        order of its indices from 1 on, the `values` of a category or the `starts` of its buckets.
        """
        described = self.signature.get(USER_ATTRIBUTES)
        return None if described is None else AttributeVocabulary.from_list(described)

    @property
    def ranking_stage(self) -> RankingStage | None:
        """How retrieved items are ranked; None for a single-stage artefact."""
        stage = self.signature.get("ranking")
        return None if stage is None else RankingStage(**stage)

    @property
    def columns(self) -> dict[str, dict[str, Any]]:
        """The entries of `signature.json` for the columns of a ranking student, by name."""
        return dict(self.signature["columns"])

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """The entries of `signature.json` for the tasks of a ranking student, by name."""
        return dict(self.signature["tasks"])

    @property
    def has_saved_model(self) -> bool:
        """Whether the folder holds a SavedModel."""
        return SAVED_MODEL in self.provenance["files"]

    @property
    def tflite_files(self) -> tuple[str, ...]:
        """The names of the `.tflite` files in the folder itself, `student.tflite` first."""
        files = self.provenance["files"]
        names = [name for name in files if name.endswith(".tflite") and "/" not in name]
        return tuple(sorted(names, key=lambda name: (name != TFLITE, name)))

    def bytes_of(self, name: str) -> int:
        """Return the size of the model file `name`; of `saved_model.pb`, with its variables.

        A second stage is not counted: its file has the same name in `ranking/`.
        """
        return size_of(self.provenance["files"], name)


def _read_columns(folder: Path, name: str, files: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    paths = [Path(file) for file in files if file.startswith(f"{name}/") and file.endswith(".txt")]
    return {path.stem: read_lines(folder / path) for path in paths}
