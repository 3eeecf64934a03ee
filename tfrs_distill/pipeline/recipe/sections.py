"""The sections of a recipe: frozen dataclasses; every field has a default, a meaning and a rule.

If tasks read different settings, a section has one class per task.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tfrs_distill.errors import InputError
from tfrs_distill.pipeline.recipe.kinds import RANKING, RETRIEVAL, kinds_for
from tfrs_distill.pipeline.recipe.settings import check, setting

Bounds = dict[str, Any]  # of a `setting`

NUMBER: Bounds = {"at_least": 1}
RATE: Bounds = {"above": 0, "at_most": 1}
DROPOUT: Bounds = {"at_least": 0, "below": 1}
ENSEMBLE, TWO_TOWER = "ensemble", "two-tower"
KIND = "the kind of teacher; see docs/teachers.md"
MEMBERS = "the kinds that an ensemble combines"
BY_USUAL_NAME = "; empty = recognised by its usual names"
MAX_HISTORY = "the number of a user's latest items that a model reads"
LIKE, RATING, NEXT_ITEM, RECOMMENDED = "like", "rating", "next_item", "recommended"
FILMS, FILMS_1M, BOOKS = "movielens-100k", "movielens-1m", "book-crossing"
REVIEWS, PLANTED, TABLES = "clothing-reviews", "synthetic", "tables"
DATA_SETS = {FILMS: "ml-100k", FILMS_1M: "ml-1m", BOOKS: BOOKS}  # their names; runs have them
USER_TIME, LEAVE_ONE_OUT, GLOBAL_TIME = "user-time", "leave-one-out", "global-time"
COLD_ITEMS, RANDOM = "cold-items", "random"
FILE_ORDER, SHUFFLED = "file-order", "shuffled"
TEXT, ATTRIBUTES, GRAPH = MODALITIES = ("text", "attributes", "knowledge-graph")
LABELS = {  # of a row
    FILMS: (LIKE, RATING, NEXT_ITEM),
    REVIEWS: (RECOMMENDED, RATING),
    TABLES: (LIKE, RATING, NEXT_ITEM),
}
PRIVILEGED = ("user", "context", "text")
CONTROLS = ("plain", "self-taught", "scrambled")
TITLES, IDS, NO_ITEMS = "titles", "ids", "none"
ALL, ADAPTERS, NOTHING = "all", "adapters", "nothing"
TUNING_METHODS = ("none", "top-layers", "all-layers", "lora", "adapters", "prefix")


COLUMNS_OF_TABLES = {  # the setting of each role of a column
    "user": "user_column",
    "item": "item_column",
    "time": "time_column",
    "rating": "rating_column",
    "id": "id_column",
    "title": "title_column",
    "text": "text_columns",
    "attribute": "attribute_columns",
    "group": "group_columns",
}
ROLES_OF_SEVERAL = ("text", "attribute", "group")  # that several columns of a table can have


@dataclass(frozen=True)
class _Data:
    """The source: what every task's data has."""

    source: str
    folder: str
    interactions: tuple[str, ...] = setting(
        (), "tables: files, or a folder of files, with one row per interaction"
    )
    items: tuple[str, ...] = setting(
        (), "tables: files with one row per item; empty = an item's id is its title"
    )
    user_column: str = setting("", "tables: the user's id" + BY_USUAL_NAME)
    item_column: str = setting("", "tables: the item's id" + BY_USUAL_NAME)
    time_column: str = setting("", "tables: the timestamp" + BY_USUAL_NAME)
    rating_column: str = setting("", "tables: the rating" + BY_USUAL_NAME)
    id_column: str = setting("", "tables: an item's id, in `items`" + BY_USUAL_NAME)
    title_column: str = setting("", "tables: an item's title, in `items`" + BY_USUAL_NAME)
    text_columns: tuple[str, ...] = setting(
        (), "tables: an item's other texts, in `items`" + BY_USUAL_NAME
    )
    attribute_columns: tuple[str, ...] = setting(
        (), "tables: an item's attributes, such as brand and price, in `items`"
    )

    def __post_init__(self) -> None:
        if self.interactions and self.source == FILMS:
            object.__setattr__(self, "source", TABLES)
        check(self, "data")
        if bool(self.interactions) != (self.source == TABLES):
            raise InputError(
                f'`data.interactions` and `data.source` "{TABLES}" belong together. Received: '
                f'interactions={list(self.interactions)}, source="{self.source}".'
            )
        settings = ("items", "users", *COLUMNS_OF_TABLES.values(), "min_rating", "weigh_by_rating")
        of_tables = [name for name in settings if getattr(self, name, None)]
        if of_tables and not self.interactions:
            raise InputError(
                f"`data.{of_tables[0]}` applies to tables only. Give them as `data.interactions` "
                "(--interactions)."
            )
        if self.attribute_columns and not self.items:
            raise InputError(
                "`data.attribute_columns` are columns of `data.items` (--items). Received: "
                f"{list(self.attribute_columns)} without such a table."
            )
        if self.folder and self.interactions:
            raise InputError(
                "`data.folder` (--data-dir) is for data sets of a known layout and "
                "`data.interactions` (--interactions) for other tables: give one of them. "
                f"Received: folder={self.folder!r}, interactions={list(self.interactions)}."
            )


