"""The finished run on other data from which a run's models start, and the parts they reuse."""

from __future__ import annotations

import json
import zipfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.interactions import Interactions
from tfrs_distill.errors import InputError
from tfrs_distill.files import content_sha256
from tfrs_distill.models import TwoTower
from tfrs_distill.models.warm_start import WarmStart, warm_start
from tfrs_distill.pipeline.data import RetrievalData, read_interactions
from tfrs_distill.pipeline.encoders import encoder_fingerprint
from tfrs_distill.pipeline.recipe import RetrievalRecipe
from tfrs_distill.pipeline.recipe.sections import (
    ADAPTERS,
    IDS,
    NOTHING,
    TITLES,
    TWO_TOWER,
    TransferSettings,
)
from tfrs_distill.pipeline.stage import note_of_finished
from tfrs_distill.pipeline.teacher_kinds.kind import KERAS_FILES
from tfrs_distill.serving.word_pieces import WordPieces

CHOICES, ENCODER = "choices.json", "encoder"  # of a two-tower teacher; its key for the text encoder
TEACHER_FILE, STUDENT_FILE = f"{KERAS_FILES}0.keras", "student.keras"
STAGES = ("data", "teacher", "student")  # the stages that are read of the other run
TEACHER_CLASS = "BertTwoTower"
SAME_DATA = 0.1  # share of common interactions from which the data counts as the same
BY = {TITLES: "title", IDS: "id"}


