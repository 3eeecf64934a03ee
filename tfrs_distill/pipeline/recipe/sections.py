"""The sections of a recipe: one frozen dataclass each, every field with default, meaning, rule.

Where tasks read different settings, a section has a class for each.
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
KIND = "what the teacher is; see docs/teachers.md"
MEMBERS = "the kinds that an ensemble joins"
BY_USUAL_NAME = "; empty = found by its usual names"
MAX_HISTORY = "how many of a user's last items a model reads"
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
        (), "tables: files, or a folder of them, with a row an interaction"
    )
    items: tuple[str, ...] = setting(
        (), "tables: the same with a row an item; empty = an item's id is its title"
    )
    user_column: str = setting("", "tables: who" + BY_USUAL_NAME)
    item_column: str = setting("", "tables: what" + BY_USUAL_NAME)
    time_column: str = setting("", "tables: when" + BY_USUAL_NAME)
    rating_column: str = setting("", "tables: how it was liked" + BY_USUAL_NAME)
    id_column: str = setting("", "tables: an item's id, in `items`" + BY_USUAL_NAME)
    title_column: str = setting("", "tables: an item's title, in `items`" + BY_USUAL_NAME)
    text_columns: tuple[str, ...] = setting(
        (), "tables: an item's other texts, in `items`" + BY_USUAL_NAME
    )
    attribute_columns: tuple[str, ...] = setting(
        (), "tables: what an item is or measures, such as brand and price, in `items`"
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
                f"`data.{of_tables[0]}` is about tables. Name them as `data.interactions` "
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
    """Where the interactions and the item texts come from."""

    source: str = setting(
        FILMS,
        "real films or books, planted data whose right answer is known, or tables of your own",
        choices=(*DATA_SETS, PLANTED, TABLES),
    )
    folder: str = setting("", "a folder that holds the data; empty = fetch it")
    users: tuple[str, ...] = setting(
        (), "tables: the same with a row a user, whose groups are compared"
    )
    group_columns: tuple[str, ...] = setting(
        (),
        "tables: what groups the users, such as country, in `users`; empty = the user_attributes, "
        "or found by its usual names",
    )
    user_attributes: tuple[str, ...] = setting(
        (),
        "what the student reads of a user beside the history: of films age, gender, occupation; of "
        "books age, country; of tables columns of `users`; empty = nothing",
    )
    min_rating: float = setting(0.0, "tables: what is rated lower is left out; 0 = nothing is")
    disliked_below: float = setting(
        0.0, "what is rated lower counts against its item; 0 = nothing does"
    )
    weigh_by_rating: bool = setting(
        False, "tables: whether a label counts in the losses as much as it is rated"
    )
    max_users: int = setting(0, "users that are read, drawn at random; 0 = all", at_least=0)
    link_titles: str = setting(
        "", "a folder of the data set whose item ids the graph's links use; empty = this one"
    )
    max_history: int = setting(32, MAX_HISTORY, at_least=2)
    split: str = setting(
        USER_TIME,
        "each user's last 10 % test; or the last item; or what is later than one time for all; or "
        "a quarter of the items, which are in no training row; or a tenth of each user's by chance",
        choices=(USER_TIME, LEAVE_ONE_OUT, GLOBAL_TIME, COLD_ITEMS, RANDOM),
    )
    ties: str = setting(
        FILE_ORDER,
        "what orders a user's interactions of one time stamp: the file, or chance",
        choices=(FILE_ORDER, SHUFFLED),
    )
    train_share: float = setting(
        1.0,
        "the share of each user's training interactions that is kept, drawn at random",
        above=0,
        at_most=1,
    )
    exclude_seen: bool = setting(
        True, "never recommend what the history holds; false where people come back, as to music"
    )

    @property
    def reads_order(self) -> bool:
        """Whether the order of a history says something: not where it is of chance."""
        return self.split != RANDOM

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source == BOOKS and self.split != RANDOM and not self.folder:
            raise InputError(
                f'`data.source` "{BOOKS}" has no times: `data.split` must be "{RANDOM}". Received: '
                f'"{self.split}".'
            )
        if self.train_share < 1 and self.split == COLD_ITEMS:
            raise InputError(
                f'`data.train_share` is not of `data.split` "{COLD_ITEMS}", which holds back items '
                f"and not interactions. Received: train_share={self.train_share}. Set it to 1.0, "
                "or choose another split."
            )
        if self.group_columns and not self.users:
            raise InputError(
                "`data.group_columns` are columns of `data.users` (--users). Received: "
                f"{list(self.group_columns)} without such a table."
            )
        if self.user_attributes and not (self.users or self.source in DATA_SETS):
            raise InputError(
                "`data.user_attributes` are columns of `data.users` (--users), or what a data set "
                f"of films or books says of its users. Received: {list(self.user_attributes)} "
                f'without such a table, source="{self.source}".'
            )
        if self.min_rating and self.disliked_below and self.disliked_below <= self.min_rating:
            raise InputError(
                "`data.min_rating` (--min-rating) leaves out what is rated lower, so that nothing "
                "below `data.disliked_below` (--disliked-below) is left to count against its item. "
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
    """Where the rows of users and items come from."""

    source: str = setting(
        FILMS,
        "ratings of films, reviews of clothing with a text, or tables of your own with ratings",
        choices=(FILMS, REVIEWS, TABLES),
    )
    folder: str = setting("", "a folder (reviews: a file) that holds the data; empty = fetch it")
    liked_from: float = setting(4.0, "films and tables: `like` is a rating of so much or more")
    max_history: int = setting(100, MAX_HISTORY, at_least=2)
    split: str = setting(
        "random",
        "reviews: test rows drawn at random, or all rows of items drawn at random",
        choices=("random", "item"),
    )
    max_users: int = setting(
        0,
        "users (reviews: customers, one each) that are read, drawn at random; 0 = all",
        at_least=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source != REVIEWS and self.split != "random":
            raise InputError(
                "`data.split` is about clothing reviews; other rows are split by time. Received: "
                f'source="{self.source}", split="{self.split}".'
            )


@dataclass(frozen=True)
class _Teacher:
    """The large model: what every task's teacher has."""

    kind: str
    members: tuple[str, ...]
    source: str = setting("", "the file of an array teacher; FILE.py:FUNCTION of a python one")
    embedding_dim: int = setting(64, "the width of the item and query vectors", **NUMBER)
    dropout: float = setting(0.2, "the share of activations dropped while training", **DROPOUT)
    batch_size: int = setting(32, "windows or rows a step", **NUMBER)
    learning_rate: float = setting(1e-3, "Adam's learning rate", **RATE)
    max_epochs: int = setting(40, "passes over the training data at most", **NUMBER)
    patience: int = setting(
        4, "epochs without a better validation figure before stopping", **NUMBER
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
                "`teacher.source` is needed by the kinds array and python, and by no other. "
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
        ("text",), "what a two-tower teacher reads of an item beside its id", choices=MODALITIES
    )
    num_blocks: int = setting(1, "attention blocks over the history", **NUMBER)
    num_heads: int = setting(2, "attention heads a block; divides `embedding_dim`", **NUMBER)
    label_smoothing: float = setting(
        0.5, "two-tower: the share of a label that all items have alike", **DROPOUT
    )
    id_dropout: float = setting(
        0.0,
        "two-tower with text: the share of items whose ids are hidden while training",
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
        "deep-cross: what it reads that the student cannot have when serving",
        choices=PRIVILEGED,
    )
    num_models: int = setting(
        1, "deep-cross: models of different seeds whose probabilities are averaged", **NUMBER
    )
    num_cross_layers: int = setting(
        2, "deep-cross: layers that multiply features with each other", **NUMBER
    )
    hidden_dim: int = setting(128, "deep-cross: the width of the first dense layer", at_least=2)