@dataclass(frozen=True)
class DataSettings(_Data):
    """The source of the interactions and item texts, and their split."""

    source: str = setting(
        FILMS,
        "a public data set of films or books, planted data with a known answer, or your own tables",
        choices=(*DATA_SETS, PLANTED, TABLES),
    )
    folder: str = setting("", "a folder with the data; empty = fetch it")
    users: tuple[str, ...] = setting(
        (), "tables: files with one row per user, for user groups and attributes"
    )
    group_columns: tuple[str, ...] = setting(
        (),
        "tables: columns of `users` that define user groups, such as country; empty = the "
        "user_attributes, or columns with usual names",
    )
    user_attributes: tuple[str, ...] = setting(
        (),
        "user attributes that the student reads in addition to the history: films have age, "
        "gender, occupation; books age, country; tables the columns of `users`; empty = none",
    )
    min_rating: float = setting(
        0.0, "tables: interactions with a lower rating are dropped; 0 = none are"
    )
    disliked_below: float = setting(
        0.0, "interactions with a lower rating count against their item; 0 = none do"
    )
    weigh_by_rating: bool = setting(
        False, "tables: whether the rating is a label's weight in the losses"
    )
    max_users: int = setting(
        0, "the number of users that are read, drawn at random; 0 = all", at_least=0
    )
    link_titles: str = setting(
        "", "a folder of the data set whose item ids the graph's links use; empty = this data"
    )
    max_history: int = setting(32, MAX_HISTORY, at_least=2)
    split: str = setting(
        USER_TIME,
        "the test set: each user's last 10 %; or last item; or all interactions after one global "
        "time; or a quarter of the items, without training rows; or a random 10 % of each user's",
        choices=(USER_TIME, LEAVE_ONE_OUT, GLOBAL_TIME, COLD_ITEMS, RANDOM),
    )
    ties: str = setting(
        FILE_ORDER,
        "the order of a user's interactions with equal timestamps: as in the file, or random",
        choices=(FILE_ORDER, SHUFFLED),
    )
    train_share: float = setting(
        1.0,
        "the share of each user's training interactions that is kept, drawn at random",
        above=0,
        at_most=1,
    )
    exclude_seen: bool = setting(
        True, "never recommend items of the history; false for repeated interactions, as in music"
    )

    @property
    def reads_order(self) -> bool:
        """Whether the order of a history has information; it does not if it is random."""
        return self.split != RANDOM

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source == BOOKS and self.split != RANDOM and not self.folder:
            raise InputError(
                f'`data.source` "{BOOKS}" has no timestamps: `data.split` must be "{RANDOM}". '
                f'Received: "{self.split}".'
            )
        if self.train_share < 1 and self.split == COLD_ITEMS:
            raise InputError(
                f'`data.train_share` cannot be used with `data.split` "{COLD_ITEMS}", which holds '
                f"out items, not interactions. Received: train_share={self.train_share}. Set it to "
                "1.0, or choose another split."
            )
        if self.group_columns and not self.users:
            raise InputError(
                "`data.group_columns` are columns of `data.users` (--users). Received: "
                f"{list(self.group_columns)} without such a table."
            )
        if self.user_attributes and not (self.users or self.source in DATA_SETS):
            raise InputError(
                "`data.user_attributes` are columns of `data.users` (--users), or user attributes "
                f"of a data set of films or books. Received: {list(self.user_attributes)} "
                f'without such a table, source="{self.source}".'
            )
        if self.min_rating and self.disliked_below and self.disliked_below <= self.min_rating:
            raise InputError(
                "`data.min_rating` (--min-rating) drops interactions with lower ratings, so none "
                "below `data.disliked_below` (--disliked-below) remain to count against an item. "
                f"Received: min_rating={self.min_rating:g}, disliked_below="
                f"{self.disliked_below:g}. Give a lower `min_rating`, or one of the two."
            )
        if self.folder and self.source == PLANTED:
            raise InputError(
                "`data.folder` (--data-dir) cannot be given with planted data. Received: "
                f'folder={self.folder!r}, source="{PLANTED}". Leave the folder out, or choose '
                "another `data.source`."
            )


