"""Two students as one artefact: the first retrieves candidates, the second ranks them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tfrs_distill import columns
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.errors import InputError
from tfrs_distill.export.artefact import describe, refuse_foreign_folder, write_artefact
from tfrs_distill.export.ranking_columns import sides_of
from tfrs_distill.export.retrieval_module import ExportableStudent
from tfrs_distill.files import whole_folder
from tfrs_distill.models.features import ITEM, QUERY, ItemFeature, NeighbourFeature
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.serving.artefact import RANKING_FOLDER, Artefact, RankingStage

KNOWN_OF_A_QUERY = (columns.HISTORY, columns.HISTORY_RATINGS)
KNOWN_OF_AN_ITEM = (columns.ITEM_ID,)


def export_two_stage(
    retrieval_student: ExportableStudent,
    ranking_student: RankingModel,
    directory: str | os.PathLike[str],
    catalogue: Catalogue,
    *,
    num_candidates: int = 100,
    task: str | None = None,
    retrieval_weight: float = 0.0,
    provenance: Mapping[str, Any] | None = None,
) -> Artefact:
    """Write both students to one folder, which `Recommender` reads like any other artefact.

    The folder is the artefact of the retrieval student, as `export_artefact` writes it with
    `k=num_candidates`, with that of the ranking student in `ranking/` and an entry in
    `signature.json`. `Recommender` retrieves `num_candidates` items and ranks them by

    `score = prediction of the task + retrieval_weight * retrieval score`

    with one call of the ranking model per query. A history has no ratings there: a ranking student
    that reads them gets 0 (not rated).

    Reference: [Covington et al., 2016](https://doi.org/10.1145/2959100.2959190).

    Args:
        retrieval_student: finds the candidates.
        ranking_student: ranks them; it reads a history and an item.
        directory: the folder to write, `saved_models/<name>/<version>`; see `next_version`.
        catalogue: the items both were trained on, `splits.catalogue`; its `exclude_seen` decides
            whether items in the history are excluded.
        num_candidates: number of items that are retrieved and ranked; the maximum per query.
        task: the ranking student's task to rank by; not needed if there is only one.
        retrieval_weight: weight of the retrieval score, a logit, relative to the prediction. 0
            ranks by the ranking student alone.
        provenance: further entries of `provenance.json`, besides versions and fingerprints.

    Returns:
        The artefact that was written.

    Raises:
        InputError: the ranking student reads a column that is neither in a history nor in the
            catalogue, has no such task, or another number of items; or see `export_artefact`.
    """
    task = _check(ranking_student, catalogue, task)
    if num_candidates < 1:
        raise InputError(f"`num_candidates` must be at least 1. Received: {num_candidates!r}.")
    if not math.isfinite(retrieval_weight):
        raise InputError(f"`retrieval_weight` must be finite. Received: {retrieval_weight!r}.")
    stage = RankingStage(task, num_candidates, float(retrieval_weight))
    refuse_foreign_folder(Path(directory))
    with whole_folder(directory) as folder:
        (folder / RANKING_FOLDER).mkdir()
        module, second = describe(
            ranking_student,
            folder / RANKING_FOLDER,
            None,  # the titles are in the folder above
            vocabularies={columns.ITEM_ID: catalogue.item_ids},
            provenance=provenance,
        )
        write_artefact(module, second)
        module, first = describe(
            retrieval_student, folder, catalogue, k=num_candidates, provenance=provenance
        )
        write_artefact(
            module, replace(first, signature=first.signature | {"ranking": asdict(stage)})
        )
    return Artefact.read(directory)


def _check(student: RankingModel, catalogue: Catalogue, task: str | None) -> str:
    """Return the task to rank by; raise if a `Recommender` cannot provide the student's inputs."""
    if not isinstance(student, RankingModel):
        raise InputError(
            "The second stage must be a ranking student made of features. "
            f"Received: {type(student).__name__}."
        )
    sides = sides_of(student.features)
    for side, known in ((QUERY, KNOWN_OF_A_QUERY), (ITEM, KNOWN_OF_AN_ITEM)):
        read = [name for name, whose in sides.items() if whose == side]
        odd = [name for name in read if name not in known]
        if odd or known[0] not in read:
            raise InputError(
                f"After a retrieval student all that is known of a{'n' * (side == ITEM)} {side} is "
                f"{' and '.join(known)}, and a ranking student must read {known[0]}. Received: one "
                f"that reads {', '.join(odd or read) or 'nothing'} of it. Train one on these "
                "columns alone, or rank with `Ranker`, which takes any."
            )
    parts = [*student.table_features, *student.features]
    of_items = [part for part in parts if isinstance(part, (ItemFeature, NeighbourFeature))]
    for feature in of_items:
        if feature.num_items != catalogue.num_items:
            raise InputError(
                f"The ranking student has {feature.num_items} items, but the catalogue has "
                f"{catalogue.num_items}. Give the catalogue that both students were trained on."
            )
    tasks = list(student.tasks)
    if task not in tasks and (task is not None or len(tasks) > 1):
        raise InputError(
            f"`task` must be one of the ranking student's: {', '.join(tasks)}. Received: "
            f"task={task!r}."
        )
    return tasks[0] if task is None else task
