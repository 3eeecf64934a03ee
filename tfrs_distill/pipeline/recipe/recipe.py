"""The recipe: a whole run as data, and the built-in ones."""

from __future__ import annotations

import dataclasses
import difflib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tfrs_distill.errors import InputError
from tfrs_distill.pipeline.recipe import toml_file
from tfrs_distill.pipeline.recipe.ranking_sections import RankingSettings, WordsSettings
from tfrs_distill.pipeline.recipe.sections import (
    FOLDER_NAME,
    LABELLED,
    RANKING_KINDS,
    RANKS,
    RETRIEVAL,
    RETRIEVAL_KINDS,
    TASKS,
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
from tfrs_distill.pipeline.recipe.settings import check, check_unread, section, setting

QUICK_REVIEWS, QUICK_WORDPIECES = 1500, 48  # what a BERT reads in a minute on two cores
QUICK_LISTS, QUICK_CANDIDATES, QUICK_USERS = 100, 20, 250
QUICK_MODELS = 2  # still an average
REVIEWS = "clothing-reviews"
LABELS = {  # of a row of each data set
    "movielens-100k": ("like", "rating", "next_item"),
    REVIEWS: ("recommended", "rating"),
}
TEACHERS = {"movielens-100k": "deep-cross", REVIEWS: "bert-text"}  # of a ranking student


@dataclass(frozen=True)
class Recipe:
    """A whole run. Two equal recipes make the same artefact from the same data.

    Example:
    >>> recipe = Recipe.named("movielens-100k")
    >>> recipe.student.embedding_dim, recipe.quick().name
    (16, 'ml-100k-quick')
    """

    name: str = setting("ml-100k", "the artefact's folder", **FOLDER_NAME)
    task: str = setting(
        "retrieval",
        "find items, predict labels of a row, several with a twin each, or find and then rank",
        choices=TASKS,
    )
    seed: int = setting(0, "every random number follows from it", at_least=0, below=2**31)
    data: DataSettings = section(DataSettings())
    teacher: TeacherSettings = section(TeacherSettings())
    encoder: EncoderSettings = section(EncoderSettings())
    tuning: TuningSettings = section(TuningSettings(), tasks=RETRIEVAL)
    cross_encoder: CrossEncoderSettings = section(CrossEncoderSettings(), tasks=RETRIEVAL)
    knowledge: KnowledgeSettings = section(KnowledgeSettings())
    student: StudentSettings = section(StudentSettings())
    words: WordsSettings = section(WordsSettings(), tasks=LABELLED)
    ranking: RankingSettings = section(RankingSettings(), tasks=RANKS)
    training: TrainingSettings = section(TrainingSettings())
    twin: TwinSettings = section(TwinSettings())
    distillation: DistillationSettings = section(DistillationSettings())
    export: ExportSettings = section(ExportSettings())
    evaluation: EvaluationSettings = section(EvaluationSettings())

    def __post_init__(self) -> None:
        check(self)
        check_unread(self)
        check_fit(self)

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Recipe:
        """Read a recipe; what the file leaves out is as in the built-in recipe of its `task`.

        Raises:
            InputError: the file is missing, is no TOML, has an unknown key or a value out of range.
        """
        return toml_file.read(Path(path), _built_in_like)

    def to_toml(self) -> str:
        """All that the recipe's task reads, as TOML, each key with its meaning beside it."""
        return toml_file.write(self)

    @classmethod
    def named(cls, name: str) -> Recipe:
        """A built-in recipe.

        "movielens-100k", "synthetic", "ranking", "multitask", "two-stage" or "reviews".

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
        of_rows = self.task in ("ranking", "multitask") and self.teacher.kind == "deep-cross"
        most_of_teacher, most = (2, 4) if of_rows else (4, 10)  # epochs
        smaller: dict[str, Any] = {
            "teacher": replace(
                teacher,
                max_epochs=min(teacher.max_epochs, most_of_teacher),
                num_models=min(teacher.num_models, QUICK_MODELS),
            ),
            "knowledge": replace(self.knowledge, folds=2),
            "training": replace(training, max_epochs=min(training.max_epochs, most)),
            "evaluation": replace(self.evaluation, bootstrap_samples=100),
        }
        if self.task in RETRIEVAL:
            tuning, cross_encoder = self.tuning, self.cross_encoder
            smaller["tuning"] = replace(
                tuning,
                steps=min(tuning.steps, 10),
                pretrain_steps=min(tuning.pretrain_steps, 10),
            )
            smaller["cross_encoder"] = replace(cross_encoder, steps=min(cross_encoder.steps, 10))
        if of_rows:
            most = min(self.data.max_users or QUICK_USERS, QUICK_USERS)
            smaller["data"] = replace(self.data, max_users=most)
        if self.task == "two-stage":
            smaller["ranking"] = replace(
                self.ranking,
                num_candidates=min(self.ranking.num_candidates, QUICK_CANDIDATES),
                list_size=min(self.ranking.list_size, QUICK_CANDIDATES),
                num_lists=min(self.ranking.num_lists, 20 * QUICK_LISTS),
                num_ordered_lists=min(self.ranking.num_ordered_lists, QUICK_LISTS),
            )
            smaller["evaluation"] = replace(
                smaller["evaluation"],
                max_lists=min(self.evaluation.max_lists or QUICK_LISTS, QUICK_LISTS),
            )
        if self.teacher.kind == "bert-text":
            most = min(self.data.max_users or QUICK_REVIEWS, QUICK_REVIEWS)
            shortest = min(self.encoder.max_length or QUICK_WORDPIECES, QUICK_WORDPIECES)
            smaller["data"] = replace(self.data, max_users=most)
            smaller["encoder"] = replace(self.encoder, max_length=shortest)
        return replace(self, name=self.name + suffix, **smaller)

    def as_dict(self) -> dict[str, object]:
        """The recipe as plain dicts, numbers and texts."""
        return dataclasses.asdict(self)


def _built_in() -> dict[str, Recipe]:
    synthetic = Recipe(
        name="synthetic",
        data=DataSettings(source="synthetic", max_history=32),
        teacher=TeacherSettings(kind="two-tower", embedding_dim=32, max_epochs=10),
        knowledge=KnowledgeSettings(top_k=20),
        training=TrainingSettings(max_epochs=30),
    )
    ranking = Recipe(
        name="ranking",
        task="ranking",
        data=DataSettings(max_history=100),
        teacher=TeacherSettings(
            kind="deep-cross",
            num_models=4,
            embedding_dim=16,
            hidden_dim=64,
            dropout=0.4,
            batch_size=512,
            learning_rate=2e-3,
        ),
        knowledge=KnowledgeSettings(by="row"),
        ranking=RankingSettings(unlabelled_per_row=1),
        training=TrainingSettings(batch_size=512, max_epochs=60, patience=6),
        twin=TwinSettings(learning_rate=2e-3),
        distillation=DistillationSettings(student_loss_weight=0.5),
    )
    multitask = replace(
        ranking,
        name="multitask",
        task="multitask",
        ranking=RankingSettings(tasks=("like", "rating", "next_item"), balance="uncertainty"),
    )
    reviews = Recipe(
        name="reviews",
        task="ranking",
        data=DataSettings(source="clothing-reviews"),
        teacher=TeacherSettings(kind="bert-text", privileged=(), learning_rate=5e-5, max_epochs=1),
        encoder=EncoderSettings(max_length=96),
        knowledge=KnowledgeSettings(folds=2, by="row"),
        student=StudentSettings(embedding_dim=8),
        ranking=RankingSettings(tasks=("recommended", "rating")),
        training=TrainingSettings(batch_size=64, max_epochs=40, patience=6),
        distillation=DistillationSettings(student_loss_weight=0.5, learning_rate=5e-3),
    )
    return {
        "movielens-100k": Recipe(),
        "synthetic": synthetic,
        "ranking": ranking,
        "multitask": multitask,
        "two-stage": Recipe(
            name="two-stage",
            task="two-stage",
            teacher=TeacherSettings(kind="two-tower"),
            knowledge=KnowledgeSettings(top_k=50),
        ),
        "reviews": reviews,
    }


def _built_in_like(task: object, source: object) -> Recipe:
    """The built-in recipe that a file of this `task` and `data.source` starts from."""
    recipes = _built_in()
    if task in LABELLED and source == "clothing-reviews":
        return replace(recipes["reviews"], task=str(task))
    return recipes["movielens-100k" if task not in RANKS else str(task)]


def check_fit(recipe: Recipe) -> None:
    """Refuse parts that do not go together, before work is wasted.

    Raises:
        InputError: says which, and what to choose.
    """
    task, kind, source = recipe.task, recipe.teacher.kind, recipe.data.source
    kinds = RETRIEVAL_KINDS if task in RETRIEVAL else RANKING_KINDS
    if kind not in kinds:
        raise InputError(
            f'`teacher.kind` of a recipe with `task` "{task}" must be one of '
            f"{_listed(kinds)}. Received: {kind!r}."
        )
    sources = ("movielens-100k", "synthetic") if task in RETRIEVAL else tuple(LABELS)
    if source not in sources:
        raise InputError(
            f'`data.source` of a recipe with `task` "{task}" must be one of {_listed(sources)}. '
            f"Received: {source!r}."
        )
    if task in LABELLED:
        _check_labels(recipe)
    elif recipe.export.k < recipe.evaluation.k:
        raise InputError(
            "`export.k` must be at least `evaluation.k`: the exported models are measured too. "
            f"Received: export.k={recipe.export.k}, evaluation.k={recipe.evaluation.k}."
        )
    if task == "two-stage":
        _check_two_stages(recipe)


def _check_labels(recipe: Recipe) -> None:
    source, tasks = recipe.data.source, recipe.ranking.tasks
    foreign = [name for name in tasks if name not in LABELS[source]]
    if foreign:
        raise InputError(
            f"`ranking.tasks` of {source} are {_listed(LABELS[source])}. Received: "
            f"{_listed(foreign)}."
        )
    if recipe.task == "multitask" and len(tasks) < 2:
        raise InputError(
            '`ranking.tasks` must name at least two with `task` "multitask"; one alone is '
            f'`task` "ranking". Received: {_listed(tasks)}.'
        )
    if recipe.teacher.kind != TEACHERS[source]:
        raise InputError(
            f'`teacher.kind` must be "{TEACHERS[source]}" for {source}. Received: '
            f'"{recipe.teacher.kind}".'
        )
    if source != REVIEWS and recipe.words != type(recipe.words)():
        raise InputError(
            f"`words` is about {REVIEWS}: the rows of other data have no text. Received: "
            f'`data.source` "{source}".'
        )
    if recipe.ranking.unlabelled_per_row and (source == REVIEWS or "next_item" in tasks):
        raise InputError(
            "`ranking.unlabelled_per_row` puts other items into rows, but a review is of its own "
            'item and the label of "next_item" is the row\'s item. Received: '
            f"unlabelled_per_row={recipe.ranking.unlabelled_per_row} with `data.source` "
            f'"{source}" and `ranking.tasks` {_listed(tasks)}. Set it to 0.'
        )
    if source == REVIEWS and recipe.teacher.privileged:
        raise InputError(
            "`teacher.privileged` is read by the kind deep-cross only. Received: "
            f'{_listed(recipe.teacher.privileged)} with kind "bert-text". Set it to [].'
        )


def _check_two_stages(recipe: Recipe) -> None:
    found, k = recipe.ranking.num_candidates, recipe.evaluation.k
    if found < max(recipe.ranking.list_size, k) or found > recipe.export.k:
        raise InputError(
            "`ranking.num_candidates` must be at least `ranking.list_size` and `evaluation.k`, "
            f"and at most `export.k`. Received: num_candidates={found}, "
            f"list_size={recipe.ranking.list_size}, evaluation.k={k}, export.k={recipe.export.k}."
        )

    lists, ordered = recipe.ranking.num_lists, recipe.ranking.num_ordered_lists
    if ordered > lists:
        raise InputError(
            "`ranking.num_ordered_lists` must be at most `ranking.num_lists`. Received: "
            f"num_ordered_lists={ordered}, num_lists={lists}."
        )


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