@dataclass(frozen=True)
class RankingDataSettings(_Data):
    """The source of the rows of users and items, and their split."""

    source: str = setting(
        FILMS,
        "ratings of films, clothing reviews with a text, or your own tables with ratings",
        choices=(FILMS, REVIEWS, TABLES),
    )
    folder: str = setting("", "a folder (reviews: a file) with the data; empty = fetch it")
    liked_from: float = setting(4.0, "films and tables: `like` is a rating of this value or more")
    max_history: int = setting(100, MAX_HISTORY, at_least=2)
    split: str = setting(
        "random",
        "reviews: test rows drawn at random, or all rows of items drawn at random",
        choices=("random", "item"),
    )
    max_users: int = setting(
        0,
        "the number of users (reviews: customers) that are read, drawn at random; 0 = all",
        at_least=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source != REVIEWS and self.split != "random":
            raise InputError(
                "`data.split` applies to clothing reviews; other rows are split by time. Received: "
                f'source="{self.source}", split="{self.split}".'
            )


@dataclass(frozen=True)
class _Teacher:
    """The large model: the settings that the teachers of all tasks have."""

    kind: str
    members: tuple[str, ...]
    source: str = setting("", "the file of an array teacher; FILE.py:FUNCTION of a python one")
    embedding_dim: int = setting(64, "the width of the item and query vectors", **NUMBER)
    dropout: float = setting(0.2, "the share of activations dropped while training", **DROPOUT)
    batch_size: int = setting(32, "windows or rows per step", **NUMBER)
    learning_rate: float = setting(1e-3, "Adam's learning rate", **RATE)
    max_epochs: int = setting(40, "the maximum number of epochs", **NUMBER)
    patience: int = setting(
        4, "epochs without a better validation score before early stopping", **NUMBER
    )

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that are trained: the members of an ensemble, or the one kind."""
        return self.members if self.kind == ENSEMBLE else (self.kind,)

    def __post_init__(self) -> None:
        check(self, "teacher")
        if self.kind == ENSEMBLE and len(self.members) < 2:
            raise InputError(
                "`teacher.members` must name at least two kinds for an ensemble. Received: "
                f"members={list(self.members)}."
            )
        if bool(self.source) != bool({"array", "python"} & set(self.kinds)):
            raise InputError(
                "`teacher.source` is required by the kinds array and python, and by no other. "
                f'Received: source="{self.source}", kind="{self.kind}".'
            )


@dataclass(frozen=True)
class TeacherSettings(_Teacher):
    """The large model that recommends."""

    kind: str = setting(ENSEMBLE, KIND, choices=(*kinds_for(RETRIEVAL), ENSEMBLE))
    members: tuple[str, ...] = setting(
        ("two-tower", "item-item"), MEMBERS, choices=kinds_for(RETRIEVAL)
    )
    modalities: tuple[str, ...] = setting(
        ("text",), "what a two-tower teacher reads in addition to item ids", choices=MODALITIES
    )
    num_blocks: int = setting(1, "attention blocks over the history", **NUMBER)
    num_heads: int = setting(2, "attention heads per block; divides `embedding_dim`", **NUMBER)
    label_smoothing: float = setting(
        0.5, "two-tower: the share of a label spread evenly over all items", **DROPOUT
    )
    id_dropout: float = setting(
        0.0,
        "two-tower with text: the share of items whose ids are hidden in training",
        **DROPOUT,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embedding_dim % self.num_heads:
            raise InputError(
                "`teacher.embedding_dim` must be a multiple of `teacher.num_heads`. Received: "
                f"embedding_dim={self.embedding_dim}, num_heads={self.num_heads}."
            )


@dataclass(frozen=True)
class RankingTeacherSettings(_Teacher):
    """The large model that predicts labels of rows."""

    kind: str = setting("deep-cross", KIND, choices=(*kinds_for(RANKING), ENSEMBLE))
    members: tuple[str, ...] = setting((), MEMBERS, choices=kinds_for(RANKING))
    privileged: tuple[str, ...] = setting(
        ("user", "context"),
        "deep-cross: features that are not available to the student at serving time",
        choices=PRIVILEGED,
    )
    num_models: int = setting(
        1, "deep-cross: the number of models of different seeds that are averaged", **NUMBER
    )
    num_cross_layers: int = setting(
        2, "deep-cross: layers that multiply features with each other", **NUMBER
    )
    hidden_dim: int = setting(128, "deep-cross: the width of the first dense layer", at_least=2)


@dataclass(frozen=True)
class EncoderSettings:
    """The encoder of the items' texts."""

    name: str = setting(
        "", "a BERT's name or folder, or a TF-Hub encoder's; empty = all-MiniLM-L6-v2"
    )
    pooling: str = setting(
        "auto",
        "how a BERT's token vectors are pooled; auto = as its folder says, or mean",
        choices=("auto", "mean", "cls", "max"),
    )
    max_length: int = setting(
        0, "word pieces that a BERT reads at once; 0 = as its folder says, or 128", at_least=0
    )
    long_texts: str = setting(
        "cut", "longer texts: truncated, or read in windows", choices=("cut", "windows")
    )
    output_key: str = setting("", "the output to use of a TF-Hub encoder that has several")
    preprocessor: str = setting("", "the preprocessing model of a TF-Hub encoder")

    def __post_init__(self) -> None:
        check(self, "encoder")
        if 0 < self.max_length < 8:
            raise InputError(
                "`encoder.max_length` must be 0, to use the value of the encoder's folder, or at "
                f"least 8. Received: {self.max_length}."
            )


@dataclass(frozen=True)
class TuningSettings:
    """How the BERT of a two-tower teacher is fine-tuned to the catalogue."""

    method: str = setting("none", "the weights of BERT that are trained", choices=TUNING_METHODS)
    layers: int = setting(1, "top-layers: the number of layers, from the top", **NUMBER)
    layer_decay: float = setting(
        0.9, "all-layers: a layer's learning rate divided by the next one's", above=0, at_most=1
    )
    rank: int = setting(8, "lora: the rank of the update of a matrix", **NUMBER)
    width: int = setting(16, "adapters: the width of the bottleneck", **NUMBER)
    length: int = setting(16, "prefix: learned vectors before the text, per layer", **NUMBER)
    steps: int = setting(300, "fine-tuning steps", **NUMBER)
    batch_size: int = setting(8, "windows per step", **NUMBER)
    num_negatives: int = setting(128, "sampled items per step, in addition to its own", **NUMBER)
    learning_rate: float = setting(
        0.0, "Adam's learning rate; 0 = the method's default", at_least=0, at_most=1
    )
    pretrain_steps: int = setting(
        0, "masked-language-model steps on the item texts before tuning; 0 = none", at_least=0
    )

    def __post_init__(self) -> None:
        check(self, "tuning")


@dataclass(frozen=True)
class TransferSettings:
    """Transfer from the models of a run on other data."""

    run: str = setting(
        "",
        "the folder of a finished run, such as saved_models/ml-1m, whose models initialise this "
        "run's; empty = none",
    )
    same_items: str = setting(
        TITLES,
        "how items of both runs are matched: by title, ignoring case, or by id; none = not at all",
        choices=(TITLES, IDS, NO_ITEMS),
    )
    trains: str = setting(
        ALL,
        "the part of the two-tower teacher that is trained on this run's data: all; the item ids "
        "and a low-rank adapter of the text projection; or nothing",
        choices=(ALL, ADAPTERS, NOTHING),
    )
    adapter_rank: int = setting(8, "adapters: the rank of the update of a matrix", **NUMBER)

    def __post_init__(self) -> None:
        check(self, "transfer")


@dataclass(frozen=True)
class CrossEncoderSettings:
    """The second stage of a cross-encoder teacher: it re-ranks the two-tower's candidates."""

    num_candidates: int = setting(20, "items per row that it re-ranks", at_least=2)
    max_history_items: int = setting(5, "items of the history that it reads", **NUMBER)
    max_length: int = setting(64, "word pieces of history and candidate together", at_least=8)
    first_stage_weight: float = setting(
        1.0, "the weight of the two-tower's scores in the order", at_least=0, at_most=100
    )
    steps: int = setting(500, "training steps", **NUMBER)
    batch_size: int = setting(8, "rows per training step", **NUMBER)
    num_negatives: int = setting(7, "negative items per training row", **NUMBER)
    learning_rate: float = setting(5e-5, "Adam's learning rate", **RATE)

    def __post_init__(self) -> None:
        check(self, "cross_encoder")


@dataclass(frozen=True)
class KnowledgeSettings:
    """The cached teacher logits of the training data."""

    folds: int = setting(
        8, "folds of users, each labelled by a teacher that was not trained on it", at_least=2
    )
    top_k: int = setting(
        350,
        "the teacher's top items kept per position; at most all items but one",
        **NUMBER,
    )
    form: str = setting(
        "auto",
        "exact logits from embeddings, or the top-K and the sum of the rest; auto = exact if "
        "possible",
        choices=("auto", "embeddings", "top_k"),
    )
    generated_per_window: int = setting(
        0,
        "histories that the teacher generates and labels per training window, for scarce data; "
        "requires the top-K form",
        at_least=0,
    )

    def __post_init__(self) -> None:
        check(self, "knowledge")
        if self.generated_per_window and self.form == "embeddings":
            raise InputError(
                "The histories of `knowledge.generated_per_window` are labelled by a different "
                "teacher than the training windows, so exact logits cannot be used. Received: "
                f'{self.generated_per_window} with form="embeddings". Set `knowledge.form` to '
                '"top_k" or "auto".'
            )


@dataclass(frozen=True)
class RankingKnowledgeSettings:
    """The rows that the teacher labels."""

    folds: int = setting(
        4, "folds of rows, each labelled by a teacher that was not trained on it", at_least=2
    )
    by: str = setting(
        "row", "a fold has whole users, or rows drawn at random", choices=("user", "row")
    )
    unlabelled_per_row: int = setting(
        0,
        "unlabelled rows of other items per training row, which the teacher labels",
        at_least=0,
    )

    def __post_init__(self) -> None:
        check(self, "knowledge")


@dataclass(frozen=True)
class StudentSettings:
    """The small model that recommends; its twin has the same architecture."""

    embedding_dim: int = setting(32, "the width of the item and query vectors", **NUMBER)

    def __post_init__(self) -> None:
        check(self, "student")


@dataclass(frozen=True)
class RankingStudentSettings(StudentSettings):
    """The small model that predicts row labels or ranks candidates; its twin is built alike."""

    embedding_dim: int = setting(16, "the width of the item and query vectors", **NUMBER)
    num_cross_layers: int = setting(2, "layers that multiply features with each other", **NUMBER)
    hidden_dim: int = setting(32, "the width of the first dense layer", at_least=2)


@dataclass(frozen=True)
class ItemTextsSettings:
    """The text tower of the student, which makes cold-start recommendations possible."""

    read: bool = setting(True, "whether the student has a text tower in addition to item ids")
    num_common: int = setting(
        300,
        "further word pieces with a vector: the BERT's most frequent ones",
        at_least=0,
    )
    piece_dim: int = setting(16, "the width of a word piece's vector, from the BERT's", **NUMBER)
    max_pieces: int = setting(32, "word pieces read per text", **NUMBER)
    id_dropout: float = setting(
        0.1, "the share of items whose ids are hidden in training", **DROPOUT
    )
    dropout: float = setting(
        0.1, "the share of a text's word pieces dropped in training", **DROPOUT
    )

    def __post_init__(self) -> None:
        check(self, "item_texts")


@dataclass(frozen=True)
class WordsSettings:
    """The words that a student reads of a review."""

    min_count: int = setting(
        10, "the minimum count of a word in the training texts to get a vector", **NUMBER
    )
    max_words: int = setting(128, "words read per text", **NUMBER)
    num_bigram_buckets: int = setting(
        16384,
        "the number of hash buckets of word bigrams; 0 = no bigrams",
        at_least=0,
    )
    embedding_dim: int = setting(16, "the width of a word's vector", **NUMBER)

    def __post_init__(self) -> None:
        check(self, "words")


@dataclass(frozen=True)
class LabelsSettings:
    """The labels of a row that a student predicts."""

    tasks: tuple[str, ...] = setting(
        (LIKE, RATING),
        "the predicted labels; the first one decides the verdict",
        choices=(LIKE, RATING, RECOMMENDED, NEXT_ITEM),
    )
    rating_as: str = setting(
        "distribution",
        "a rating is a number, ordered levels, or a distribution over its values",
        choices=("regression", "ordinal", "distribution"),
    )
    balance: str = setting(
        "fixed",
        "how the tasks' losses are weighted: equally, by learned uncertainty, by gradient norm",
        choices=("fixed", "uncertainty", "gradient-norm"),
    )

    def __post_init__(self) -> None:
        check(self, "labels")
        if not self.tasks:
            raise InputError("`labels.tasks` must name at least one task. Received: [].")


@dataclass(frozen=True)
class ListsSettings:
    """The candidate lists that the second of two stages ranks."""

    num_candidates: int = setting(
        100, "items that the first stage finds for the second", at_least=2
    )
    list_size: int = setting(50, "items per training list", at_least=2)
    num_lists: int = setting(
        4000, "the number of training lists, at uniformly sampled positions", at_least=10
    )
    num_ordered_lists: int = setting(
        400,
        "lists that the cross-encoder ranks; item-item weights rank all lists",
        at_least=10,
    )
    max_history: int = setting(
        64, "latest items of the history that the second stage reads", at_least=1
    )
    num_neighbours: int = setting(
        20, "neighbours per item that the second stage looks for in the history", at_least=1
    )
    list_loss: str = setting(
        "listmle",
        "the distillation loss of an order: its likelihood, its pairs, or its top ranks",
        choices=("listmle", "pairwise", "ranks"),
    )

    def __post_init__(self) -> None:
        check(self, "lists")
        if self.num_candidates < self.list_size:
            raise InputError(
                "`lists.num_candidates` must be at least `lists.list_size`. Received: "
                f"num_candidates={self.num_candidates}, list_size={self.list_size}."
            )
        if self.num_ordered_lists > self.num_lists:
            raise InputError(
                "`lists.num_ordered_lists` must be at most `lists.num_lists`. Received: "
                f"num_ordered_lists={self.num_ordered_lists}, num_lists={self.num_lists}."
            )


@dataclass(frozen=True)
class TrainingSettings:
    """The training budget of student, twin and controls: the same for all."""

    batch_size: int = setting(32, "windows or rows per step", **NUMBER)
    max_epochs: int = setting(100, "the maximum number of epochs", **NUMBER)
    patience: int = setting(
        12, "epochs without a better validation score before early stopping", **NUMBER
    )
    controls: tuple[str, ...] = setting(
        ("plain", "self-taught"),
        "students without the teacher's knowledge to compare with; self-taught trains one twin per "
        "fold",
        choices=CONTROLS,
    )

    def __post_init__(self) -> None:
        check(self, "training")


@dataclass(frozen=True)
class _Learning:
    """The training settings of a student, with a teacher or without one."""

    section: ClassVar[str]

    learning_rate: float
    dropout: float
    label_smoothing: float = setting(
        0.0, "the share of a label spread evenly over all classes or items", **DROPOUT
    )
    weight_decay: float = setting(
        0.0, "decoupled weight decay, times the learning rate", at_least=0, at_most=1
    )

    def __post_init__(self) -> None:
        check(self, self.section)


@dataclass(frozen=True)
class TwinSettings(_Learning):
    """The training settings of the twin, tuned on their own so that the comparison is fair."""

    section: ClassVar[str] = "twin"

    learning_rate: float = setting(5e-3, "Adam's learning rate for the twin", **RATE)
    dropout: float = setting(0.3, "the share of entries dropped for the twin", **DROPOUT)


@dataclass(frozen=True)
class DistillationSettings(_Learning):
    """The settings of distillation from the teacher."""

    section: ClassVar[str] = "distillation"

    learning_rate: float = setting(2e-3, "Adam's learning rate for the student", **RATE)
    dropout: float = setting(0.0, "the share of entries dropped for the student", **DROPOUT)
    temperature: float = setting(2.0, "higher = softer targets", above=0, at_most=1000)
    student_loss_weight: float = setting(
        0.2, "the labels' share of the loss; the rest is distillation", at_least=0, at_most=1
    )


@dataclass(frozen=True)
class RetrievalDistillationSettings(DistillationSettings):
    """The settings of distillation for retrieval."""

    learning_rate: float = setting(3e-3, "Adam's learning rate for the student", **RATE)
    dropout: float = setting(0.2, "the share of entries dropped for the student", **DROPOUT)
    label_smoothing: float = setting(
        0.8, "the share of a label spread evenly over all items", **DROPOUT
    )
    student_loss_weight: float = setting(
        0.5, "the labels' share of the loss; the rest is distillation", at_least=0, at_most=1
    )
    cold_items_weight: float = setting(
        1.0,
        "the weight of the distillation loss over the cold items",
        at_least=0,
        at_most=1000,
    )


@dataclass(frozen=True)
class RetrievalTwinSettings(TwinSettings):
    """The training settings of the twin for retrieval."""

    dropout: float = setting(0.4, "the share of entries dropped for the twin", **DROPOUT)
    label_smoothing: float = setting(
        0.8, "the share of a label spread evenly over all items", **DROPOUT
    )
    exclude_seen: bool = setting(False, "whether the loss excludes the items of the history")


@dataclass(frozen=True)
class ExportSettings:
    """The exported files for serving and for devices."""

    version: int = setting(1, "the version number and folder, for TF Serving", **NUMBER)

    def __post_init__(self) -> None:
        check(self, "export")


@dataclass(frozen=True)
class CompressedExportSettings(ExportSettings):
    """The exported files of one student, which may be compressed first."""

    compress: tuple[str, ...] = setting(
        (), "compression methods applied before export, in order; see docs/compression.md"
    )


@dataclass(frozen=True)
class RetrievalExportSettings(CompressedExportSettings):
    """The exported files of a student that recommends."""

    k: int = setting(100, "items per query; fixed in the exported graph", **NUMBER)


@dataclass(frozen=True)
class EvaluationSettings:
    """How the models are evaluated."""

    k: int = setting(10, "the k of NDCG@k and the other metrics", **NUMBER)
    bootstrap_samples: int = setting(
        1000, "bootstrap resamples of the users for an interval", at_least=100
    )

    def __post_init__(self) -> None:
        check(self, "evaluation")


@dataclass(frozen=True)
class TwoStageEvaluationSettings(EvaluationSettings):
    """How two stages are evaluated."""

    max_lists: int = setting(
        0,
        "the number of test users that are evaluated; 0 = all",
        at_least=0,
    )
