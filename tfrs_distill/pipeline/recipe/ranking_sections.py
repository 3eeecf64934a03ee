"""The sections that only recipes with a ranking student read."""

from __future__ import annotations

from dataclasses import dataclass

from tfrs_distill.errors import InputError
from tfrs_distill.pipeline.recipe.sections import LABELLED, NUMBER
from tfrs_distill.pipeline.recipe.settings import check, setting

TASKS_OF_A_ROW = ("like", "rating", "recommended", "next_item")
TWO_STAGE = ("two-stage",)


@dataclass(frozen=True)
class RankingSettings:
    """What the ranking student predicts, and of what."""

    tasks: tuple[str, ...] = setting(
        ("like", "rating"),
        "what is predicted of a row; the first one gives the verdict",
        choices=TASKS_OF_A_ROW,
        tasks=LABELLED,
    )
    rating_as: str = setting(
        "distribution",
        "a rating is one number, steps on a ladder, or a distribution over its values",
        choices=("regression", "ordinal", "distribution"),
        tasks=LABELLED,
    )
    balance: str = setting(
        "fixed",
        "how the tasks' losses are weighed: equally, by learnt uncertainty, by gradient norm",
        choices=("fixed", "uncertainty", "gradient-norm"),
        tasks=LABELLED,
    )
    unlabelled_per_row: int = setting(
        0,
        "rows of other items for each training row, which the teacher alone labels",
        at_least=0,
        tasks=LABELLED,
    )
    num_candidates: int = setting(
        100, "items that the first stage finds for the second", tasks=TWO_STAGE, at_least=2
    )
    list_size: int = setting(50, "items of a training list", tasks=TWO_STAGE, at_least=2)
    num_lists: int = setting(
        4000, "training lists, at positions drawn evenly", tasks=TWO_STAGE, at_least=10
    )
    num_ordered_lists: int = setting(
        400,
        "how many of them the cross-encoder orders; item-item weights order all",
        tasks=TWO_STAGE,
        at_least=10,
    )
    max_history: int = setting(
        64, "latest items of the history that the second stage reads", tasks=TWO_STAGE, at_least=1
    )
    num_neighbours: int = setting(
        20,
        "neighbours of an item that the second stage looks for in the history",
        tasks=TWO_STAGE,
        at_least=1,
    )
    list_loss: str = setting(
        "listmle",
        "what the student learns of an order: its likelihood, its pairs, or its top ranks",
        choices=("listmle", "pairwise", "ranks"),
        tasks=TWO_STAGE,
    )

    @property
    def of_labels(self) -> dict[str, object]:
        """The settings that decide how labels are predicted; lists of candidates stay out of it."""
        return {"tasks": self.tasks, "rating_as": self.rating_as, "balance": self.balance}

    def __post_init__(self) -> None:
        check(self, "ranking")
        if not self.tasks:
            raise InputError("`ranking.tasks` must name at least one task. Received: [].")


@dataclass(frozen=True)
class WordsSettings:
    """The words that a student reads of a text."""

    min_count: int = setting(
        10, "how often the training texts must have a word that is told from others", **NUMBER
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
