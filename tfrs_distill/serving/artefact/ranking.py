"""The artefact of a ranking student."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfrs_distill.errors import InputError
from tfrs_distill.serving.artefact.files import (
    PROVENANCE,
    SIGNATURE,
    TITLES,
    ModelFiles,
    check_files,
    describe_files,
    read_json,
    read_lines,
    read_provenance,
    write_json,
    write_lines,
)

RANKING_FORMAT = 2  # of `signature.json`; 1 had histories of one length
VOCABULARIES, WORDS = "vocabularies", "words"  # folders of one text file a column


@dataclass(frozen=True)
class RankingArtefact(ModelFiles):
    """The folder of a ranking student, whose files are all there and whole.

    Args:
        folder: where it is.
        vocabularies: by name, the ids that people know; entry i has the index `i + 1`.
        words: by text column, the words that have an index, in the order of their indices.
        titles: what a person calls each item, in the order of `vocabularies["item_id"]`; empty
            where it was exported without a catalogue.
        signature: the contents of `signature.json`.
        provenance: the contents of `provenance.json`.
    """

    folder: Path
    vocabularies: dict[str, tuple[str, ...]]
    words: dict[str, tuple[str, ...]]
    titles: tuple[str, ...]
    signature: dict[str, Any]
    provenance: dict[str, Any]

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> RankingArtefact:
        """Read and check the artefact in `folder`.

        Raises:
            InputError: it is no artefact, or that of a retrieval student or of another version, or
                a file of it is missing, truncated or changed.
        """
        folder = Path(folder)
        provenance = read_provenance(folder)
        if provenance.get("kind") != "ranking":
            raise InputError(
                f"{folder} is not the artefact of a ranking student. Read a retrieval student with "
                "`Recommender.load`; in a folder of two stages the ranking student is below "
                "`ranking`."
            )
        check_files(folder, provenance, {SIGNATURE})
        files = provenance["files"]
        signature = read_json(folder / SIGNATURE)
        if signature["format"] != RANKING_FORMAT:
            raise InputError(
                f"{folder / SIGNATURE} has format {signature['format']}, of another version of "
                f"tfrs-distill; this one reads format {RANKING_FORMAT}. Export the student again."
            )
        return cls(
            folder=folder,
            vocabularies=_read_folder(folder, VOCABULARIES, files),
            words=_read_folder(folder, WORDS, files),
            titles=read_lines(folder / TITLES) if TITLES in files else (),
            signature=signature,
            provenance=provenance,
        )

    @property
    def columns(self) -> dict[str, dict[str, Any]]:
        """What `signature.json` says of every column, by name."""
        return dict(self.signature["columns"])

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """What `signature.json` says of every task, by name."""
        return dict(self.signature["tasks"])


def write_ranking_sidecars(
    folder: Path,
    *,
    vocabularies: Mapping[str, Sequence[str]],
    words: Mapping[str, Sequence[str]],
    titles: Sequence[str],
    signature: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> None:
    """Write everything but the models into `folder`, which holds the models already.

    The arguments are what `RankingArtefact` reads.
    """
    for name, lines_by_column in ((VOCABULARIES, vocabularies), (WORDS, words)):
        for column, lines in lines_by_column.items():
            write_lines(folder / name / f"{column}.txt", lines)
    if titles:
        write_lines(folder / TITLES, titles)
    write_json(folder / SIGNATURE, signature)
    own = {"kind": "ranking", **provenance, "files": describe_files(folder)}
    write_json(folder / PROVENANCE, own)


def _read_folder(folder: Path, name: str, files: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    paths = [Path(file) for file in files if file.startswith(f"{name}/") and file.endswith(".txt")]
    return {path.stem: read_lines(folder / path) for path in paths}
