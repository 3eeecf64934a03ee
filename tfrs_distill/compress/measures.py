"""Scores of a student and of its file in a search: for lists of items, or predictions of rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tfrs_distill import columns
from tfrs_distill.compress.suited import Student
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.data.splits import Queries
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation.latency import milliseconds, percentiles
from tfrs_distill.evaluation.retrieval import ModelScorer, Scorer, evaluate
from tfrs_distill.evaluation.row_score import (
    deviation_of_labels,
    in_unit_of_labels,
    name_of_row_score,
    row_score,
)
from tfrs_distill.evaluation.two_stage import TwoStages
from tfrs_distill.export.artefact import Vocabularies
from tfrs_distill.export.ranking_columns import sides_of
from tfrs_distill.files import content_sha256
from tfrs_distill.models.features import ITEM, QUERY
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.tasks import Binary, NextItem
from tfrs_distill.models.two_stage_student import TwoStageStudent
from tfrs_distill.models.two_tower import TwoTower
from tfrs_distill.serving import Ranker, Recommender
from tfrs_distill.serving.word_vocabulary import WordVocabulary
from tfrs_distill.teachers import row_logits

NUM_TIMED = 200  # histories or rows for the latency
NUM_RANKED = 500  # rows for which a file ranks the full catalogue, one call each


class Measure(Protocol):
    """The score of a student, more is better, and the export arguments of its file."""

    name: str  # of the score
    exported_with: dict[str, Any]  # arguments of `to_tflite`

    @property
    def inputs(self) -> list[Any]:
        """Everything that determines a score or a file, except the student, as JSON values."""

    def of_student(self, student: Any) -> float:
        """Return the score of a student in memory."""

    def of_file(self, folder: Path) -> tuple[float, dict[str, float]]:
        """Return the score of an artefact's file, and its milliseconds `p50` and `p95`."""


def measure_of(
    student: Student,
    queries: Queries | RankingExamples,
    *,
    k: int,
    num_recommended: int = 100,
    catalogue: Catalogue | None = None,
    vocabularies: Vocabularies | None = None,
) -> Measure:
    """Return the measure for a student; the arguments are those of `to_budget`.

    Raises:
        InputError: the queries are for the other kind of student, or do not fit this one.
    """
    expected: type = RankingExamples if isinstance(student, RankingModel) else Queries
    if not isinstance(queries, expected):
        raise InputError(
            f"`queries` of a {type(student).__name__} must be {expected.__name__}, such as "
            f"`splits.validation`. Received: {type(queries).__name__}."
        )
    if isinstance(student, RankingModel):
        assert isinstance(queries, RankingExamples)
        return RowMeasure(student, queries, k, catalogue, vocabularies)
    assert isinstance(queries, Queries)
    if catalogue is not None or vocabularies is not None:
        raise InputError(
            "`catalogue` and `vocabularies` are for a ranking student. Received: a "
            f"{type(student).__name__}, whose catalogue is that of `queries`. Leave them out."
        )
    return ListMeasure(student, queries, k, num_recommended)


class ListMeasure:
    """NDCG@k of recommendations after histories.

    Args:
        student: for retrieval, or of two stages.
        queries: the histories and the relevant items.
        k: of the NDCG.
        num_recommended: items that the file of a retrieval student returns; with two stages the
            file returns all candidates.

    Raises:
        InputError: see `to_budget`.
    """

    def __init__(
        self, student: TwoTower | TwoStageStudent, queries: Queries, k: int, num_recommended: int
    ) -> None:
        if not len(queries):
            raise InputError("`queries` must hold at least one query. Received: none.")
        if queries.catalogue.num_items != student.num_items:
            raise InputError(
                f"`queries` are of a catalogue of {queries.catalogue.num_items:,} items, but the "
                f"student has {student.num_items:,}. Give queries of the data that it was "
                "trained on."
            )
        two_stages = isinstance(student, TwoStageStudent)
        name = "num_candidates" if two_stages else "num_recommended"
        if isinstance(student, TwoStageStudent):
            num_recommended = student.num_candidates
        most = min(num_recommended, student.num_items)
        if not 1 <= k <= most:
            raise InputError(
                f"`k` must be from 1 to {most}, the items that a file returns: at most "
                f"`{name}` and all of the catalogue. Received: k={k!r}, {name}={num_recommended!r}."
            )
        self.queries, self.k, self.name = queries, k, f"NDCG@{k}"
        self.exported_with: dict[str, Any] = {"catalogue": queries.catalogue}
        if not two_stages:
            self.exported_with["k"] = num_recommended

    @property
    def inputs(self) -> list[Any]:
        """See `Measure`."""
        of_data = [self.queries.catalogue.fingerprint(), _fingerprint(self.queries)]
        return [*of_data, self.k, self.exported_with.get("k")]

    def of_student(self, student: TwoTower | TwoStageStudent) -> float:
        """See `Measure`."""
        exclude_seen = self.queries.catalogue.exclude_seen
        scorer: Scorer
        if isinstance(student, TwoStageStudent):
            scorer = TwoStages.of(student, exclude_seen=exclude_seen)
        else:
            scorer = ModelScorer(student, exclude_seen=exclude_seen)
        return float(evaluate(scorer, self.queries, k=self.k).ndcg.mean())

    def of_file(self, folder: Path) -> tuple[float, dict[str, float]]:
        """See `Measure`."""
        recommender = Recommender.load(folder)
        score = float(evaluate(recommender, self.queries, k=self.k).ndcg.mean())
        return score, percentiles(recommender, self.queries.histories[:NUM_TIMED], self.k)