class Transfer:
    """The parts of a finished run on other data that a run's models reuse.

    The data and teacher stages of the other run are required; also its student, if both students
    read texts.

    Args:
        recipe: of the new run.
        data: of the new run.

    Raises:
        InputError: the other run is not finished, or its teacher is of another kind.
    """

    def __init__(self, recipe: RetrievalRecipe, data: RetrievalData) -> None:
        self.recipe, self.data = recipe, data
        self.settings: TransferSettings = recipe.transfer
        self.folder = Path(self.settings.run)
        self.notes = {name: note_of_finished(self._stage(name)) for name in STAGES}
        missing = [name for name in STAGES[:2] if self.notes[name] is None]
        if missing:
            raise InputError(
                f"`transfer.run` must be the folder of a finished run, such as saved_models/ml-1m. "
                f"Received: {self.folder}, whose stages/{missing[0]} is not there, not finished or "
                "changed since. Run its recipe, by `tfrs-distill run`, and give the folder that it "
                "writes."
            )
        self.teacher_folder = self._teacher_folder()

    @cached_property
    def earlier(self) -> Interactions:
        """The other run's interactions."""
        return read_interactions(self._stage("data"))

    @cached_property
    def items(self) -> list[int]:
        """For every item, its index in the other run; 0 if it is not there."""
        same = self.settings.same_items
        return shared_items(self.data.catalogue, self.earlier.catalogue, same)

    @property
    def num_shared(self) -> int:
        """The number of items that are in the other run too."""
        return int(np.count_nonzero(self.items))

    @property
    def starts_student(self) -> bool:
        """Whether the student starts from the other run's: both exist and read texts."""
        if not self.recipe.item_texts.read or self.notes["student"] is None:
            return False
        _, config = _class_and_config(self._stage("student") / STUDENT_FILE)
        items = config["query_tower"]["config"]["item_tower"]
        return bool(items["class_name"] == "DescribedItemTower")

    def check(self) -> None:
        """Check that both runs are compatible, before training.

        Raises:
            InputError: the data are the same, the texts are read by different encoders, or the
                models have different shapes.
        """
        share = same_interactions(self.data.interactions, self.earlier)
        if share >= SAME_DATA:
            raise InputError(
                f"`transfer.run` must be a run on other data: {share:.0%} of this run's "
                f"interactions are in the data of {self.folder}, so its teacher has seen test "
                "data. Give the folder of a run of another data set."
            )
        choices = json.loads((self.teacher_folder / CHOICES).read_text())
        if not choices.get(ENCODER):
            raise InputError(
                f"The teacher in {self.folder} does not record which encoder read its texts: it "
                "was tuned to its own texts, or trained by an earlier version. Train it without "
                f"`tuning`: delete {self._stage('teacher')} and run its recipe."
            )
        if choices[ENCODER] != encoder_fingerprint(self.recipe):
            raise InputError(
                f"The texts of the run in {self.folder} were read by another encoder, so its "
                "text projection cannot be used here. Received: "
                f"`encoder.name`={self.recipe.encoder.name or 'all-MiniLM-L6-v2'!r}. Give both "
                "runs the same section [encoder]."
            )
        _, theirs = _class_and_config(self.teacher_folder / TEACHER_FILE)
        named = self.recipe.teacher
        self._check_shape(
            "teacher",
            theirs,
            {
                "embedding_dim": ("teacher.embedding_dim", named.embedding_dim),
                "num_blocks": ("teacher.num_blocks", named.num_blocks),
                "num_heads": ("teacher.num_heads", named.num_heads),
                "max_history": ("data.max_history", self.recipe.data.max_history),
            },
        )
        if self.starts_student:
            _, config = _class_and_config(self._stage("student") / STUDENT_FILE)
            encoder = config["query_tower"]["config"]["encoder"]["config"]
            student = self.recipe.student
            self._check_shape(
                "student",
                {"num_heads": 0} | encoder,  # an average has none
                {
                    "embedding_dim": ("student.embedding_dim", student.embedding_dim),
                    "num_heads": ("student.num_heads", student.num_heads),
                    "max_history": ("data.max_history", self.recipe.data.max_history),
                },
            )

    def fingerprint(self, stage: str) -> list[Any]:
        """Return everything that determines what a stage of the other run transfers, as JSON."""
        notes = [self.notes["data"], self.notes[stage]]
        files = [note and note["files"] for note in notes]
        chosen: list[Any] = [self.settings.same_items]
        if stage == "teacher":
            chosen.append(self.settings.trains)
            chosen += [self.settings.adapter_rank] if self.settings.trains == ADAPTERS else []
        return [content_sha256(files), *chosen]

    def start_teacher(self, teacher: TwoTower) -> WarmStart:
        """Copy the other run's two-tower teacher into an untrained one."""
        return self._start(teacher, self.teacher_folder / TEACHER_FILE)

    def start_student(self, student: TwoTower) -> WarmStart:
        """Copy the other run's student into one that reads `words`."""
        return self._start(student, self._stage("student") / STUDENT_FILE)

    @cached_property
    def words(self) -> tuple[WordPieces, np.ndarray]:
        """The word pieces that the other run's student reads, and their vectors."""
        student = tf.keras.models.load_model(self._stage("student") / STUDENT_FILE)
        items = student.candidate_tower
        return items.word_pieces, items.text_tower.embeddings.numpy()

    def facts(self) -> dict[str, Any]:
        """For the report: the source, the models, the number of items, and a sentence of text."""
        models = ["teacher", *["student"] * self.starts_student]
        return {
            "run": self.folder.name,
            "data": self.earlier.name,
            "models": models,
            "shared_items": self.num_shared,
            "items": self.data.catalogue.num_items,
            "same_items": self.settings.same_items,
            "trains": self.settings.trains,
        }

    def line(self) -> str:
        """Return the starting point of the teacher, for the terminal."""
        trained = {ADAPTERS: ", ids and adapter trained", NOTHING: ", not trained"}
        started = f"started from {self.folder.name} with {self.shared_words()}"
        return started + trained.get(self.settings.trains, "")

    def shared_words(self) -> str:
        """Return the number of shared items, in words."""
        same, num_items = self.settings.same_items, self.data.catalogue.num_items
        if same not in BY:
            return "no shared item"
        return f"{self.num_shared:,} of {num_items:,} items matched by {BY[same]}"

    def sentences(self) -> str:
        """Return what was transferred, and how the twin is trained, for readers of the report."""
        trained = {
            ADAPTERS: "of its weights only the ids and an adapter of rank "
            f"{self.settings.adapter_rank} of the text projection were trained here",
            NOTHING: "none of its weights were trained here",
        }.get(self.settings.trains, "all its weights were fine-tuned here")
        sentences = (
            "The two-tower teacher, and that of every fold, started from the teacher of the run "
            f"{self.folder.name} (data: {self.earlier.name}), with {self.shared_words()}; "
            f"{trained}."
        )
        if self.starts_student:
            sentences += (
                " The student, and controls trained like it, started from that run's student "
                "and read its word pieces."
            )
        return f"{sentences} The twin started from new weights: it is the control without transfer."

    def _stage(self, name: str) -> Path:
        return self.folder / "stages" / name

    def _teacher_folder(self) -> Path:
        """The folder of the other run's two-tower teacher: the stage's, or a member's in it."""
        stage = self._stage("teacher")
        for folder in (stage, stage / TWO_TOWER):
            if (folder / TEACHER_FILE).is_file() and (folder / CHOICES).is_file():
                name, _ = _class_and_config(folder / TEACHER_FILE)
                if name == TEACHER_CLASS:
                    return folder
        raise InputError(
            f'`transfer.run` must be a run with a teacher "{TWO_TOWER}", alone or in an ensemble, '
            f'whose `teacher.modalities` are ["text"]. Received: {self.folder}, which has none. '
            "Give another run, or train such a teacher by its recipe."
        )

    def _check_shape(
        self, model: str, theirs: dict[str, Any], ours: dict[str, tuple[str, int]]
    ) -> None:
        for key, (setting, value) in ours.items():
            if theirs[key] != value:
                raise InputError(
                    f"A {model} must have the shape of the one it starts from. Received: "
                    f"`{setting}`={value}, but that of {self.folder} has {theirs[key]}. Set it to "
                    f"{theirs[key]}, or run the other recipe anew."
                )

    def _start(self, model: TwoTower, file: Path) -> WarmStart:
        return warm_start(model, tf.keras.models.load_model(file), self.items)


