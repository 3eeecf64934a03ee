"""The recipe: one frozen dataclass a section, every field with its default, meaning and rule."""

from __future__ import annotations

import dataclasses
import difflib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from tfrs_distill.errors import InputError
from tfrs_distill.recipe import toml_file
from tfrs_distill.recipe.settings import check, setting

NUMBER = {"at_least": 1}
RATE = {"above": 0, "at_most": 1}
DROPOUT = {"at_least": 0, "below": 1}
FOLDER_NAME = {
    "pattern": r"[A-Za-z0-9][A-Za-z0-9._-]*",
    "pattern_words": 'a folder name of letters, digits, ".", "-" and "_"',
}


@dataclass(frozen=True)
class DataSettings:
    """Where the interactions and the item texts come from."""

    source: str = setting(
        "movielens-100k",
        "real films, or planted data whose right answer is known",
        choices=("movielens-100k", "synthetic"),
    )
    folder: str = setting("", "a folder that holds the data; empty = fetch it")
    max_history: int = setting(32, "how many of a user's last items a model reads", at_least=2)

    def __post_init__(self) -> None:
        check(self, "data")
        if self.folder and self.source == "synthetic":
            raise InputError(
                "`data.folder` (--data-dir) cannot be given with planted data. Received: "
                f'folder={self.folder!r}, source="synthetic". Leave the folder out, or choose '
                "another `data.source`."
            )


@dataclass(frozen=True)
class TeacherSettings:
    """The large model: item text through a BERT, joined with an embedding of the item's id."""

    encoder: str = setting("", "a BERT's name or folder; empty = all-MiniLM-L6-v2")
    finetune_layers: int = setting(0, "how many of BERT's top layers train; 0 = none", at_least=0)
    finetune_steps: int = setting(300, "steps of training those layers", **NUMBER)
    embedding_dim: int = setting(64, "the width of the item and query vectors", **NUMBER)
    num_blocks: int = setting(1, "attention blocks over the history", **NUMBER)
    num_heads: int = setting(2, "attention heads a block; divides `embedding_dim`", **NUMBER)
    dropout: float = setting(0.2, "the share of activations dropped while training", **DROPOUT)
    batch_size: int = setting(32, "windows a step", **NUMBER)
    learning_rate: float = setting(1e-3, "Adam's learning rate", **RATE)
    max_epochs: int = setting(40, "passes over the training data at most", **NUMBER)
    patience: int = setting(4, "epochs without a better validation NDCG before stopping", **NUMBER)

    def __post_init__(self) -> None:
        check(self, "teacher")
        if self.embedding_dim % self.num_heads:
            raise InputError(
                "`teacher.embedding_dim` must be a multiple of `teacher.num_heads`. Received: "
                f"embedding_dim={self.embedding_dim}, num_heads={self.num_heads}."
            )


@dataclass(frozen=True)
class KnowledgeSettings:
    """What the teacher says about the training data, and how it is kept."""

    folds: int = setting(
        4, "parts of the users, each labelled by a teacher that never saw it", at_least=2
    )
    top_k: int = setting(50, "the teacher's best items kept for each position", **NUMBER)
    form: str = setting(
        "embeddings",
        "exact logits over the catalogue from embeddings, or the top-K and the rest's sum",
        choices=("embeddings", "top_k"),
    )

    def __post_init__(self) -> None:
        check(self, "knowledge")


@dataclass(frozen=True)
class StudentSettings:
    """The small model; its twin is the same."""

    embedding_dim: int = setting(16, "the width of the item and query vectors", **NUMBER)

    def __post_init__(self) -> None:
        check(self, "student")


@dataclass(frozen=True)
class TrainingSettings:
    """The budget of the student, and of its twin: the same for both."""

    batch_size: int = setting(32, "windows a step", **NUMBER)
    max_epochs: int = setting(100, "passes over the training data at most", **NUMBER)
    patience: int = setting(12, "epochs without a better validation NDCG before stopping", **NUMBER)

    def __post_init__(self) -> None:
        check(self, "training")


@dataclass(frozen=True)
class TwinSettings:
    """How the twin learns without a teacher: its own best, so that the comparison is fair."""

    learning_rate: float = setting(5e-3, "Adam's learning rate for the twin", **RATE)
    dropout: float = setting(0.3, "the share of entries dropped for the twin", **DROPOUT)

    def __post_init__(self) -> None:
        check(self, "twin")


@dataclass(frozen=True)
class DistillationSettings:
    """How the student listens to the teacher."""

    temperature: float = setting(2.0, "higher = softer targets", above=0, at_most=1000)
    student_loss_weight: float = setting(
        0.2, "the labels' share of the loss; the teacher has the rest", at_least=0, at_most=1
    )
    learning_rate: float = setting(2e-3, "Adam's learning rate for the student", **RATE)
    dropout: float = setting(0.0, "the share of entries dropped for the student", **DROPOUT)

    def __post_init__(self) -> None:
        check(self, "distillation")