@dataclass(frozen=True)
class EncoderSettings:
    """What reads the items' texts."""

    name: str = setting(
        "", "a BERT's name or folder, or a TF-Hub encoder's; empty = all-MiniLM-L6-v2"
    )
    pooling: str = setting(
        "auto",
        "how a BERT's tokens make one vector; auto = as its folder says, or mean",
        choices=("auto", "mean", "cls", "max"),
    )
    max_length: int = setting(
        0, "wordpieces that a BERT reads at once; 0 = as its folder says, or 128", at_least=0
    )
    long_texts: str = setting(
        "cut", "longer texts: cut there, or read in windows", choices=("cut", "windows")
    )
    output_key: str = setting("", "which output of a TF-Hub encoder that has several")
    preprocessor: str = setting("", "a TF-Hub encoder's model that makes its input of texts")

    def __post_init__(self) -> None:
        check(self, "encoder")
        if 0 < self.max_length < 8:
            raise InputError(
                "`encoder.max_length` must be 0, for what the encoder's folder says, or at least "
                f"8. Received: {self.max_length}."
            )


@dataclass(frozen=True)
class TuningSettings:
    """How the teacher's BERT is adapted to the catalogue; only a two-tower's text is."""

    method: str = setting("none", "which of BERT's weights train, if any", choices=TUNING_METHODS)
    layers: int = setting(1, "top-layers: how many, from the top", **NUMBER)
    layer_decay: float = setting(
        0.9, "all-layers: each layer's learning rate over the next one's", above=0, at_most=1
    )
    rank: int = setting(8, "lora: the rank of what is added to a matrix", **NUMBER)
    width: int = setting(16, "adapters: the width of the bottleneck", **NUMBER)
    length: int = setting(16, "prefix: learned vectors before the text, a layer", **NUMBER)
    steps: int = setting(300, "steps of tuning", **NUMBER)
    batch_size: int = setting(8, "windows a step", **NUMBER)
    num_negatives: int = setting(128, "items drawn beside a step's own", **NUMBER)
    learning_rate: float = setting(
        0.0, "Adam's learning rate; 0 = what suits the method", at_least=0, at_most=1
    )
    pretrain_steps: int = setting(
        0, "steps of masked-language-model training on the item texts before; 0 = none", at_least=0
    )

    def __post_init__(self) -> None:
        check(self, "tuning")