class RowMeasure:
    """The `row_score` of predictions for rows.

    A file's next-item task is measured on the first `NUM_RANKED` rows only, since each row ranks
    the full catalogue.

    Args:
        student: for ranking.
        examples: with labels.
        k: of the next item's NDCG.
        catalogue: see `export_artefact`.
        vocabularies: see `export_artefact`.

    Raises:
        InputError: the rows lack a column that the student reads, or the labels of a task.
    """

    def __init__(
        self,
        student: RankingModel,
        examples: RankingExamples,
        k: int,
        catalogue: Catalogue | None,
        vocabularies: Vocabularies | None,
    ) -> None:
        if not k >= 1:
            raise InputError(f"`k` must be at least 1. Received: k={k!r}.")
        known = {columns.USER_ID: examples.users, **examples.features}
        missing = [name for name in student.input_columns if name not in known]
        if missing:
            raise InputError(
                f"`queries` must have the columns that the student reads, {missing} among them. "
                f"They have: {sorted(known)}."
            )
        for name, task in student.tasks.items():
            if not isinstance(task, NextItem):
                task.check(examples.labels_of(name))
                if not isinstance(task, Binary):
                    deviation_of_labels(name, examples)
        self.tasks, self.k, self.name = student.tasks, k, name_of_row_score(student.tasks, k)
        self.examples, self.sides = examples, sides_of(student.features)
        self.rows = {name: known[name] for name in student.input_columns}
        self.catalogue, self.vocabularies = catalogue, dict(vocabularies or {})
        self.exported_with = {"catalogue": catalogue, "vocabularies": self.vocabularies}

    @property
    def inputs(self) -> list[Any]:
        """See `Measure`."""
        of_items = self.catalogue and self.catalogue.fingerprint()
        names = {
            name: [given.max_words, *given.words]
            if isinstance(given, WordVocabulary)
            else [None, *map(str, given)]
            for name, given in self.vocabularies.items()
        }
        return [self.examples.fingerprint(), self.k, of_items, content_sha256(names)]

    def of_student(self, student: RankingModel) -> float:
        """See `Measure`."""
        predictions = in_unit_of_labels(row_logits(student, self.examples), self.tasks)
        return row_score(self.tasks, predictions, self.examples, self.k)

    def of_file(self, folder: Path) -> tuple[float, dict[str, float]]:
        """See `Measure`."""
        ranker = Ranker.load(folder)
        predictions, scores = self.predictions(ranker), []
        for name, task in self.tasks.items():
            examples = self.examples.subset(np.arange(len(predictions[name])))
            scores.append(row_score({name: task}, predictions, examples, self.k))
        rows = [self._row(place) for place in range(min(len(self.examples), NUM_TIMED))]
        return float(np.mean(scores)), milliseconds(ranker.score, rows)

    def predictions(self, ranker: Ranker) -> dict[str, np.ndarray]:
        """Return a file's predictions for `row_score`; next items for the first rows only."""
        found = ranker.score(self.rows)
        for name, task in self.tasks.items():
            if isinstance(task, NextItem):
                found[name] = self._of_all_items(ranker, task)
        return found

    def _of_all_items(self, ranker: Ranker, task: NextItem) -> np.ndarray:
        """Probabilities of all items after the first rows' histories, [n, num_items]."""
        found = []
        for place in range(min(len(self.examples), NUM_RANKED)):
            row = self._row(place)
            items = {n: v.repeat(task.num_items, 0) for n, v in self._of(row, ITEM).items()}
            items[columns.ITEM_ID] = np.arange(1, task.num_items + 1)
            query = {name: values[0] for name, values in self._of(row, QUERY).items()}
            found.append(ranker.rank(query=query, items=items)[task.name])
        return np.stack(found)

    def _row(self, place: int) -> dict[str, np.ndarray]:
        return {name: values[place : place + 1] for name, values in self.rows.items()}

    def _of(self, row: Mapping[str, np.ndarray], side: str) -> dict[str, np.ndarray]:
        return {name: values for name, values in row.items() if self.sides[name] == side}


def _fingerprint(queries: Queries) -> str:
    """Hash everything that determines a score, including exclusions and the ranked items."""
    candidates = [] if queries.candidates is None else [queries.candidates]
    digest = hashlib.sha256(str((queries.catalogue.exclude_seen, len(candidates))).encode())
    for part in (*candidates, *queries.histories, *queries.positives):
        digest.update(str(len(part)).encode() + np.asarray(part, np.int32).tobytes())
    if queries.user_attributes is not None:
        known = queries.user_attributes
        digest.update(str(known.shape).encode() + np.asarray(known, np.int32).tobytes())
    return digest.hexdigest()
