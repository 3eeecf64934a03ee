"""The students of a run: their construction, training examples and validation score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.data.windows import Windows
from tfrs_distill.distiller import Distiller
from tfrs_distill.evaluation import ValidationNDCG
from tfrs_distill.knowledge.scrambled import scrambled
from tfrs_distill.losses import SoftTargetKLDivergence
from tfrs_distill.models import Candidates, RetrievalStudent
from tfrs_distill.models.ranking_student import RankingStudent
from tfrs_distill.models.retrieval_model import NEXT_ITEM
from tfrs_distill.models.tasks import RankingTask
from tfrs_distill.models.two_tower import COLD_ITEMS, TwoTower
from tfrs_distill.pipeline.cold_validation import ColdValidationNDCG
from tfrs_distill.pipeline.fit_until_best import ValidationCallback
from tfrs_distill.pipeline.list_teachers import standardised
from tfrs_distill.pipeline.models import make_student
from tfrs_distill.pipeline.recipe.sections import TwinSettings
from tfrs_distill.pipeline.run_folder import (
    GENERATED,
    KNOWLEDGE,
    PLAIN,
    SCRAMBLED,
    SELF_KNOWLEDGE,
    SELF_TAUGHT,
    TWIN,
    Run,
)
from tfrs_distill.pipeline.tasks import make_tasks
from tfrs_distill.pipeline.transfer import Transfer
from tfrs_distill.pipeline.two_stage import LIST_LOSSES, ValidationLists, make_second_stage
from tfrs_distill.pipeline.validation import ValidationScore
from tfrs_distill.teachers.candidate_lists import RELEVANCE

Chosen = Any  # `TwinSettings` or `DistillationSettings`
KNOWLEDGE_OF = {SELF_TAUGHT: SELF_KNOWLEDGE}  # the stage; for other students, the teacher's


class DistillationSetup(NamedTuple):
    """Training examples and `Distiller` arguments of a student with a teacher.

    Args:
        examples: with the teacher's knowledge of each.
        losses: the distillation losses by task.
        teacher: None if the examples hold its logits.
        student_loss_weight: of the labels' loss, or by task.
        loss_weights: of the distillation losses by task; None for a weight of 1.
    """

    examples: Any
    losses: dict[str, Any]
    teacher: Any
    student_loss_weight: float | dict[str, float]
    loss_weights: dict[str, float] | None = None

    def distiller(self, student: Any) -> Distiller:
        """Return a distiller of the student."""
        return Distiller(
            student,
            self.teacher,
            self.losses,
            self.loss_weights,
            student_loss_weight=self.student_loss_weight,
        )


class Students(Protocol):
    """The students of one kind of training examples, with any teacher or none."""

    sections: Sequence[str]  # of the recipe, in addition to the distillation settings
    score: str  # readable name of the validation callback's score

    @property
    def examples(self) -> Any:
        """The training examples, without the teacher's knowledge."""

    def new(self, chosen: Chosen, seed: int) -> Any:
        """Create an untrained student."""

    def batches(self, examples: Any, seed: int) -> tf.data.Dataset:
        """Divide training examples into the batches of an epoch."""

    def validation_callback(self, student: Any) -> ValidationCallback:
        """Return a callback that scores a student on validation after every epoch."""

    def finish(self, student: Any) -> None:
        """Complete a trained student."""

    def distillation_setup(self, name: str) -> DistillationSetup:
        """Return the distillation setup of the student of this name."""


def students_of(run: Run, name: str) -> Students:
    """Return the `Students` for a student of this name."""
    if run.recipe.task == "two-stage" and name != "retrieval":
        return ListStudents(run)
    if run.recipe.task in ("retrieval", "two-stage"):
        return WindowStudents(run, transfers=not learns_alone(name))
    task = name.removeprefix("twin_of_")
    return RowStudents(run, None if task == name else (task,))


def learns_alone(name: str) -> bool:
    """Whether the student of this name has no teacher."""
    return name == PLAIN or name.startswith(TWIN)