@dataclass(frozen=True)
class TransferSettings:
    """What the models learnt from other data before."""

    run: str = setting(
        "",
        "the folder of a finished run, such as saved_models/ml-1m, whose models this run's start "
        "from; empty = none",
    )
    same_items: str = setting(
        TITLES,
        "how an item of both is recognised: by its title, upper or lower case, or its id; or none",
        choices=(TITLES, IDS, NO_ITEMS),
    )
    trains: str = setting(
        ALL,
        "what of the two-tower teacher is trained on this run's data: all; the items' ids and a "
        "low-rank adapter of the text projection; or nothing",
        choices=(ALL, ADAPTERS, NOTHING),
    )
    adapter_rank: int = setting(8, "adapters: the rank of what is added to a matrix", **NUMBER)

    def __post_init__(self) -> None:
        check(self, "transfer")


@dataclass(frozen=True)
class CrossEncoderSettings:
    """The second stage of a cross-encoder teacher: it orders what a two-tower found."""

    num_candidates: int = setting(20, "items of a row that it reads and orders", at_least=2)
    max_history_items: int = setting(5, "items of the history that it reads", **NUMBER)
    max_length: int = setting(64, "wordpieces of history and candidate together", at_least=8)
    first_stage_weight: float = setting(
        1.0, "how much the two-tower still says about the order", at_least=0, at_most=100
    )
    steps: int = setting(500, "training steps", **NUMBER)
    batch_size: int = setting(8, "rows a training step", **NUMBER)
    num_negatives: int = setting(7, "items that a training row is compared with", **NUMBER)
    learning_rate: float = setting(5e-5, "Adam's learning rate", **RATE)

    def __post_init__(self) -> None:
        check(self, "cross_encoder")


@dataclass(frozen=True)
class KnowledgeSettings:
    """What is kept of the teacher's logits of the training data."""

    folds: int = setting(
        8, "parts of the users, each labelled by a teacher that never saw it", at_least=2
    )
    top_k: int = setting(
        350,
        "the teacher's best items kept for each position; of fewer items all but one",
        **NUMBER,
    )
    form: str = setting(
        "auto",
        "exact logits from embeddings, or the top-K and the rest's sum; auto = exact if it can be",
        choices=("auto", "embeddings", "top_k"),
    )
    generated_per_window: int = setting(
        0,
        "histories for each training window that the teacher continues and alone labels, where "
        "there is little data; the top-K of all is read then",
        at_least=0,
    )

    def __post_init__(self) -> None:
        check(self, "knowledge")
        if self.generated_per_window and self.form == "embeddings":
            raise InputError(
                "`knowledge.generated_per_window` are labelled by another teacher than the "
                "training windows, so their exact logits cannot be read. Received: "
                f'{self.generated_per_window} with form="embeddings". Set `knowledge.form` to '
                '"top_k" or "auto".'
            )


