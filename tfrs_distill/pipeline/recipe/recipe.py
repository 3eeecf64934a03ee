"""The recipe: a whole run as data, one class per task; and the built-in recipes."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from tfrs_distill.errors import InputError
from tfrs_distill.files import name_without_endings
from tfrs_distill.pipeline.recipe import toml_file
from tfrs_distill.pipeline.recipe.sections import (
    ATTRIBUTES,
    BOOKS,
    COLD_ITEMS,
    COLUMNS_OF_TABLES,
    DATA_SETS,
    FILMS,
    FILMS_1M,
    LABELS,
    NO_ITEMS,
    PLANTED,
    RANDOM,
    REVIEWS,
    ROLES_OF_SEVERAL,
    TABLES,
    TEXT,
    TWO_TOWER,
    CrossEncoderSettings,
    DataSettings,
    DistillationSettings,
    EncoderSettings,
    EvaluationSettings,
    ExportSettings,
    ItemTextsSettings,
    KnowledgeSettings,
    LabelsSettings,
    ListsSettings,
    RankingDataSettings,
    RankingKnowledgeSettings,
    RankingStudentSettings,
    RankingTeacherSettings,
    RetrievalDistillationSettings,
    RetrievalExportSettings,
    RetrievalStudentSettings,
    RetrievalTwinSettings,
    StudentSettings,
    TeacherSettings,
    TrainingSettings,
    TransferSettings,
    TuningSettings,
    TwinSettings,
    TwoStageEvaluationSettings,
    WordsSettings,
)
from tfrs_distill.pipeline.recipe.settings import check, setting

QUICK_REVIEWS, QUICK_WORDPIECES = 1500, 48  # a BERT reads these in a minute on two cores
QUICK_BOOK_WORDPIECES = 16  # most of a title and an author
QUICK_LISTS, QUICK_CANDIDATES, QUICK_USERS = 100, 20, 250
QUICK_MODELS = 2  # still an average
QUICK_HISTORIES = 1000  # users of a retrieval run: all of MovieLens-100K's
QUICK_HISTORIES_1M = 500  # as many interactions, and more items; also of Book-Crossing
ROWS_OF = {"deep-cross": (FILMS, TABLES), "bert-text": (REVIEWS,)}  # whose rows a kind can read
TASK = "retrieval, ranking, ranking beside single-task twins, or retrieval and then ranking"
QUICK = "-quick"
IDS_ALONE = ItemTextsSettings(read=False)
FOLDER_NAME: dict[str, Any] = {
    "pattern": r"[A-Za-z0-9][A-Za-z0-9._-]*",
    "pattern_words": 'a folder name of letters, digits, ".", "-" and "_"',
}


@dataclass(frozen=True)
class Recipe:
    """A whole run. Two equal recipes produce the same artefact from the same data.

    Each task has its own class, with only the sections and settings that it reads; this base class
    has the common methods.

    Example:
    >>> recipe = Recipe.named("movielens-100k")
    >>> recipe.student.embedding_dim, recipe.quick().name
    (32, 'ml-100k-quick')
    """

    read_by_teacher: ClassVar[tuple[str, ...]]  # the sections that determine the teacher

    name: str = setting(DATA_SETS[FILMS], "the name of the run's folder", **FOLDER_NAME)
    task: str = setting("retrieval", TASK)
    seed: int = setting(0, "random seed", at_least=0, below=2**31)

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Any:
        """Read a recipe; missing settings are as in the built-in recipe of its `task`.

        Raises:
            InputError: the file is missing or not TOML, has an unknown key or an invalid value.
        """
        return toml_file.read(Path(path), _built_in_like)

    def to_toml(self) -> str:
        """The recipe as TOML, each key with its meaning as a comment."""
        return toml_file.write(self)

    @classmethod
    def named(cls, name: str) -> Any:
        """A built-in recipe.

        "movielens-100k", "movielens-1m", "book-crossing", "cold-items", "synthetic", "ranking",
        "multitask", "two-stage" or "reviews".

        Raises:
            InputError: there is no such recipe.
        """
        recipes = _built_in()
        if name not in recipes:
            near = difflib.get_close_matches(name, recipes, n=1)
            hint = f' Did you mean "{near[0]}"?' if near else ""
            raise InputError(
                f"A recipe is a TOML file or one of {_listed(recipes)}. Received: {name!r}, which "
                f"is neither.{hint}"
            )
        return recipes[name]

    @classmethod
    def load(cls, file_or_name: str) -> Any:
        """A built-in recipe by its name, or the recipe of a TOML file.

        Raises:
            InputError: it is neither, or the file is invalid.
        """
        looks_like_a_file = file_or_name.endswith(".toml") or Path(file_or_name).exists()
        if file_or_name not in _built_in() and looks_like_a_file:
            return cls.from_toml(file_or_name)
        return cls.named(file_or_name)

    def quick(self) -> Any:
        """The same run at small size, under another name: for a trial, not for comparisons."""
        return replace(self, name=self.name.removesuffix(QUICK) + QUICK, **self._smaller())

    def of_folder(self, folder: str) -> Any:
        """The same run with the data in a folder.

        A recipe that is named after a data set is renamed after the folder's data set, so that the
        name is never wrong.

        Raises:
            InputError: a name is needed, and `read_folder` cannot read the folder.
        """
        this: Any = self
        name = self.name
        if name.removesuffix(QUICK) in DATA_SETS.values():
            # `tfrs_distill.data` imports TensorFlow, which no other recipe needs.
            from tfrs_distill.data.readers import data_set_name

            name = _folder_name(data_set_name(folder)) + (QUICK if name.endswith(QUICK) else "")
        return replace(this, name=name, data=replace(this.data, folder=folder))

    def with_dislikes(self, below: float) -> Any:
        """The same run with ratings below a number as dislikes; unchanged for 0.

        Raises:
            InputError: the run predicts ratings, or drops the low ones.
        """
        this: Any = self
        if not below:
            return this
        if isinstance(self, RankingRecipe):
            raise InputError(
                "--disliked-below cannot be used with a model that predicts ratings, because it "
                f'also learns from low ratings. Received: {below:g} with `task` "{self.task}". '
                "Leave it out, and set in `data.liked_from` which ratings are likes."
            )
        return replace(this, data=replace(this.data, disliked_below=below))

    def of_tables(
        self,
        interactions: Sequence[str],
        items: Sequence[str] = (),
        *,
        users: Sequence[str] = (),
        columns: Mapping[str, str | Sequence[str]] | None = None,
        min_rating: float = 0.0,
        weigh_by_rating: bool = False,
    ) -> Any:
        """The same run with the data in tables, as `td.data.read_table` reads them.

        A recipe that is named after a data set is renamed after the tables, and a built-in recipe
        gets their name as a prefix, so that the name is never wrong. Without a table of items there
        is no text: teacher and student then use item ids alone. If attribute columns are given, a
        retrieval teacher reads them.

        Args:
            interactions: files, or a folder of files.
            items: the same for the items.
            users: the same for the users, whose groups are compared.
            columns: by role, as for `read_table`; also `attribute` of the items and `group` of the
                users.
            min_rating: interactions with a lower rating are dropped; 0 = none are.
            weigh_by_rating: as for `read_table`.

        Raises:
            InputError: a column has an unknown role or no table, or ratings are dropped or used as
                weights in a run that predicts ratings.
        """
        this: Any = self
        named: dict[str, Any] = {}
        for role, column in (columns or {}).items():
            if role not in COLUMNS_OF_TABLES:
                raise InputError(
                    f"A column can be {_listed(COLUMNS_OF_TABLES)}. Received: {role!r}."
                )
            single = role in ROLES_OF_SEVERAL and isinstance(column, str)
            named[COLUMNS_OF_TABLES[role]] = (column,) if single else column
        if isinstance(self, RankingRecipe):
            if min_rating or weigh_by_rating:
                raise InputError(
                    "--min-rating and --weigh-by-rating cannot be used with a model that predicts "
                    "ratings, because it also learns from low ratings. Received: at least one of "
                    f'them with `task` "{self.task}". Leave them out, and set in '
                    "`data.liked_from` which ratings are likes."
                )
            if users or "group" in (columns or {}):
                raise InputError(
                    "Groups of users (--users, --column group=...) are available in retrieval "
                    f'recipes. Received: a recipe whose `task` is "{self.task}". Leave them out.'
                )
        else:
            named |= {
                "users": tuple(users),
                "min_rating": min_rating,
                "weigh_by_rating": weigh_by_rating,
            }
        data = replace(
            this.data,
            source=TABLES,
            folder="",
            interactions=tuple(interactions),
            items=tuple(items),
            **named,
        )
        changed: dict[str, Any] = {"data": data}
        if self.name.removesuffix(QUICK) in (*DATA_SETS.values(), *_built_in()):
            changed["name"] = _name_of_tables(self.name, interactions[0])
        if isinstance(self, RetrievalRecipe):
            there = {TEXT: bool(items), ATTRIBUTES: bool(data.attribute_columns)}
            read = [
                name for name in (*this.teacher.modalities, ATTRIBUTES) if there.get(name, True)
            ]
            changed["teacher"] = replace(this.teacher, modalities=tuple(dict.fromkeys(read)))
            if not items and data.split != COLD_ITEMS:
                changed["item_texts"] = replace(this.item_texts, read=False)
        return replace(this, **changed)

    def as_dict(self) -> dict[str, object]:
        """The recipe as plain dicts, numbers and strings."""
        return dataclasses.asdict(self)

    def _smaller(self) -> dict[str, Any]:
        """The sections of `quick`."""
        this: Any = self
        return {
            "teacher": _at_most(this.teacher, max_epochs=4),
            "knowledge": replace(this.knowledge, folds=2),
            "training": _at_most(this.training, max_epochs=10),
            "evaluation": replace(this.evaluation, bootstrap_samples=100),
        }


@dataclass(frozen=True)
class RetrievalRecipe(Recipe):
    """A student that retrieves items from the whole catalogue."""

    read_by_teacher: ClassVar[tuple[str, ...]] = ("teacher", "tuning", "cross_encoder")

    task: str = setting("retrieval", TASK, choices=("retrieval",))
    data: DataSettings = DataSettings()
    teacher: TeacherSettings = TeacherSettings()
    encoder: EncoderSettings = EncoderSettings()
    tuning: TuningSettings = TuningSettings()
    transfer: TransferSettings = TransferSettings()
    cross_encoder: CrossEncoderSettings = CrossEncoderSettings()
    knowledge: KnowledgeSettings = KnowledgeSettings()
    student: StudentSettings = RetrievalStudentSettings()
    item_texts: ItemTextsSettings = ItemTextsSettings()
    training: TrainingSettings = TrainingSettings()
    twin: TwinSettings = RetrievalTwinSettings()
    distillation: DistillationSettings = RetrievalDistillationSettings()
    export: ExportSettings = RetrievalExportSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data.interactions and not self.data.items and TEXT in self.teacher.modalities:
            raise InputError(
                "Tables without `data.items` have no text for a teacher to read. Give the items' "
                "table (--items), or set `teacher.modalities` to []."
            )
        if self.data.attribute_columns and ATTRIBUTES not in self.teacher.modalities:
            raise InputError(
                "`data.attribute_columns` are read by a two-tower teacher whose "
                f'`teacher.modalities` have "{ATTRIBUTES}". Received: '
                f"{list(self.data.attribute_columns)} with modalities "
                f"{list(self.teacher.modalities)}."
            )
        if self.item_texts.read and self.data.interactions and not self.data.items:
            raise InputError(
                "Tables without `data.items` have no text for the student to read. Give the items' "
                "table (--items), or set `item_texts.read` to false."
            )
        if self.knowledge.generated_per_window and "array" in self.teacher.kinds:
            raise InputError(
                "A teacher of kind array has outputs for the histories of its array only, so it "
                "cannot generate histories. Received: knowledge.generated_per_window="
                f"{self.knowledge.generated_per_window}. Set it to 0."
            )
        if self.data.split == COLD_ITEMS:
            self._check_cold_items()
        if self.transfer != TransferSettings():
            self._check_transfer()
        if getattr(self.twin, "exclude_seen", False) and not self.data.exclude_seen:
            raise InputError(
                "`twin.exclude_seen` excludes the items of the history from the loss, but with "
                "`data.exclude_seen` false they are recommended. Received: twin.exclude_seen=true. "
                "Set it to false."
            )
        if isinstance(self.export, RetrievalExportSettings) and self.export.k < self.evaluation.k:
            raise InputError(
                "`export.k` must be at least `evaluation.k`: exported models are evaluated too. "
                f"Received: export.k={self.export.k}, evaluation.k={self.evaluation.k}."
            )

    def _check_cold_items(self) -> None:
        """Check that teacher and student read texts, as cold-start items require."""
        if self.teacher.kind != "two-tower" or TEXT not in self.teacher.modalities:
            raise InputError(
                f'`data.split` "{COLD_ITEMS}" needs a teacher that reads the item texts: '
                f'`teacher.kind` "two-tower" with "{TEXT}" among its modalities. Received: '
                f'kind="{self.teacher.kind}", modalities={list(self.teacher.modalities)}.'
            )
        reads_top_k = self.knowledge.form == "top_k" or self.knowledge.generated_per_window
        if "scrambled" in self.training.controls or reads_top_k:
            raise InputError(
                f'With `data.split` "{COLD_ITEMS}" the cold items have a separate softmax, for '
                'which the top-K of all items has no values. Leave "scrambled" out of '
                '`training.controls`, set `knowledge.form` to "embeddings" and '
                "`knowledge.generated_per_window` to 0."
            )
        if not self.item_texts.read:
            raise InputError(
                f'`data.split` "{COLD_ITEMS}" evaluates cold-start items, which a student can rank '
                "by their texts only. Received: item_texts.read=false. Set it to true."
            )
        if self.export.compress:
            raise InputError(
                f'With `data.split` "{COLD_ITEMS}" a student is chosen by its text tower, which '
                "compression does not train. Received: export.compress="
                f"{list(self.export.compress)}. Leave it empty."
            )

    def _check_transfer(self) -> None:
        """Check that the teacher reads texts with a frozen encoder, as transfer requires."""
        teacher = self.teacher
        if not self.transfer.run:
            raise InputError(
                "`transfer.same_items`, `transfer.trains` and `transfer.adapter_rank` need another "
                "run whose models initialise this run's. Give its folder as `transfer.run`."
            )
        if TWO_TOWER not in teacher.kinds or teacher.modalities != (TEXT,):
            raise InputError(
                f'`transfer.run` needs a teacher "{TWO_TOWER}", alone or in an ensemble, whose '
                f'`teacher.modalities` are ["{TEXT}"]: other kinds have nothing to transfer to '
                f"other items. Received: the kinds {_listed(teacher.kinds)}, modalities "
                f"{list(teacher.modalities)}. Change the teacher, or leave `transfer.run` empty."
            )
        if self.tuning.method != "none" or self.tuning.pretrain_steps:
            raise InputError(
                "`transfer.run` needs the same text vectors in both runs, so the BERT cannot be "
                f'tuned. Received: tuning.method="{self.tuning.method}", '
                f'tuning.pretrain_steps={self.tuning.pretrain_steps}. Set them to "none" and 0, '
                "or leave `transfer.run` empty."
            )
        if self.data.split == COLD_ITEMS and self.transfer.same_items != NO_ITEMS:
            raise InputError(
                f'With `data.split` "{COLD_ITEMS}" no model may be trained on the cold items, but '
                "the run in `transfer.run` was trained on the items that it shares. Received: "
                f'transfer.same_items="{self.transfer.same_items}". Set it to "{NO_ITEMS}".'
            )

    def _smaller(self) -> dict[str, Any]:
        large = self.data.source in (FILMS_1M, BOOKS)
        most = QUICK_HISTORIES_1M if large else QUICK_HISTORIES
        most = min(self.data.max_users or most, most)
        encoder = self.encoder
        if self.data.source == BOOKS:  # all texts are read, for any number of users
            shortest = min(encoder.max_length or QUICK_BOOK_WORDPIECES, QUICK_BOOK_WORDPIECES)
            encoder = replace(encoder, max_length=shortest)
        return super()._smaller() | {
            "encoder": encoder,
            "tuning": _at_most(self.tuning, steps=10, pretrain_steps=10),
            "cross_encoder": _at_most(self.cross_encoder, steps=10),
            "data": replace(self.data, max_users=most),
        }


@dataclass(frozen=True)
class TwoStageRecipe(RetrievalRecipe):
    """A student that retrieves candidates, and one that ranks them."""

    task: str = setting("two-stage", TASK, choices=("two-stage",))
    student: RankingStudentSettings = RankingStudentSettings()
    twin: TwinSettings = TwinSettings()
    distillation: DistillationSettings = DistillationSettings()
    lists: ListsSettings = ListsSettings()
    item_texts: ItemTextsSettings = IDS_ALONE
    export: ExportSettings = ExportSettings()
    evaluation: TwoStageEvaluationSettings = TwoStageEvaluationSettings()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data.user_attributes:
            raise InputError(
                "`data.user_attributes` are read by one-stage students only. Received: "
                f'{list(self.data.user_attributes)} with `task` "two-stage". Leave them out.'
            )
        if self.data.split == RANDOM:
            raise InputError(
                f'`data.split` "{RANDOM}" needs a one-stage student, as a second stage reads the '
                'order of the history. Received: `task` "two-stage". Choose another split or task.'
            )
        for name, none in (("weigh_by_rating", "false"), ("disliked_below", "0")):
            value = getattr(self.data, name)
            if value:
                raise InputError(
                    f"`data.{name}` applies to a loss of single labels, but a second stage learns "
                    f"the order of lists. Received: {str(value).lower()} with `task` "
                    f'"two-stage". Set it to {none}, or drop low ratings by `data.min_rating`.'
                )
        if self.lists.num_candidates < self.evaluation.k:
            raise InputError(
                "`lists.num_candidates` must be at least `evaluation.k`. Received: "
                f"num_candidates={self.lists.num_candidates}, evaluation.k={self.evaluation.k}."
            )

    def _check_transfer(self) -> None:
        """Reject a setting that only one-stage runs support."""
        raise InputError(
            "`transfer` is available for one-stage runs only, because a second stage is trained on "
            f'its own candidate lists. Received: transfer.run="{self.transfer.run}" with `task` '
            '"two-stage". Leave it empty.'
        )

    def _check_cold_items(self) -> None:
        """Reject a split that only one-stage students support."""
        raise InputError(
            f'`data.split` "{COLD_ITEMS}" needs a one-stage student: a second stage uses item ids '
            'alone. Received: `task` "two-stage". Choose another split or task.'
        )

    def _smaller(self) -> dict[str, Any]:
        smaller, most = super()._smaller(), self.evaluation.max_lists or QUICK_LISTS
        return smaller | {
            "lists": _at_most(
                self.lists,
                num_candidates=QUICK_CANDIDATES,
                list_size=QUICK_CANDIDATES,
                num_lists=20 * QUICK_LISTS,
                num_ordered_lists=QUICK_LISTS,
            ),
            "evaluation": replace(smaller["evaluation"], max_lists=min(most, QUICK_LISTS)),
        }


@dataclass(frozen=True)
class RankingRecipe(Recipe):
    """A student that predicts labels of rows of a user and an item."""

    read_by_teacher: ClassVar[tuple[str, ...]] = ("teacher", "labels")

    task: str = setting("ranking", TASK, choices=("ranking",))
    data: RankingDataSettings = RankingDataSettings()
    teacher: RankingTeacherSettings = RankingTeacherSettings()
    encoder: EncoderSettings = EncoderSettings()
    knowledge: RankingKnowledgeSettings = RankingKnowledgeSettings()
    student: RankingStudentSettings = RankingStudentSettings()
    words: WordsSettings = WordsSettings()
    labels: LabelsSettings = LabelsSettings()
    training: TrainingSettings = TrainingSettings()
    twin: TwinSettings = TwinSettings()
    distillation: DistillationSettings = DistillationSettings()
    export: ExportSettings = ExportSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    def __post_init__(self) -> None:
        super().__post_init__()
        source, tasks = self.data.source, self.labels.tasks
        foreign = [name for name in tasks if name not in LABELS[source]]
        if foreign:
            raise InputError(
                f"`labels.tasks` of {source} are {_listed(LABELS[source])}. Received: "
                f"{_listed(foreign)}."
            )
        for kind in self.teacher.kinds:
            if source not in ROWS_OF.get(kind, (source,)):
                raise InputError(
                    f"A teacher of the kind {kind} reads rows of "
                    f"{' and '.join(ROWS_OF[kind])} only. "
                    f'Received: `data.source` "{source}". Choose another `teacher.kind`.'
                )
        if self.teacher.privileged and self.teacher.kinds == ("bert-text",):
            raise InputError(
                "`teacher.privileged` is read by the kind deep-cross only. Received: "
                f'{_listed(self.teacher.privileged)} with kind "bert-text". Set it to [].'
            )
        if "text" in self.teacher.privileged and self.data.interactions and not self.data.items:
            raise InputError(
                "Tables without `data.items` have no text for a teacher to read. Give the items' "
                'table (--items), or leave "text" out of `teacher.privileged`.'
            )
        if source != REVIEWS and self.words != WordsSettings():
            raise InputError(
                f"`words` applies to {REVIEWS}: the rows of other data have no text. Received: "
                f'`data.source` "{source}". Leave the section out.'
            )
        number = self.knowledge.unlabelled_per_row
        if number and (source == REVIEWS or "next_item" in tasks):
            raise InputError(
                "`knowledge.unlabelled_per_row` replaces the items of rows, but a review belongs "
                'to its item and the label of "next_item" is the row\'s item. Received: '
                f'unlabelled_per_row={number} with `data.source` "{source}" and `labels.tasks` '
                f"{_listed(tasks)}. Set it to 0."
            )

    def _smaller(self) -> dict[str, Any]:
        smaller = super()._smaller()
        smaller["teacher"] = _at_most(smaller["teacher"], num_models=QUICK_MODELS)
        if self.data.source == REVIEWS:
            shortest = min(self.encoder.max_length or QUICK_WORDPIECES, QUICK_WORDPIECES)
            smaller["encoder"] = replace(self.encoder, max_length=shortest)
        else:
            smaller["teacher"] = _at_most(smaller["teacher"], max_epochs=2)
            smaller["training"] = _at_most(self.training, max_epochs=4)
        most = QUICK_REVIEWS if self.data.source == REVIEWS else QUICK_USERS
        most = min(self.data.max_users or most, most)
        return smaller | {"data": replace(self.data, max_users=most)}


@dataclass(frozen=True)
class MultitaskRecipe(RankingRecipe):
    """A student of several labels, compared with a twin for each label alone."""

    task: str = setting("multitask", TASK, choices=("multitask",))

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.labels.tasks) < 2:
            raise InputError(
                '`labels.tasks` must name at least two tasks with `task` "multitask"; for one, use '
                f'`task` "ranking". Received: {_listed(self.labels.tasks)}.'
            )


def _folder_name(name: str) -> str:
    """A name with only the characters that a folder name may have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip("._-") or "data"


