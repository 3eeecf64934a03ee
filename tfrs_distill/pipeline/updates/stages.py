"""The stages of an update: joined data, the updated student, its check, the updated teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.data.splits import Queries
from tfrs_distill.evaluation import evaluate, metrics
from tfrs_distill.evaluation.retrieval import ModelScorer
from tfrs_distill.files import files_sha256, save_arrays, whole_file
from tfrs_distill.losses import SoftTargetKLDivergence
from tfrs_distill.models import RetrievalStudent, TwoTower, warm_start
from tfrs_distill.models.retrieval_model import NEXT_ITEM
from tfrs_distill.pipeline.fit_until_best import fit_until_best, save_alone
from tfrs_distill.pipeline.report.over_runs import NDCG_FILE, USERS
from tfrs_distill.pipeline.run_folder import STUDENT_FILE, Run
from tfrs_distill.pipeline.source import table_sha256
from tfrs_distill.pipeline.stage import NOTE, Result, Stage
from tfrs_distill.pipeline.stages.student import best_score
from tfrs_distill.pipeline.students import DistillationSetup, WindowStudents
from tfrs_distill.pipeline.teacher_kinds import teacher_kind
from tfrs_distill.pipeline.teacher_kinds.kind import updated
from tfrs_distill.pipeline.updates.new_data import joined_data, over_all_items
from tfrs_distill.teachers import Ensemble

EXTENDED = "extended"  # in the teacher's folder: the earlier teacher over all items
MAX_EPOCHS, PATIENCE, TEACHER_EPOCHS = 6, 2, 4
ALL_USERS = "all users"
TABLES = "tables"  # in the data's facts: the sha256 of each table that the update added
UNKNOWN_ITEM_SCORE = -1e9  # the score of an item that is new to a student with ids alone


class Update:
    """One update of a run, in its folder.

    Args:
        run: the update as a run: its recipe, its folder, its progress.
        earlier: the run or the update that the last version came from.
        first: the run that the first version came from.
        interactions: files with new interactions.
        items: files with new items.
        columns: of these tables.
        max_drop: how much of an earlier version's NDCG may be lost.
    """

    def __init__(
        self,
        run: Run,
        earlier: Run,
        first: Run,
        interactions: Sequence[str],
        items: Sequence[str],
        columns: dict[str, Any],
        max_drop: float,
    ) -> None:
        self.run, self.earlier, self.first = run, earlier, first
        self.interactions, self.items, self.columns = interactions, items, columns
        self.max_drop = max_drop
        self.tables = [table_sha256(table) for table in [*interactions, *items]]
        self.k = run.recipe.evaluation.k

    def data_stage(self) -> Stage:
        """Join the data; its result has a line about what is new."""
        recipe = self.run.recipe

        def settings() -> Any:
            earlier = self.earlier.data.splits.train.fingerprint()
            number = len(self.interactions)
            return [self.tables, number, self.columns, earlier, asdict(recipe.data)]

        def work(folder: Path) -> tuple[Result, str]:
            data, line = joined_data(
                self.earlier.data, recipe, self.interactions, self.items, self.columns
            )
            data.save(folder)
            return data.facts()[0] | {"new": line, TABLES: self.tables}, line

        return Stage("data", work, settings)

    def student_stage(self) -> Stage:
        """Train the last version further, distilled from its teacher and from itself.

        The teacher is that of the last version. It was not trained on the new data, so its outputs
        for them are like those of a cross-fitted teacher.
        """
        run, recipe = self.run, self.run.recipe
        chosen = recipe.distillation

        def work(folder: Path) -> tuple[Result, str]:
            student, before = self.student_of(self.earlier), self.student_of(self.earlier)
            teacher = self._earlier_teacher(folder / EXTENDED)
            students = WindowStudents(run)
            setup = DistillationSetup(
                students.examples,
                {NEXT_ITEM: SoftTargetKLDivergence(temperature=chosen.temperature)},
                Ensemble([teacher, before]),
                chosen.student_loss_weight,
            )
            curves = fit_until_best(
                setup.distiller(student),
                students.batches(setup.examples, recipe.seed),
                students.validation_callback(student),
                learning_rate=chosen.learning_rate,
                weight_decay=chosen.weight_decay,
                max_epochs=min(MAX_EPOCHS, recipe.training.max_epochs),
                patience=PATIENCE,
                progress=run.progress,
                description="student",
            )
            students.finish(student)
            save_alone(student, folder / STUDENT_FILE)
            score, epoch = best_score(curves), curves["best_epoch"]
            line = f"validation {students.score} {score:.4f} at epoch {epoch}"
            return {"curves": curves}, line

        return Stage("student", work, self._settings, after=("data",))

    def check_stage(self) -> Stage:
        """Compare the new student with the last version and with the first."""

        def work(folder: Path) -> tuple[Result, str]:
            found = self._checked(folder)
            lines = [
                f"{part} NDCG@{self.k} {values['new']:.4f} (before {values['last']:.4f})"
                for part, values in found["ndcg"].items()
            ]
            return found, ", ".join(lines)

        def settings() -> Any:
            return [self.max_drop, self.k, files_sha256([self.first.student_file("student")])]

        return Stage("check", work, settings, after=("student",))

    def teacher_stage(self) -> Stage:
        """Train the teacher on all data, for the update after this one."""

        def work(folder: Path) -> tuple[Result, str]:
            kind = updated(self.run.recipe.teacher.kind, self.run.teacher)
            extended = self.run.file("student", EXTENDED)
            facts = kind.train_further(extended, folder, TEACHER_EPOCHS)
            return facts, facts.pop("line")

        return Stage("teacher", work, self._settings, after=("student", "check"))

    def student_of(self, run: Run) -> RetrievalStudent:
        """A version's student over all items, not trained further."""
        earlier: TwoTower = run.student("student")
        items = earlier.candidate_tower
        if hasattr(items, "word_pieces"):
            vectors = items.text_tower.embeddings.numpy()
            self.run.item_words = (items.word_pieces, vectors)
        student = WindowStudents(self.run).new(self.run.recipe.distillation, self.run.recipe.seed)
        num_new = student.num_items - earlier.num_items
        warm_start(student, earlier, [*range(1, earlier.num_items + 1), *[0] * num_new])
        return student

    def _settings(self) -> Any:
        recipe = self.run.recipe
        sections = ("teacher", "student", "item_texts", "training", "distillation")
        earlier = [self.earlier.student_file("student"), self.earlier.file("teacher", NOTE)]
        return [[asdict(getattr(recipe, name)) for name in sections], files_sha256(earlier)]

    def _earlier_teacher(self, folder: Path) -> Any:
        """The last version's teacher over all items."""
        run, data = self.run, self.earlier.data
        over_all = over_all_items(data, run.recipe, run.data.catalogue)
        kind = teacher_kind(replace(run.teacher_context, data=over_all))
        folder.mkdir(exist_ok=True)
        updated(run.recipe.teacher.kind, kind).extend(self.earlier.file("teacher"), folder)
        return kind.open(folder)

    def _checked(self, folder: Path) -> Result:
        run, test = self.run, self.run.data.splits.test.answerable()
        students = {
            "new": ModelScorer(run.student("student"), exclude_seen=test.catalogue.exclude_seen),
            "last": self._scorer_of(self.earlier, test),
            "first": self._scorer_of(self.first, test),
        }
        before = self.first.data.splits.test
        parts = {ALL_USERS: test, "users without new data": test.subset(_unchanged(test, before))}
        ndcg: dict[str, Any] = {}
        differences: dict[str, Any] = {}
        worse = []
        for part, queries in parts.items():
            if not len(queries):
                continue
            found = {
                name: evaluate(scorer, queries, k=self.k).ndcg for name, scorer in students.items()
            }
            if part == ALL_USERS:
                with whole_file(folder / NDCG_FILE.name) as file:
                    save_arrays(file, found | {USERS: queries.users})
            ndcg[part] = {name: float(values.mean()) for name, values in found.items()}
            differences[part] = {
                name: metrics.paired_difference(found["new"], found[name], seed=run.recipe.seed)
                for name in ("last", "first")
            }
            worse += [
                [part, name]
                for name, difference in differences[part].items()
                if is_worse(difference, ndcg[part][name], self.max_drop)
            ]
        sizes = {part: len(queries) for part, queries in parts.items()}
        return {"ndcg": ndcg, "differences": differences, "queries": sizes, "worse": worse}

    def _scorer_of(self, run: Run, queries: Queries) -> ModelScorer:
        """An earlier version; with item ids alone, it cannot recommend items that are new to it."""
        student, num_known = self.student_of(run), run.data.catalogue.num_items
        scorer = ModelScorer(student, exclude_seen=queries.catalogue.exclude_seen)
        if not student.candidate_tower.id_dropout:
            scorer.catalogue[:, num_known + 1 :] = 0.0
            scorer.catalogue[-1, num_known + 1 :] = UNKNOWN_ITEM_SCORE
        return scorer