def shared_items(catalogue: Catalogue, earlier: Catalogue, same_items: str) -> list[int]:
    """For every item of a catalogue, return its index in an earlier one; 0 if it is not there.

    If several earlier items have the same title, the first is used.

    Args:
        catalogue: the catalogue.
        earlier: the earlier catalogue.
        same_items: "titles" (case-insensitive), "ids" or "none".

    Example:
    >>> films = Catalogue(("1", "2"), ("Heat (1995)", "Babe (1995)"), ("Heat", "Babe"))
    >>> more = Catalogue(("2", "9"), ("HEAT (1995)", "Alien (1979)"), ("Heat", "Alien"))
    >>> [shared_items(films, more, same) for same in ("titles", "ids", "none")]
    [[1, 0], [0, 1], [0, 0]]
    """
    if same_items not in BY:
        return [0] * catalogue.num_items

    def names(of: Catalogue) -> list[str]:
        if same_items == IDS:
            return list(of.item_ids)
        return [title.casefold() for title in of.titles]

    index_of: dict[str, int] = {}
    for index, name in enumerate(names(earlier), start=1):
        index_of.setdefault(name, index)
    return [index_of.get(name, 0) for name in names(catalogue)]


def same_interactions(data: Interactions, earlier: Interactions) -> float:
    """Return the share of interactions that other data contains: same user, item and time."""
    user_of = {user_id: user for user, user_id in enumerate(data.user_ids)}
    item_of = {item_id: item for item, item_id in enumerate(data.catalogue.item_ids, start=1)}
    users = np.array([user_of.get(user_id, -1) for user_id in earlier.user_ids])[earlier.users]
    items = np.array([item_of.get(item_id, 0) for item_id in earlier.catalogue.item_ids])
    items = items[earlier.items - 1]
    known = (users >= 0) & (items > 0)
    columns = (users[known], items[known], earlier.timestamps[known])
    there = set(zip(*(column.tolist() for column in columns)))
    ours = zip(data.users.tolist(), data.items.tolist(), data.timestamps.tolist())
    return sum(row in there for row in ours) / len(data)


def _class_and_config(file: Path) -> tuple[str, dict[str, Any]]:
    """Return a model's class and arguments from its Keras file, without building it."""
    with zipfile.ZipFile(file) as archive:
        found = json.loads(archive.read("config.json"))
    return found["class_name"], found["config"]