class WindowStudents:
    """Students that retrieve items after a history.

    Args:
        run: the run.
        transfers: whether they start from another run's student, if the recipe names a run and both
            students read texts.
    """

    sections: Sequence[str] = ("student", "item_texts", "training")

    def __init__(self, run: Run, *, transfers: bool = False) -> None:
        self.run, self.recipe, self.transfers = run, run.recipe, transfers
        self.score = f"NDCG@{run.recipe.evaluation.k}"

    @property
    def transfer(self) -> Transfer | None:
        """The run from which they start."""
        transfer = self.run.transfer if self.transfers else None
        return transfer if transfer is not None and transfer.starts_student else None

    @property
    def examples(self) -> Windows:
        """The training windows."""
        windows: Windows = self.run.data.splits.train
        return windows

    def new(self, chosen: Chosen, seed: int) -> RetrievalStudent:
        """Create a student that is not trained on this run's data."""
        exclude_seen = getattr(chosen, "exclude_seen", False)  # a top-K tail covers all items
        known = self.run.data.known_users
        student = RetrievalStudent.from_history(
            num_items=self.run.data.catalogue.num_items,
            max_history=self.recipe.data.max_history,
            embedding_dim=self.recipe.student.embedding_dim,
            num_heads=self.recipe.student.num_heads,
            dropout=chosen.dropout,
            reads_order=self.recipe.data.reads_order,
            candidates=Candidates(exclude_seen=exclude_seen),
            label_smoothing=chosen.label_smoothing,
            user_attributes=None if known is None else known.vocabulary,
            seed=seed,
            **self._reads(),
        )
        if self.transfer is not None:
            self.transfer.start_student(student)
        return student

    def _reads(self) -> dict[str, Any]:
        """The item inputs of the student in addition to ids."""
        texts, data = self.recipe.item_texts, self.run.data
        if not texts.read:
            return {}
        pieces, vectors = self.run.item_words if self.transfer is None else self.transfer.words
        return {
            "texts": data.catalogue.texts,
            "word_pieces": pieces,
            "piece_vectors": vectors,
            "id_dropout": texts.id_dropout,
            "piece_dropout": texts.dropout,
            "cold_items": () if data.cold is None else data.cold.described,
        }

    def batches(self, examples: Windows, seed: int) -> tf.data.Dataset:
        """Divide windows into batches."""
        return examples.batches(self.recipe.training.batch_size, seed=seed)

    def validation_callback(self, student: RetrievalStudent) -> ValidationCallback:
        """NDCG on validation."""
        data, k = self.run.data, self.recipe.evaluation.k
        if data.cold is not None:
            return ColdValidationNDCG(data.splits.validation, data.cold, k=k, student=student)
        return ValidationNDCG(data.splits.validation, k=k, model=student)

    def finish(self, student: RetrievalStudent) -> None:
        """Set the recommendations for an empty history."""
        student.fit_empty_history(self.examples.batches(self.recipe.training.batch_size))

    def distillation_setup(self, name: str) -> DistillationSetup:
        """Return the windows with knowledge: the top-K for all if the teacher has no embeddings."""
        form = None if self.recipe.knowledge.form == "auto" else self.recipe.knowledge.form
        knowledge = self.run.knowledge()
        generates = bool(self.run.num_generated)
        if name == SCRAMBLED or generates or "embeddings" not in knowledge.forms:
            form = "top_k"
        if name in KNOWLEDGE_OF:
            knowledge = self.run.knowledge(KNOWLEDGE_OF[name])
        windows = knowledge.join(self.examples, form=form)
        if generates and name != SCRAMBLED:  # generated labels are the teacher's, too
            windows = windows.joined(self.run.generated(KNOWLEDGE_OF.get(name, GENERATED)))
        if name == SCRAMBLED:
            windows = scrambled(windows, seed=self.recipe.seed)
        chosen = self.recipe.distillation
        tasks = (NEXT_ITEM,) if self.run.data.cold is None else (NEXT_ITEM, COLD_ITEMS)
        return DistillationSetup(
            windows,
            {task: SoftTargetKLDivergence(temperature=chosen.temperature) for task in tasks},
            knowledge,
            {task: chosen.student_loss_weight if task == NEXT_ITEM else 0.0 for task in tasks},
            {task: 1.0 if task == NEXT_ITEM else chosen.cold_items_weight for task in tasks},
        )


