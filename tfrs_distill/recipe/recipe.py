"""The recipe: a whole run as data, and the built-in ones."""

from __future__ import annotations

import dataclasses
import difflib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from tfrs_distill.errors import InputError
from tfrs_distill.recipe import toml_file
from tfrs_distill.recipe.sections import (
    FOLDER_NAME,
    CrossEncoderSettings,
    DataSettings,
    DistillationSettings,
    EncoderSettings,
    EvaluationSettings,
    ExportSettings,
    KnowledgeSettings,
    StudentSettings,
    TeacherSettings,
    TrainingSettings,
    TuningSettings,
    TwinSettings,
)
from tfrs_distill.recipe.settings import check, setting


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
    encoder: EncoderSettings = EncoderSettings()
    tuning: TuningSettings = TuningSettings()
    cross_encoder: CrossEncoderSettings = CrossEncoderSettings()
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
        tuning, cross_encoder = self.tuning, self.cross_encoder
        return replace(
            self,
            name=self.name + suffix,
            teacher=replace(teacher, max_epochs=min(teacher.max_epochs, 4)),
            tuning=replace(
                tuning,
                steps=min(tuning.steps, 10),
                pretrain_steps=min(tuning.pretrain_steps, 10),
            ),
            cross_encoder=replace(cross_encoder, steps=min(cross_encoder.steps, 10)),
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