@dataclass(frozen=True)
class RankingKnowledgeSettings:
    """Which rows the teacher labels."""

    folds: int = setting(
        4, "parts of the rows, each labelled by a teacher that never saw it", at_least=2
    )
    by: str = setting(
        "row", "a part is whole users, or rows drawn at random", choices=("user", "row")
    )
    unlabelled_per_row: int = setting(
        0,
        "rows of other items for each training row, which the teacher alone labels",
        at_least=0,
    )

    def __post_init__(self) -> None:
        check(self, "knowledge")


@dataclass(frozen=True)
class StudentSettings:
    """The small model that recommends; its twin is the same."""

    embedding_dim: int = setting(32, "the width of the item and query vectors", **NUMBER)

    def __post_init__(self) -> None:
        check(self, "student")


@dataclass(frozen=True)
class RankingStudentSettings(StudentSettings):
    """The small model that predicts labels of rows, or orders candidates; its twin is the same."""

    embedding_dim: int = setting(16, "the width of the item and query vectors", **NUMBER)
    num_cross_layers: int = setting(2, "layers that multiply features with each other", **NUMBER)
    hidden_dim: int = setting(32, "the width of the first dense layer", at_least=2)


@dataclass(frozen=True)
class ItemTextsSettings:
    """What the student reads of the items' texts, to recommend items that nobody has met."""

    read: bool = setting(True, "whether the student has a text tower beside the items' ids")
    num_common: int = setting(
        300,
        "word pieces with a vector beside those of the known texts: the BERT's commonest",
        at_least=0,
    )
    piece_dim: int = setting(16, "the width of a word piece's vector, made of the BERT's", **NUMBER)
    max_pieces: int = setting(32, "word pieces read of a text", **NUMBER)
    id_dropout: float = setting(
        0.1, "the share of items whose ids are hidden while training", **DROPOUT
    )
    dropout: float = setting(
        0.1, "the share of a text's word pieces left out while training", **DROPOUT
    )

    def __post_init__(self) -> None:
        check(self, "item_texts")


@dataclass(frozen=True)
class WordsSettings:
    """The words that a student reads of a review."""

    min_count: int = setting(
        10, "how often the training texts must have a word for it to get a vector", **NUMBER
    )
    max_words: int = setting(128, "words read of a text", **NUMBER)
    num_bigram_buckets: int = setting(
        16384,
        "pairs of neighbouring words share this many vectors; 0 = pairs are not read",
        at_least=0,
    )
    embedding_dim: int = setting(16, "the width of a word's vector", **NUMBER)

    def __post_init__(self) -> None:
        check(self, "words")


@dataclass(frozen=True)
class LabelsSettings:
    """What a student predicts of a row."""

    tasks: tuple[str, ...] = setting(
        (LIKE, RATING),
        "what is predicted of a row; the first one gives the verdict",
        choices=(LIKE, RATING, RECOMMENDED, NEXT_ITEM),
    )
    rating_as: str = setting(
        "distribution",
        "a rating is one number, steps on a ladder, or a distribution over its values",
        choices=("regression", "ordinal", "distribution"),
    )
    balance: str = setting(
        "fixed",
        "how the tasks' losses are weighed: equally, by learnt uncertainty, by gradient norm",
        choices=("fixed", "uncertainty", "gradient-norm"),
    )

    def __post_init__(self) -> None:
        check(self, "labels")
        if not self.tasks:
            raise InputError("`labels.tasks` must name at least one task. Received: [].")