class RowStudents:
    """Students that predict labels of rows: all tasks of the recipe, or the tasks in `names`."""

    sections: Sequence[str] = ("student", "words", "training", "labels")
    score = "score"

    def __init__(self, run: Run, names: Sequence[str] | None = None) -> None:
        self.run, self.recipe, self.names = run, run.recipe, names

    @property
    def examples(self) -> RankingExamples:
        """The training rows."""
        rows: RankingExamples = self.run.data.splits.train
        return rows

    def new(self, chosen: Chosen, seed: int) -> RankingStudent:
        """Create an untrained student."""
        tasks = make_tasks(self.recipe, self.run.data, self.names, chosen.label_smoothing)
        seeded = replace(self.recipe, seed=seed)
        return make_student(seeded, self.run.data, tasks, chosen.dropout)

    def batches(self, examples: RankingExamples, seed: int) -> tf.data.Dataset:
        """Divide rows into batches."""
        return examples.batches(self.recipe.training.batch_size, seed=seed)

    def validation_callback(self, student: RankingStudent) -> ValidationCallback:
        """Return a callback with the tasks' scores on validation."""
        validation = self.run.data.splits.validation
        return ValidationScore(student, validation, self.recipe.evaluation.k)

    def finish(self, student: RankingStudent) -> None:
        """Do nothing."""

    def distillation_setup(self, name: str) -> DistillationSetup:
        """Return the rows with logits, including rows that only a teacher has labelled."""
        rows = self.run.labelled_rows(KNOWLEDGE_OF.get(name, KNOWLEDGE))
        if name == SCRAMBLED:
            rows = scrambled(rows, seed=self.recipe.seed)
        tasks: list[RankingTask] = self.run.tasks
        chosen = self.recipe.distillation
        losses = {task.name: task.distillation_loss(chosen.temperature) for task in tasks}
        return DistillationSetup(rows, losses, None, chosen.student_loss_weight)


class ListStudents:
    """Students that rank the candidates of a first stage.

    Args:
        run: the run.
        first_stage: retrieves the validation candidates; None for the run's first stage.
    """

    sections: Sequence[str] = ("student", "lists", "training")

    def __init__(self, run: Run, first_stage: TwoTower | None = None) -> None:
        self.run, self.recipe, self.given_first_stage = run, run.recipe, first_stage
        self.score = f"NDCG@{run.recipe.evaluation.k} of both stages"

    @property
    def examples(self) -> RankingExamples:
        """The training lists, with their teachers' scores."""
        return self.run.lists

    def new(self, chosen: TwinSettings, seed: int) -> RankingStudent:
        """Create an untrained student."""
        return make_second_stage(
            replace(self.recipe, seed=seed),
            self.run.first_stage.catalogue_embeddings().numpy()[1:],
            self.run.item_item.weights,
            self.run.lists,
            chosen.dropout,
            chosen.label_smoothing,
        )

    def batches(self, examples: RankingExamples, seed: int) -> tf.data.Dataset:
        """Divide whole lists into batches."""
        return examples.list_batches(self.recipe.training.batch_size, seed=seed)

    def validation_callback(self, student: RankingStudent) -> ValidationCallback:
        """Return a callback with the NDCG of both stages on validation."""
        first, validation = self.given_first_stage, self.run.data.splits.validation
        first = self.run.first_stage if first is None else first
        return ValidationLists(self.recipe, student, first, validation)

    def finish(self, student: RankingStudent) -> None:
        """Do nothing."""

    def distillation_setup(self, name: str) -> DistillationSetup:
        """Return the lists with scores of the teachers, of twins, or of the teachers, scrambled."""
        lists = self.examples
        if name in KNOWLEDGE_OF:
            logits = self.run.knowledge(KNOWLEDGE_OF[name]).join(lists).teacher_logits[RELEVANCE]
            scores = standardised(logits[:, 0], lists.queries)
            lists = lists.with_teacher({RELEVANCE: scores})
        if name == SCRAMBLED:
            lists = scrambled(lists, seed=self.recipe.seed)
        losses = {RELEVANCE: LIST_LOSSES[self.recipe.lists.list_loss](self.recipe)}
        return DistillationSetup(lists, losses, None, self.recipe.distillation.student_loss_weight)