@dataclass(frozen=True)
class ExportSettings:
    """What is written for serving and for devices."""

    k: int = setting(100, "items a query returns; fixed inside the exported graph", **NUMBER)
    version: int = setting(1, "the version's folder, as TF Serving wants it", **NUMBER)

    def __post_init__(self) -> None:
        check(self, "export")


@dataclass(frozen=True)
class EvaluationSettings:
    """How the models are measured."""

    k: int = setting(10, "the k of NDCG@k and the other metrics", **NUMBER)
    bootstrap_samples: int = setting(1000, "resamples of the users for an interval", at_least=100)

    def __post_init__(self) -> None:
        check(self, "evaluation")


@dataclass(frozen=True)
class Recipe:
    """A whole run. Two equal recipes make the same artefact from the same data.

    Example:
    >>> recipe = Recipe.named("movielens-100k")
    >>> recipe.student.embedding_dim, recipe.quick().name
    (16, 'ml-100k-quick')
    """

    name: str = setting("ml-100k", "the artefact's folder", **FOLDER_NAME)
    seed: int = setting(0, "every random number follows from it", at_least=0, below=2**31)
    data: DataSettings = DataSettings()
    teacher: TeacherSettings = TeacherSettings()
    knowledge: KnowledgeSettings = KnowledgeSettings()
    student: StudentSettings = StudentSettings()
    training: TrainingSettings = TrainingSettings()
    twin: TwinSettings = TwinSettings()
    distillation: DistillationSettings = DistillationSettings()
    export: ExportSettings = ExportSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    def __post_init__(self) -> None:
        check(self)
        if self.export.k < self.evaluation.k:
            raise InputError(
                "`export.k` must be at least `evaluation.k`: the exported models are measured too. "
                f"Received: export.k={self.export.k}, evaluation.k={self.evaluation.k}."
            )

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Recipe:
        """Read a recipe; what the file leaves out has its default.

        Raises:
            InputError: the file is missing, is no TOML, has an unknown key or a value out of range.
        """
        return toml_file.read(Path(path), cls)

    def to_toml(self) -> str:
        """The whole recipe as TOML, each key with its meaning beside it."""
        return toml_file.write(self)

    @classmethod
    def named(cls, name: str) -> Recipe:
        """A built-in recipe: "movielens-100k" or "synthetic".

        Raises:
            InputError: there is no such recipe.
        """
        recipes = _built_in()
        if name not in recipes:
            near = difflib.get_close_matches(name, recipes, n=1)
            hint = f' Did you mean "{near[0]}"?' if near else ""
            known = ", ".join(f'"{known}"' for known in recipes)
            raise InputError(
                f"A recipe is a TOML file or one of {known}. Received: {name!r}, which is "
                f"neither.{hint}"
            )
        return recipes[name]

    @classmethod
    def load(cls, file_or_name: str) -> Recipe:
        """A built-in recipe by its name, else the recipe of a TOML file.

        Raises:
            InputError: it is neither, or the file cannot be used.
        """
        looks_like_a_file = file_or_name.endswith(".toml") or Path(file_or_name).exists()
        if file_or_name not in _built_in() and looks_like_a_file:
            return cls.from_toml(file_or_name)
        return cls.named(file_or_name)

    def quick(self) -> Recipe:
        """The same run at small size, under a name of its own: to see it work, not to compare."""
        suffix = "" if self.name.endswith("-quick") else "-quick"
        teacher, training = self.teacher, self.training
        return replace(
            self,
            name=self.name + suffix,
            teacher=replace(
                teacher,
                max_epochs=min(teacher.max_epochs, 4),
                finetune_steps=min(teacher.finetune_steps, 20),
            ),
            knowledge=replace(self.knowledge, folds=2),
            training=replace(training, max_epochs=min(training.max_epochs, 10)),
            evaluation=replace(self.evaluation, bootstrap_samples=100),
        )

    def as_dict(self) -> dict[str, object]:
        """The recipe as plain dicts, numbers and texts."""
        return dataclasses.asdict(self)


def _built_in() -> dict[str, Recipe]:
    synthetic = Recipe(
        name="synthetic",
        data=DataSettings(source="synthetic", max_history=32),
        teacher=TeacherSettings(embedding_dim=32, max_epochs=10),
        knowledge=KnowledgeSettings(top_k=20),
        training=TrainingSettings(max_epochs=30),
    )
    return {"movielens-100k": Recipe(), "synthetic": synthetic}
