"""The artefact of a retrieval student, and of one with a ranking student behind it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfrs_distill.errors import InputError
from tfrs_distill.serving.artefact.files import (
    PROVENANCE,
    SIGNATURE,
    TITLES,
    VOCABULARY,
    ModelFiles,
    check_files,
    describe_files,
    read_json,
    read_lines,
    read_provenance,
    write_json,
    write_lines,
)

SIDECARS = (VOCABULARY, TITLES, SIGNATURE, PROVENANCE)  # in the order they are put in place
RANKING_FOLDER = "ranking"


@dataclass(frozen=True)
class RankingStage:
    """How the ranking student in the subfolder `ranking/` orders what was retrieved.

    `score = prediction of the task + retrieval_weight * retrieval score`.

    Args:
        task: whose prediction counts.
        num_candidates: items that are retrieved and ranked.
        retrieval_weight: how much a unit of the retrieval student's score counts.
    """

    task: str
    num_candidates: int
    retrieval_weight: float


@dataclass(frozen=True)
class Artefact(ModelFiles):
    """An artefact folder whose files are all there and whole.

    Args:
        folder: where it is.
        item_ids: the id of every item; `item_ids[i]` has the item index `i + 1`.
        titles: the title of every item, in the same order.
        signature: the contents of `signature.json`.
        provenance: the contents of `provenance.json`.
    """

    folder: Path
    item_ids: tuple[str, ...]
    titles: tuple[str, ...]
    signature: dict[str, Any]
    provenance: dict[str, Any]

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Artefact:
        """Read and check the artefact in `folder`.

        Raises:
            InputError: it is no artefact, or that of a ranking student, or a file of it is
                missing, truncated or changed.
        """
        folder = Path(folder)
        provenance = read_provenance(folder)
        if provenance.get("kind") == "ranking":
            raise InputError(
                f"{folder} holds a ranking student, which scores the items it is given and cannot "
                "recommend by itself. Read it with `Ranker.load`, or give the folder of two stages."
            )
        check_files(folder, provenance, {VOCABULARY, TITLES, SIGNATURE})
        return cls(
            folder=folder,
            item_ids=read_lines(folder / VOCABULARY),
            titles=read_lines(folder / TITLES),
            signature=read_json(folder / SIGNATURE),
            provenance=provenance,
        )

    @property
    def num_items(self) -> int:
        """How many items the model can recommend."""
        return len(self.item_ids)

    @property
    def k(self) -> int:
        """How many items a query gets; fixed when the student was exported."""
        return int(self.signature["k"])

    @property
    def max_history(self) -> int | None:
        """How many of the last items the student reads."""
        max_history = self.signature["max_history"]
        return None if max_history is None else int(max_history)

    @property
    def exclude_seen(self) -> bool:
        """Whether the history's items, all of them, are never recommended."""
        return bool(self.signature["exclude_seen"])

    @property
    def ranking_stage(self) -> RankingStage | None:
        """How what is retrieved is ranked; None where the retrieval student does all."""
        stage = self.signature.get("ranking")
        return None if stage is None else RankingStage(**stage)


def write_sidecars(
    folder: Path,
    *,
    item_ids: Iterable[str],
    titles: Iterable[str],
    signature: Mapping[str, Any],
    provenance: Mapping[str, Any],
    other_files: Mapping[str, Any] | None = None,
) -> None:
    """Write everything but the models into `folder`, which holds the models already.

    Args:
        folder: where; the files that are there are the ones `provenance.json` will vouch for.
        item_ids: one a line of `vocabulary.txt`.
        titles: one a line of `titles.txt`.
        signature: what `signature.json` says.
        provenance: what `provenance.json` says, beside the files.
        other_files: entries for files that will stand beside these but are not in `folder` yet.
    """
    write_lines(folder / VOCABULARY, item_ids)
    write_lines(folder / TITLES, titles)
    write_json(folder / SIGNATURE, signature)
    files = {**(other_files or {}), **describe_files(folder)}
    write_json(folder / PROVENANCE, {**provenance, "files": files})