def _name_of_tables(name: str, table: str) -> str:
    """A built-in recipe's name with the table's in place of a data set's, or before the task.

    Example:
    >>> _name_of_tables("ml-100k-quick", "my shop.csv"), _name_of_tables("ranking", "shop.csv")
    ('my-shop-quick', 'shop-ranking')
    """
    task = name.removesuffix(QUICK)
    of_task = "" if task in DATA_SETS.values() else f"-{task}"
    quick = QUICK if name.endswith(QUICK) else ""
    return _folder_name(name_without_endings(table)) + of_task + quick


def _built_in() -> dict[str, Recipe]:
    films: dict[str, Any] = {
        "teacher": RankingTeacherSettings(
            num_models=4,
            embedding_dim=16,
            hidden_dim=64,
            dropout=0.4,
            batch_size=512,
            learning_rate=2e-3,
        ),
        "training": TrainingSettings(batch_size=512, max_epochs=60, patience=6),
        "twin": TwinSettings(learning_rate=2e-3),
        "distillation": DistillationSettings(student_loss_weight=0.5),
    }
    return {
        "movielens-100k": RetrievalRecipe(),
        "movielens-1m": RetrievalRecipe(
            name=DATA_SETS[FILMS_1M],
            data=DataSettings(source=FILMS_1M),
            teacher=TeacherSettings(dropout=0.1, learning_rate=3e-3, max_epochs=10, patience=3),
            knowledge=KnowledgeSettings(folds=2),
            student=RetrievalStudentSettings(embedding_dim=48, num_heads=2),
            item_texts=IDS_ALONE,
            training=TrainingSettings(max_epochs=12, patience=3),
            twin=RetrievalTwinSettings(dropout=0.2, label_smoothing=0.1),
            distillation=RetrievalDistillationSettings(dropout=0.1, label_smoothing=0.1),
        ),
        "book-crossing": RetrievalRecipe(
            name=DATA_SETS[BOOKS],
            data=DataSettings(source=BOOKS, split=RANDOM, max_users=4000),
            teacher=TeacherSettings(kind="two-tower", dropout=0.1, max_epochs=4, patience=2),
            knowledge=KnowledgeSettings(folds=2),
            item_texts=IDS_ALONE,
            training=TrainingSettings(max_epochs=6, patience=2, controls=()),
            twin=RetrievalTwinSettings(dropout=0.2, label_smoothing=0.5),
            distillation=RetrievalDistillationSettings(dropout=0.1, label_smoothing=0.5),
        ),
        "cold-items": RetrievalRecipe(
            name="cold-items",
            data=DataSettings(split=COLD_ITEMS),
            teacher=TeacherSettings(kind="two-tower", id_dropout=0.2, max_epochs=20),
            knowledge=KnowledgeSettings(folds=4, form="embeddings"),
            student=RetrievalStudentSettings(embedding_dim=16),
            item_texts=ItemTextsSettings(num_common=6000, piece_dim=32, id_dropout=0.5),
            training=TrainingSettings(max_epochs=30, patience=10, controls=("plain",)),
            twin=RetrievalTwinSettings(learning_rate=2e-3, dropout=0.1, label_smoothing=0.5),
            distillation=RetrievalDistillationSettings(
                learning_rate=2e-3, dropout=0.1, label_smoothing=0.5
            ),
            export=RetrievalExportSettings(k=10_000),  # all items, as only the cold ones count
        ),
        "synthetic": RetrievalRecipe(
            name="synthetic",
            data=DataSettings(source=PLANTED, max_history=32),
            item_texts=IDS_ALONE,
            teacher=TeacherSettings(kind="two-tower", embedding_dim=32, max_epochs=10),
            knowledge=KnowledgeSettings(folds=4, top_k=20),
            training=TrainingSettings(max_epochs=30),
        ),
        "ranking": RankingRecipe(
            name="ranking", knowledge=RankingKnowledgeSettings(unlabelled_per_row=1), **films
        ),
        "multitask": MultitaskRecipe(
            name="multitask",
            labels=LabelsSettings(tasks=("like", "rating", "next_item"), balance="uncertainty"),
            **films,
        ),
        "two-stage": TwoStageRecipe(
            name="two-stage",
            teacher=TeacherSettings(kind="two-tower"),
            knowledge=KnowledgeSettings(folds=4, top_k=50),
        ),
        "reviews": RankingRecipe(name="reviews", **_of_reviews()),
    }