@dataclass(frozen=True)
class ListsSettings:
    """The candidate lists that the second of two stages orders."""

    num_candidates: int = setting(
        100, "items that the first stage finds for the second", at_least=2
    )
    list_size: int = setting(50, "items of a training list", at_least=2)
    num_lists: int = setting(4000, "training lists, at positions drawn evenly", at_least=10)
    num_ordered_lists: int = setting(
        400,
        "how many of them the cross-encoder orders; item-item weights order all",
        at_least=10,
    )
    max_history: int = setting(
        64, "latest items of the history that the second stage reads", at_least=1
    )
    num_neighbours: int = setting(
        20, "neighbours of an item that the second stage looks for in the history", at_least=1
    )
    list_loss: str = setting(
        "listmle",
        "what the student learns of an order: its likelihood, its pairs, or its top ranks",
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
    """The budget of the student and of those it is measured beside: the same for all."""

    batch_size: int = setting(32, "windows or rows a step", **NUMBER)
    max_epochs: int = setting(100, "passes over the training data at most", **NUMBER)
    patience: int = setting(
        12, "epochs without a better validation figure before stopping", **NUMBER
    )
    controls: tuple[str, ...] = setting(
        ("plain", "self-taught"),
        "students that show what is not the teacher's knowledge; self-taught trains a twin a fold",
        choices=CONTROLS,
    )

    def __post_init__(self) -> None:
        check(self, "training")


@dataclass(frozen=True)
class _Learning:
    """How a student learns, with a teacher or without one."""

    section: ClassVar[str]

    learning_rate: float
    dropout: float
    label_smoothing: float = setting(
        0.0, "the share of a label that all classes or items have alike", **DROPOUT
    )
    weight_decay: float = setting(
        0.0, "what a step takes off every weight, times the learning rate", at_least=0, at_most=1
    )

    def __post_init__(self) -> None:
        check(self, self.section)


@dataclass(frozen=True)
class TwinSettings(_Learning):
    """How the twin learns without a teacher: its own best, so that the comparison is fair."""

    section: ClassVar[str] = "twin"

    learning_rate: float = setting(5e-3, "Adam's learning rate for the twin", **RATE)
    dropout: float = setting(0.3, "the share of entries dropped for the twin", **DROPOUT)


@dataclass(frozen=True)
class DistillationSettings(_Learning):
    """How the student learns from the teacher."""

    section: ClassVar[str] = "distillation"

    learning_rate: float = setting(2e-3, "Adam's learning rate for the student", **RATE)
    dropout: float = setting(0.0, "the share of entries dropped for the student", **DROPOUT)
    temperature: float = setting(2.0, "higher = softer targets", above=0, at_most=1000)
    student_loss_weight: float = setting(
        0.2, "the labels' share of the loss; the teacher has the rest", at_least=0, at_most=1
    )


@dataclass(frozen=True)
class RetrievalDistillationSettings(DistillationSettings):
    """How the student learns to find items from the teacher."""

    learning_rate: float = setting(3e-3, "Adam's learning rate for the student", **RATE)
    dropout: float = setting(0.2, "the share of entries dropped for the student", **DROPOUT)
    label_smoothing: float = setting(
        0.8, "the share of a label that all items have alike", **DROPOUT
    )
    student_loss_weight: float = setting(
        0.5, "the labels' share of the loss; the teacher has the rest", at_least=0, at_most=1
    )
    cold_items_weight: float = setting(
        1.0,
        "how much the teacher's order of the cold items counts beside all else",
        at_least=0,
        at_most=1000,
    )


@dataclass(frozen=True)
class RetrievalTwinSettings(TwinSettings):
    """How the twin learns to find items without a teacher."""

    dropout: float = setting(0.4, "the share of entries dropped for the twin", **DROPOUT)
    label_smoothing: float = setting(
        0.8, "the share of a label that all items have alike", **DROPOUT
    )
    exclude_seen: bool = setting(
        False, "whether the loss leaves out the items that the history holds"
    )


@dataclass(frozen=True)
class ExportSettings:
    """What is written for serving and for devices."""

    version: int = setting(1, "the version's folder, as TF Serving wants it", **NUMBER)
    compress: tuple[str, ...] = setting(
        (), "what is done to the student before, in order; see docs/compression.md; empty = nothing"
    )

    def __post_init__(self) -> None:
        check(self, "export")


@dataclass(frozen=True)
class RetrievalExportSettings(ExportSettings):
    """What is written of a student that recommends."""

    k: int = setting(100, "items a query returns; fixed inside the exported graph", **NUMBER)


@dataclass(frozen=True)
class EvaluationSettings:
    """How the models are measured."""

    k: int = setting(10, "the k of NDCG@k and the other metrics", **NUMBER)
    bootstrap_samples: int = setting(1000, "resamples of the users for an interval", at_least=100)

    def __post_init__(self) -> None:
        check(self, "evaluation")


@dataclass(frozen=True)
class TwoStageEvaluationSettings(EvaluationSettings):
    """How two stages are measured."""

    max_lists: int = setting(
        0,
        "test users whose candidates the cross-encoder orders beside the student; 0 = all",
        at_least=0,
    )
