"""A run in its folder: the recipe, and the files of its finished stages."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import tfrs_distill.compress.compressed_item_tower  # noqa: F401  (registers its class for loading)
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.data.unlabelled_rows import unlabelled_rows
from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation.retrieval import ModelScorer
from tfrs_distill.knowledge import CachedTeacher
from tfrs_distill.models.two_stage_student import TwoStageStudent
from tfrs_distill.pipeline.data import RankingData, RetrievalData, load_data
from tfrs_distill.pipeline.recipe import RankingRecipe
from tfrs_distill.pipeline.stage import Result, Stages, note_of_finished
from tfrs_distill.pipeline.tasks import make_tasks
from tfrs_distill.pipeline.teacher_kinds import TeacherContext, TeacherKind, teacher_kind
from tfrs_distill.pipeline.transfer import STUDENT_FILE, Transfer
from tfrs_distill.progress import Progress
from tfrs_distill.serving.artefact.files import read_provenance
from tfrs_distill.serving.word_pieces import WordPieces
from tfrs_distill.teachers import ItemItemTeacher
from tfrs_distill.teachers.candidate_lists import RELEVANCE, CandidateLists, list_examples

CACHE = "cache"  # of the knowledge stage
TWIN, PLAIN = "twin", "plain"  # the plain student, without label smoothing
SELF_TAUGHT, SCRAMBLED = "self_taught", "scrambled"
RETRIEVAL = "retrieval"  # the stage of a first student
RETRIEVAL_FILE = "retrieval.keras"  # that student, compressed
STUDENT, COMPRESSED = "student", "compressed"
KNOWLEDGE, SELF_KNOWLEDGE = "knowledge", "self_knowledge"
UNLABELLED, LOGITS_FILE = "unlabelled", "logits.npz"
GENERATED, HISTORIES_FILE = "generated", "histories.npz"
WORDS, WORDS_FILE, PIECE_VECTORS_FILE = "words", "words.json", "vectors.npy"
LISTS, LISTS_FILE = "lists", "lists.npz"
# Of a softmax over all items, the mass outside the top-K is stored at each of these: 4 bytes per
# row and temperature, so that a student can be trained at another one without new labels.
TEMPERATURES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 8.0)
ITEM_VECTORS = "item_vectors"  # in a run's folder
TUNE, TRIALS = "tune", "trials"  # in a run's folder; in it, the stages of a search's trials


class Run:
    """One recipe's run in one folder.

    Files of stages are read when a later stage first needs them: a run of finished stages reads
    only their notes.

    Args:
        recipe: the run, as data.
        out: the folder of all runs.
        progress: receives stages, bars and results.
        home: the run's folder; None for the folder in `out` with the recipe's name.
        after_epoch: `after_epoch(number, score)` is called after every epoch of a student, numbers
            counted from 1; see `after_epoch_of`. A run with it is a trial of a search.

    Attributes:
        home: the run's folder.
        version: the folder of its artefact.
        stages: the finished stages.
        twins: the stages of the students without a teacher.
        controls: the stages of the control students.
        num_unlabelled: rows that only the teacher labels, per training row.
        num_generated: histories extended by the teacher, per training window.
    """

    def __init__(
        self,
        recipe: Any,
        out: Path,
        progress: Progress,
        *,
        home: Path | None = None,
        after_epoch: Callable[[int, float], None] | None = None,
    ) -> None:
        self.recipe, self.progress, self.after_epoch = recipe, progress, after_epoch
        self.home = out / recipe.name if home is None else home
        self.version = self.home / str(recipe.export.version)
        self.stages = Stages(
            self.home / "stages",
            recipe.seed,
            progress,
            trials=self.home / TUNE / TRIALS,
            is_trial=after_epoch is not None,
        )
        self.twins = [TWIN]
        if recipe.task == "multitask":
            self.twins += [f"twin_of_{task}" for task in recipe.labels.tasks]
        self.controls = [
            name.replace("-", "_")
            for name in recipe.training.controls
            if name != PLAIN or recipe.twin.label_smoothing
        ]
        of_rows = isinstance(recipe, RankingRecipe)
        self.num_unlabelled = recipe.knowledge.unlabelled_per_row if of_rows else 0
        self.num_generated = 0 if of_rows else recipe.knowledge.generated_per_window

    def file(self, stage: str, name: str = "") -> Path:
        """Return a file of a stage, or its folder."""
        return self.stages.folder_of(stage) / name

    def result(self, stage: str) -> Result:
        """Return the result of a finished stage."""
        return self.stages.results[stage]

    def fingerprint(self, stage: str) -> str:
        """Return the fingerprint of a stage's inputs."""
        return self.stages.fingerprints[stage]

    def student_file(self, stage: str) -> Path:
        """Return the Keras file of a stage's student."""
        return self.file(stage, STUDENT_FILE)

    def student(self, stage: str) -> Any:
        """Return a stage's trained student."""
        return tf.keras.models.load_model(self.student_file(stage))

    def retrieval_file(self, stage: str) -> Path:
        """Return the Keras file of the first stage's student for the student of a stage."""
        compressed = stage == COMPRESSED
        return self.file(stage, RETRIEVAL_FILE) if compressed else self.student_file(RETRIEVAL)

    def whole_student(self, stage: str) -> Any:
        """Return the student of a stage; in a two-stage run, together with its first stage."""
        student = self.student(stage)
        if self.recipe.task != "two-stage":
            return student
        note = note_of_finished(self.file(stage)) or {}
        return TwoStageStudent(
            tf.keras.models.load_model(self.retrieval_file(stage)),
            student,
            num_candidates=self.recipe.lists.num_candidates,
            retrieval_weight=note["result"]["retrieval_weight"],
        )

    @property
    def exported(self) -> str:
        """The stage whose student is exported."""
        return COMPRESSED if self.recipe.export.compress else STUDENT

    def after_epoch_of(self, stage: str) -> Callable[[int, float], None] | None:
        """Return the callback after each epoch; None for a first stage: no search uses it."""
        return None if stage == RETRIEVAL else self.after_epoch

    @cached_property
    def item_words(self) -> tuple[WordPieces, np.ndarray]:
        """The word pieces of the items' texts that students read, and their vectors."""
        pieces = WordPieces(**json.loads(self.file(WORDS, WORDS_FILE).read_text()))
        return pieces, np.load(self.file(WORDS, PIECE_VECTORS_FILE))

    @cached_property
    def transfer(self) -> Transfer | None:
        """The transfer from another run, if the recipe names one."""
        transfers = getattr(self.recipe, "transfer", None)
        return Transfer(self.recipe, self.data) if transfers and transfers.run else None

    @cached_property
    def data(self) -> Any:
        """`RetrievalData` or `RankingData`."""
        data: RetrievalData | RankingData = load_data(self.file("data"), self.recipe)
        return data

    @cached_property
    def tasks(self) -> list[Any]:
        """The tasks of a row student; empty for retrieval."""
        return make_tasks(self.recipe, self.data)

    @property
    def teacher_context(self) -> TeacherContext:
        """The context from which the run's teachers are created."""
        vectors = self.home / ITEM_VECTORS
        return TeacherContext(self.recipe, self.data, self.tasks, self.progress, vectors)

    @cached_property
    def teacher(self) -> TeacherKind:
        """The kind of teacher in the recipe."""
        return teacher_kind(self.teacher_context)

    @property
    def compared_stages(self) -> list[str]:
        """The stages of the students with which the student is compared."""
        return [*self.twins, *self.controls]

    def knowledge(self, stage: str = KNOWLEDGE) -> CachedTeacher:
        """Return the cross-fitted knowledge of the training examples, of teacher or twins."""
        return CachedTeacher.open(self.file(stage, CACHE))

    @property
    def kept_of_logits(self) -> dict[str, Any]:
        """How much of a window's logits is stored: arguments of `cache_teacher` and `cross_fit`."""
        return {
            "top_k": min(self.recipe.knowledge.top_k, self.data.catalogue.num_items - 1),
            "temperatures": tuple(sorted({*TEMPERATURES, self.recipe.distillation.temperature})),
        }

    def generated(self, stage: str = GENERATED) -> Windows:
        """Return the histories extended by the teacher, or the twin, with its outputs for them."""
        folder = self.file(stage) if stage == GENERATED else self.file(stage, GENERATED)
        train = self.data.splits.train
        with np.load(folder / HISTORIES_FILE) as arrays:
            columns = dict(arrays)
        weights = None if train.weights is None else (columns["labels"] > 0).astype(np.float32)
        windows = Windows(train.catalogue, **columns, candidates=train.candidates, weights=weights)
        return CachedTeacher.open(folder / CACHE).join(windows, form="top_k")

    @cached_property
    def drawn(self) -> RankingExamples:
        """Rows of items that their users have not interacted with.

        Raises:
            InputError: there are no such rows.
        """
        train, seed = self.data.splits.train, self.recipe.seed
        return unlabelled_rows(train, self.num_unlabelled, seed=seed)

    def check_exported(self, artefact: Path) -> None:
        """Raise unless an artefact belongs to the current student and data of the run's stages.

        Raises:
            InputError: the run has been continued with other settings.
        """
        provenance = read_provenance(artefact)
        data, student = (
            note_of_finished(self.stages.folder / name) or {} for name in ("data", self.exported)
        )
        held = (student.get("fingerprint"), data.get("result", {}).get("fingerprint"))
        if (provenance.get("student"), provenance.get("training_data")) != held:
            raise InputError(
                f"{artefact} was exported from another student or other data than those in "
                f"{self.stages.folder}: the run was continued with other settings, or its files "
                "were changed. Run its recipe to the end first."
            )

    def check_unlabelled(self) -> None:
        """Raise an `InputError` if the recipe needs rows without labels and there are none."""
        if self.num_unlabelled:
            _ = self.drawn

    def labelled_rows(self, stage: str = KNOWLEDGE) -> RankingExamples:
        """Return the training rows with knowledge, and those that only a teacher has labelled."""
        train = self.data.splits.train
        labelled = self.data.rows_of_teacher if stage == KNOWLEDGE else train
        logits = self.knowledge(stage).join(labelled).teacher_logits
        of_tasks = {task.name: logits[task.name] for task in self.tasks}
        rows = train.with_teacher(of_tasks)
        if not self.num_unlabelled:
            return rows
        file = self.file(UNLABELLED if stage == KNOWLEDGE else stage, LOGITS_FILE)
        with np.load(file) as arrays:
            return rows.joined(self.drawn.with_teacher(dict(arrays)))

    @cached_property
    def first_stage(self) -> Any:
        """The retrieval student of a two-stage run."""
        return self.student(RETRIEVAL)

    def first_stage_scorer(self) -> ModelScorer:
        """The retrieval student as a scorer."""
        return ModelScorer(self.first_stage, exclude_seen=self.data.catalogue.exclude_seen)

    @cached_property
    def item_item(self) -> ItemItemTeacher:
        """The item-item teacher of all training users, with the chosen settings."""
        return ItemItemTeacher(self.data.splits.train, **self.result(LISTS)["item_item"])

    @cached_property
    def lists(self) -> RankingExamples:
        """The training lists of the second stage, with its teachers' scores."""
        with np.load(self.file(LISTS, LISTS_FILE)) as arrays:
            *lists, scores = (arrays[name] for name in arrays.files)
        examples = list_examples(CandidateLists(*lists), self.data.catalogue)
        return examples.with_teacher({RELEVANCE: scores})