def _of_reviews() -> dict[str, Any]:
    return {
        "data": RankingDataSettings(source=REVIEWS),
        "teacher": RankingTeacherSettings(
            kind="bert-text", privileged=(), learning_rate=5e-5, max_epochs=1
        ),
        "encoder": EncoderSettings(max_length=96),
        "knowledge": RankingKnowledgeSettings(folds=2),
        "student": RankingStudentSettings(embedding_dim=8),
        "labels": LabelsSettings(tasks=("recommended", "rating")),
        "training": TrainingSettings(batch_size=64, max_epochs=40, patience=6),
        "distillation": DistillationSettings(student_loss_weight=0.5, learning_rate=5e-3),
    }


def _built_in_like(task: object, data: dict[str, Any]) -> Recipe:
    """The built-in recipe with the defaults for this `task` and this section [data]."""
    recipes = _built_in()
    by_task: dict[object, Recipe] = {
        "retrieval": recipes["movielens-100k"],
        **{name: recipes[name] for name in ("ranking", "multitask", "two-stage")},
    }
    if task is None:
        task = "retrieval"
    if not isinstance(task, str) or task not in by_task:
        raise InputError(f"`task` must be one of {_listed(by_task)}. Received: {task!r}.")
    source, tables = data.get("source"), data.get("interactions")
    if data.get("split") == COLD_ITEMS and task == "retrieval":
        by_task[task] = recipes["cold-items"]
    if tables and isinstance(tables, list):
        recipe = replace(by_task[task], name=_name_of_tables(by_task[task].name, str(tables[0])))
        if isinstance(recipe, RetrievalRecipe) and not data.get("items"):
            recipe = replace(recipe, item_texts=replace(recipe.item_texts, read=False))
        return recipe
    if source == REVIEWS and isinstance(by_task[task], RankingRecipe):
        several = MultitaskRecipe(name="reviews-multitask", **_of_reviews())
        return recipes["reviews"] if task == "ranking" else several
    recipe = by_task[task]
    if source in (FILMS_1M, BOOKS, PLANTED):
        own = recipes[str(source)]  # of the same name
        if recipe is recipes["movielens-100k"]:
            return own
        return replace(recipe, name=f"{own.name}-{recipe.name}")
    return recipe


def _at_most(section: Any, **most: int) -> Any:
    """The section with each of these settings reduced to at most this value."""
    smaller = {key: min(getattr(section, key), value) for key, value in most.items()}
    return replace(section, **smaller)


def _listed(names: Any) -> str:
    return ", ".join(f'"{name}"' for name in names)