def is_worse(difference: Mapping[str, Any], before: float, max_drop: float) -> bool:
    """Whether the loss is larger than allowed and significant.

    Args:
        difference: new minus before, see `metrics.paired_difference`.
        before: the earlier figure.
        max_drop: the share of it that may be lost.

    Example:
    >>> is_worse({"difference": -0.01, "interval": (-0.02, -0.001)}, 0.2, max_drop=0.02)
    True
    >>> is_worse({"difference": -0.01, "interval": (-0.02, 0.001)}, 0.2, max_drop=0.02)
    False
    >>> is_worse({"difference": -0.01, "interval": (-0.02, -0.001)}, 0.2, max_drop=0.1)
    False
    """
    return bool(difference["interval"][1] < 0 and -difference["difference"] > max_drop * before)


def _unchanged(queries: Queries, before: Queries) -> np.ndarray:
    """The rows whose history and positives are those of the same user before, int64."""
    of_user = {
        int(user): (history, positives)
        for user, history, positives in zip(before.users, before.histories, before.relevant)
    }
    return np.array(
        [
            row
            for row, user in enumerate(queries.users.tolist())
            if user in of_user
            and np.array_equal(queries.histories[row], of_user[user][0])
            and np.array_equal(queries.positives[row], of_user[user][1])
        ],
        np.int64,
    )
