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
KIND = "the kind of teacher, see docs/teachers.md"
MEMBERS = "the members of an ensemble"
BY_USUAL_NAME = "; empty = found by its usual name"
MAX_HISTORY = "number of latest history items that a model reads"
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
    """The source: settings of every task's data."""

    source: str
    folder: str
    interactions: tuple[str, ...] = setting(
        (), "tables: files, or a folder of files, with one row per interaction"
    )
    items: tuple[str, ...] = setting(
        (), "tables: files with one row per item; empty = an item's id is its title"
    )
    user_column: str = setting("", "tables: column of user ids" + BY_USUAL_NAME)
    item_column: str = setting("", "tables: column of item ids" + BY_USUAL_NAME)
    time_column: str = setting("", "tables: column of timestamps" + BY_USUAL_NAME)
    rating_column: str = setting("", "tables: column of ratings" + BY_USUAL_NAME)
    id_column: str = setting("", "tables: column of item ids in `items`" + BY_USUAL_NAME)
    title_column: str = setting("", "tables: column of titles in `items`" + BY_USUAL_NAME)
    text_columns: tuple[str, ...] = setting(
        (), "tables: columns of further texts in `items`" + BY_USUAL_NAME
    )
    attribute_columns: tuple[str, ...] = setting(
        (), "tables: columns of item attributes in `items`, such as brand and price"
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
                f"`data.{of_tables[0]}` describes tables, which are missing. Name them as "
                "`data.interactions` (--interactions)."
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
    """The interactions and item texts."""

    source: str = setting(
        FILMS,
        "a data set, planted data with a known structure, or your own tables",
        choices=(*DATA_SETS, PLANTED, TABLES),
    )
    folder: str = setting("", "a folder with the data; empty = fetch it")
    users: tuple[str, ...] = setting(
        (), "tables: files with one row per user, for quality by user group"
    )
    group_columns: tuple[str, ...] = setting(
        (),
        "tables: columns of user groups in `users`, such as country; empty = the user_attributes, "
        "or found by their usual names",
    )
    user_attributes: tuple[str, ...] = setting(
        (),
        "user attributes that the student reads: of films age, gender, occupation; of books age, "
        "country; of tables columns of `users`; empty = none",
    )
    min_rating: float = setting(
        0.0, "tables: interactions with a lower rating are dropped; 0 = none"
    )
    disliked_below: float = setting(0.0, "interactions with a lower rating are dislikes; 0 = none")
    weigh_by_rating: bool = setting(
        False, "tables: whether ratings are the sample weights of the losses"
    )
    max_users: int = setting(0, "number of users to read, drawn at random; 0 = all", at_least=0)
    link_titles: str = setting(
        "",
        "knowledge graph: the folder of the data set whose item ids its links use; items are "
        "matched by title; empty = this data set",
    )
    max_history: int = setting(32, MAX_HISTORY, at_least=2)
    split: str = setting(
        USER_TIME,
        "test data: each user's last 10 %, each user's last item, the latest 10 % of all, a "
        "quarter of the items, or a random tenth of each user's interactions",
        choices=(USER_TIME, LEAVE_ONE_OUT, GLOBAL_TIME, COLD_ITEMS, RANDOM),
    )
    ties: str = setting(
        FILE_ORDER,
        "order of a user's interactions with equal timestamps",
        choices=(FILE_ORDER, SHUFFLED),
    )
    train_share: float = setting(
        1.0,
        "the random share of each user's training interactions that is kept",
        above=0,
        at_most=1,
    )
    exclude_seen: bool = setting(
        True, "exclude items of the history; false for repeated consumption, such as music"
    )

    @property
    def reads_order(self) -> bool:
        """Whether the order of a history is meaningful: not with a random split."""
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
                f'`data.train_share` does not apply to `data.split` "{COLD_ITEMS}", which holds '
                f"out items and not interactions. Received: train_share={self.train_share}. Set it "
                "to 1.0, or choose another split."
            )
        if self.group_columns and not self.users:
            raise InputError(
                "`data.group_columns` are columns of `data.users` (--users). Received: "
                f"{list(self.group_columns)} without such a table."
            )
        if self.user_attributes and not (self.users or self.source in DATA_SETS):
            raise InputError(
                "`data.user_attributes` are columns of `data.users` (--users), or attributes of a "
                f"data set of films or books. Received: {list(self.user_attributes)} "
                f'without such a table, source="{self.source}".'
            )
        if self.min_rating and self.disliked_below and self.disliked_below <= self.min_rating:
            raise InputError(
                "`data.min_rating` (--min-rating) drops lower ratings, so that no interaction "
                "below `data.disliked_below` (--disliked-below) is left to be a dislike. "
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
    """The rows of users and items."""

    source: str = setting(
        FILMS,
        "ratings of films, clothing reviews with texts, or your own tables with ratings",
        choices=(FILMS, REVIEWS, TABLES),
    )
    folder: str = setting("", "a folder (reviews: a file) with the data; empty = fetch it")
    liked_from: float = setting(4.0, "films and tables: the lowest rating that is a `like`")
    max_history: int = setting(100, MAX_HISTORY, at_least=2)
    split: str = setting(
        "random",
        "reviews: test rows are random rows, or all rows of random items",
        choices=("random", "item"),
    )
    max_users: int = setting(
        0,
        "number of users (reviews: rows) to read, drawn at random; 0 = all",
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
    """The teacher: settings of every task."""

    kind: str
    members: tuple[str, ...]
    source: str = setting(
        "", "the file of an array teacher, or FILE.py:FUNCTION of a python teacher"
    )
    embedding_dim: int = setting(64, "the width of the item and query vectors", **NUMBER)
    dropout: float = setting(0.2, "the share of activations dropped while training", **DROPOUT)
    batch_size: int = setting(32, "windows or rows per step", **NUMBER)
    learning_rate: float = setting(1e-3, "Adam's learning rate", **RATE)
    max_epochs: int = setting(40, "maximum number of epochs", **NUMBER)
    patience: int = setting(4, "epochs without a better validation score before stopping", **NUMBER)

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
    """The teacher of a retrieval student."""

    kind: str = setting(ENSEMBLE, KIND, choices=(*kinds_for(RETRIEVAL), ENSEMBLE))
    members: tuple[str, ...] = setting(
        ("two-tower", "item-item"), MEMBERS, choices=kinds_for(RETRIEVAL)
    )
    modalities: tuple[str, ...] = setting(
        ("text",), "what a two-tower teacher reads of an item besides its id", choices=MODALITIES
    )
    num_blocks: int = setting(1, "attention blocks over the history", **NUMBER)
    num_heads: int = setting(2, "attention heads per block; divides `embedding_dim`", **NUMBER)
    label_smoothing: float = setting(
        0.5, "two-tower: the share of a label that is spread evenly over all items", **DROPOUT
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
    """The teacher of a ranking student."""

    kind: str = setting("deep-cross", KIND, choices=(*kinds_for(RANKING), ENSEMBLE))
    members: tuple[str, ...] = setting((), MEMBERS, choices=kinds_for(RANKING))
    privileged: tuple[str, ...] = setting(
        ("user", "context"),
        "deep-cross: features that are not available at serving time",
        choices=PRIVILEGED,
    )
    num_models: int = setting(
        1, "deep-cross: models with different seeds whose probabilities are averaged", **NUMBER
    )
    num_cross_layers: int = setting(2, "deep-cross: number of cross layers", **NUMBER)
    hidden_dim: int = setting(128, "deep-cross: the width of the first dense layer", at_least=2)


@dataclass(frozen=True)
class EncoderSettings:
    """The encoder of the item texts."""

    name: str = setting(
        "", "name or folder of a BERT or a TF-Hub encoder; empty = all-MiniLM-L6-v2"
    )
    pooling: str = setting(
        "auto",
        "pooling of a BERT's token vectors; auto = as its folder says, or mean",
        choices=("auto", "mean", "cls", "max"),
    )
    max_length: int = setting(
        0, "maximum number of word pieces of a text; 0 = as its folder says, or 128", at_least=0
    )
    long_texts: str = setting(
        "cut", "longer texts are cut, or read in windows", choices=("cut", "windows")
    )
    output_key: str = setting("", "the output to use of a TF-Hub encoder with several")
    preprocessor: str = setting("", "the TF-Hub model that preprocesses the texts")

    def __post_init__(self) -> None:
        check(self, "encoder")
        if 0 < self.max_length < 8:
            raise InputError(
                "`encoder.max_length` must be 0, for the length in the encoder's folder, or at "
                f"least 8. Received: {self.max_length}."
            )


@dataclass(frozen=True)
class TuningSettings:
    """Fine-tuning of the BERT of a two-tower teacher."""

    method: str = setting(
        "none", "which weights of the BERT are fine-tuned", choices=TUNING_METHODS
    )
    layers: int = setting(1, "top-layers: how many", **NUMBER)
    layer_decay: float = setting(
        0.9,
        "all-layers: ratio of a layer's learning rate to that of the layer above",
        above=0,
        at_most=1,
    )
    rank: int = setting(8, "lora: the rank", **NUMBER)
    width: int = setting(16, "adapters: the width of the bottleneck", **NUMBER)
    length: int = setting(16, "prefix: learned vectors before the text, per layer", **NUMBER)
    steps: int = setting(300, "training steps", **NUMBER)
    batch_size: int = setting(8, "windows per step", **NUMBER)
    num_negatives: int = setting(128, "sampled negative items per step", **NUMBER)
    learning_rate: float = setting(
        0.0, "Adam's learning rate; 0 = the method's default", at_least=0, at_most=1
    )
    pretrain_steps: int = setting(
        0,
        "preceding steps of masked-language-model training on the item texts; 0 = none",
        at_least=0,
    )

    def __post_init__(self) -> None:
        check(self, "tuning")


@dataclass(frozen=True)
class TransferSettings:
    """Initialisation from a run of other data."""

    run: str = setting(
        "",
        "the folder of a finished run, such as saved_models/ml-1m, whose models initialise this "
        "run's; empty = none",
    )
    same_items: str = setting(
        TITLES,
        "how items of both data sets are matched: by title (case-insensitive), by id, or not",
        choices=(TITLES, IDS, NO_ITEMS),
    )
    trains: str = setting(
        ALL,
        "weights of the two-tower teacher that are trained on this run's data: all; the id "
        "embeddings and a low-rank adapter of the text projection; or nothing",
        choices=(ALL, ADAPTERS, NOTHING),
    )
    adapter_rank: int = setting(8, "adapters: the rank", **NUMBER)

    def __post_init__(self) -> None:
        check(self, "transfer")


@dataclass(frozen=True)
class CrossEncoderSettings:
    """The cross-encoder of a teacher: it re-ranks the candidates of a two-tower."""

    num_candidates: int = setting(20, "items that it re-ranks per row", at_least=2)
    max_history_items: int = setting(5, "history items that it reads", **NUMBER)
    max_length: int = setting(
        64, "maximum number of word pieces of history and candidate together", at_least=8
    )
    first_stage_weight: float = setting(
        1.0, "weight of the two-tower's score in the order", at_least=0, at_most=100
    )
    steps: int = setting(500, "training steps", **NUMBER)
    batch_size: int = setting(8, "rows per training step", **NUMBER)
    num_negatives: int = setting(7, "negative items per training row", **NUMBER)
    learning_rate: float = setting(5e-5, "Adam's learning rate", **RATE)

    def __post_init__(self) -> None:
        check(self, "cross_encoder")


@dataclass(frozen=True)
class KnowledgeSettings:
    """The cache of the teacher's logits on the training data."""

    folds: int = setting(
        8, "folds of the users, each labelled by a teacher that was not trained on it", at_least=2
    )
    top_k: int = setting(
        350,
        "number of the teacher's best items kept per position; at most all but one",
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
        "histories generated and labelled by the teacher per training window, for scarce data; "
        "implies form top_k",
        at_least=0,
    )

    def __post_init__(self) -> None:
        check(self, "knowledge")
        if self.generated_per_window and self.form == "embeddings":
            raise InputError(
                "`knowledge.generated_per_window` histories are labelled by another teacher than "
                "the training windows, so exact logits are not available. Received: "
                f'{self.generated_per_window} with form="embeddings". Set `knowledge.form` to '
                '"top_k" or "auto".'
            )


@dataclass(frozen=True)
class RankingKnowledgeSettings:
    """The cache of the teacher's logits of rows."""

    folds: int = setting(
        4, "folds of the rows, each labelled by a teacher that was not trained on it", at_least=2
    )
    by: str = setting("row", "a fold has whole users, or random rows", choices=("user", "row"))
    unlabelled_per_row: int = setting(
        0,
        "unlabelled rows of other items per training row, labelled by the teacher alone",
        at_least=0,
    )

    def __post_init__(self) -> None:
        check(self, "knowledge")


@dataclass(frozen=True)
class StudentSettings:
    """What retrieval and ranking students share."""

    num_heads = 0  # no setting of ranking students: they average the history
    embedding_dim: int = setting(32, "the width of the item and query vectors", **NUMBER)

    def __post_init__(self) -> None:
        check(self, "student")


@dataclass(frozen=True)
class RetrievalStudentSettings(StudentSettings):
    """The retrieval student and its twin."""

    num_heads: int = setting(
        0,
        "attention heads that read the history; divides `embedding_dim`; 0 = an average of the "
        "items, with weights that decrease with age",
        at_least=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_heads and self.embedding_dim % self.num_heads:
            raise InputError(
                "`student.embedding_dim` must be a multiple of `student.num_heads`. Received: "
                f"embedding_dim={self.embedding_dim}, num_heads={self.num_heads}."
            )


@dataclass(frozen=True)
class RankingStudentSettings(StudentSettings):
    """The ranking student and its twin."""

    embedding_dim: int = setting(16, "the width of the item and query vectors", **NUMBER)
    num_cross_layers: int = setting(2, "number of cross layers", **NUMBER)
    hidden_dim: int = setting(32, "the width of the first dense layer", at_least=2)


@dataclass(frozen=True)
class ItemTextsSettings:
    """The text tower of the student, for cold-start items."""

    read: bool = setting(True, "whether the student has a text tower besides the id embeddings")
    num_common: int = setting(
        300,
        "further word pieces with a vector: the most common ones of the BERT",
        at_least=0,
    )
    piece_dim: int = setting(16, "the width of a word piece's vector", **NUMBER)
    max_pieces: int = setting(32, "maximum number of word pieces of a text", **NUMBER)
    id_dropout: float = setting(
        0.1, "the share of items whose ids are hidden in training", **DROPOUT
    )
    dropout: float = setting(
        0.1, "the share of a text's word pieces dropped while training", **DROPOUT
    )

    def __post_init__(self) -> None:
        check(self, "item_texts")


@dataclass(frozen=True)
class WordsSettings:
    """The words of a review that a student reads."""

    min_count: int = setting(
        10, "minimum count in the training texts for a word to get a vector", **NUMBER
    )
    max_words: int = setting(128, "maximum number of words of a text", **NUMBER)
    num_bigram_buckets: int = setting(
        16384,
        "hash buckets of word bigrams; 0 = no bigrams",
        at_least=0,
    )
    embedding_dim: int = setting(16, "the width of a word's vector", **NUMBER)

    def __post_init__(self) -> None:
        check(self, "words")


@dataclass(frozen=True)
class LabelsSettings:
    """The labels that a student predicts."""

    tasks: tuple[str, ...] = setting(
        (LIKE, RATING),
        "the predicted labels; the verdict is about the first",
        choices=(LIKE, RATING, RECOMMENDED, NEXT_ITEM),
    )
    rating_as: str = setting(
        "distribution",
        "how a rating is modelled: one number, ordered levels, or a distribution over its values",
        choices=("regression", "ordinal", "distribution"),
    )
    balance: str = setting(
        "fixed",
        "weights of the tasks' losses: equal, by learned uncertainty, or by gradient norm",
        choices=("fixed", "uncertainty", "gradient-norm"),
    )

    def __post_init__(self) -> None:
        check(self, "labels")
        if not self.tasks:
            raise InputError("`labels.tasks` must name at least one task. Received: [].")


@dataclass(frozen=True)
class ListsSettings:
    """The candidate lists of the second stage."""

    num_candidates: int = setting(100, "items retrieved by the first stage", at_least=2)
    list_size: int = setting(50, "items per training list", at_least=2)
    num_lists: int = setting(4000, "number of training lists", at_least=10)
    num_ordered_lists: int = setting(
        400,
        "lists ordered by the cross-encoder too; item-item weights order all",
        at_least=10,
    )
    max_history: int = setting(64, "latest history items that the second stage reads", at_least=1)
    num_neighbours: int = setting(
        20,
        "nearest neighbours of an item that the second stage looks up in the history",
        at_least=1,
    )
    list_loss: str = setting(
        "listmle",
        "loss of the order: ListMLE, pairwise, or of the top ranks",
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
    """The training budget of the student and its controls: the same for all."""

    batch_size: int = setting(32, "windows or rows per step", **NUMBER)
    max_epochs: int = setting(100, "maximum number of epochs", **NUMBER)
    patience: int = setting(
        12, "epochs without a better validation score before stopping", **NUMBER
    )
    controls: tuple[str, ...] = setting(
        ("plain", "self-taught"),
        "further control students; self-taught trains one twin per fold",
        choices=CONTROLS,
    )

    def __post_init__(self) -> None:
        check(self, "training")


@dataclass(frozen=True)
class _Learning:
    """Training of a student, with a teacher or without."""

    section: ClassVar[str]

    learning_rate: float
    dropout: float
    label_smoothing: float = setting(
        0.0, "the share of a label that is spread evenly over all classes or items", **DROPOUT
    )
    weight_decay: float = setting(
        0.0, "decoupled weight decay, times the learning rate", at_least=0, at_most=1
    )

    def __post_init__(self) -> None:
        check(self, self.section)


@dataclass(frozen=True)
class TwinSettings(_Learning):
    """Training of the twin, tuned separately for a fair comparison."""

    section: ClassVar[str] = "twin"

    learning_rate: float = setting(5e-3, "Adam's learning rate for the twin", **RATE)
    dropout: float = setting(0.3, "dropout of the twin", **DROPOUT)


@dataclass(frozen=True)
class DistillationSettings(_Learning):
    """Training of the student with the teacher."""

    section: ClassVar[str] = "distillation"

    learning_rate: float = setting(2e-3, "Adam's learning rate for the student", **RATE)
    dropout: float = setting(0.0, "dropout of the student", **DROPOUT)
    temperature: float = setting(2.0, "temperature of the soft targets", above=0, at_most=1000)
    student_loss_weight: float = setting(
        0.2, "weight of the label loss; the distillation loss has the rest", at_least=0, at_most=1
    )


@dataclass(frozen=True)
class RetrievalDistillationSettings(DistillationSettings):
    """Training of a retrieval student with the teacher."""

    learning_rate: float = setting(3e-3, "Adam's learning rate for the student", **RATE)
    dropout: float = setting(0.2, "dropout of the student", **DROPOUT)
    label_smoothing: float = setting(
        0.8, "the share of a label that is spread evenly over all items", **DROPOUT
    )
    student_loss_weight: float = setting(
        0.5, "weight of the label loss; the distillation loss has the rest", at_least=0, at_most=1
    )
    cold_items_weight: float = setting(
        1.0,
        "weight of the distillation loss on cold-start items",
        at_least=0,
        at_most=1000,
    )


@dataclass(frozen=True)
class RetrievalTwinSettings(TwinSettings):
    """Training of a retrieval twin."""

    dropout: float = setting(0.4, "dropout of the twin", **DROPOUT)
    label_smoothing: float = setting(
        0.8, "the share of a label that is spread evenly over all items", **DROPOUT
    )
    exclude_seen: bool = setting(False, "whether the loss excludes items of the history")


@dataclass(frozen=True)
class ExportSettings:
    """The exported files."""

    version: int = setting(1, "the version number, a folder for TensorFlow Serving", **NUMBER)
    compress: tuple[str, ...] = setting(
        (), "compression methods in order, see docs/compression.md; empty = none"
    )

    def __post_init__(self) -> None:
        check(self, "export")


@dataclass(frozen=True)
class RetrievalExportSettings(ExportSettings):
    """The exported files of a retrieval student."""

    k: int = setting(100, "number of recommended items, fixed in the exported graph", **NUMBER)


@dataclass(frozen=True)
class EvaluationSettings:
    """Evaluation of the models."""

    k: int = setting(10, "the k of NDCG@k and other metrics", **NUMBER)
    bootstrap_samples: int = setting(
        1000, "bootstrap samples of the users for an interval", at_least=100
    )

    def __post_init__(self) -> None:
        check(self, "evaluation")


@dataclass(frozen=True)
class TwoStageEvaluationSettings(EvaluationSettings):
    """Evaluation of two stages."""

    max_lists: int = setting(
        0,
        "test users for whom the cross-encoder is evaluated; 0 = all",
        at_least=0,
    )
