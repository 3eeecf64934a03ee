"""Stage 1 of a ranking run: the rows, and what the indices in them stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill import columns
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.clothing_reviews import (
    ClothingReviews,
    clothing_reviews,
    split_reviews,
    split_reviews_by_item,
)
from tfrs_distill.data.movielens import movielens_100k
from tfrs_distill.data.movielens_ranking import movielens_ranking
from tfrs_distill.data.ranking_examples import RankingExamples, RankingSplits
from tfrs_distill.data.split_facts import split_facts
from tfrs_distill.files import files_sha256
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.serving.word_vocabulary import WordVocabulary

TEXT, WORDS = "text", "words"  # a review's text, and its words as the student reads them
PROTOCOLS = {
    "movielens-100k": "Each user's ratings stand in order of time: the first 80 % train, the next "
    "10 % validate, the last 10 % test. A row knows what its user did before it.",
    "random": "Reviews were dealt at random: 80 % train, 10 % validate, 10 % test. A review is its "
    "own user: the data names none.",
    "item": "Items were dealt at random, with all their reviews: 80 % train, 10 % validate, 10 % "
    "test. No model has met an item of the test.",
}


@dataclass(frozen=True)
class RankingData:
    """The rows of a ranking run.

    Args:
        splits: train, validation and test.
        vocabularies: by column, what index `i + 1` stands for.
        item_vectors: what is known of each item, float32 [num_items, dim], where that is known.
        catalogue: the items, where they have titles and texts.
        words: the words that the student reads, where rows have a text.
        protocol: how the rows were split, in words.
        times: what the data's timestamps were taken for, where it has some.
    """

    splits: RankingSplits
    vocabularies: Mapping[str, tuple[str, ...]]
    item_vectors: np.ndarray | None
    catalogue: Catalogue | None
    words: WordVocabulary | None
    protocol: str
    times: str | None = None

    @property
    def rows_of_teacher(self) -> RankingExamples:
        """The training rows without the words, so that other words leave the teacher as it is."""
        train = self.splits.train
        return replace(
            train, features={name: told for name, told in train.features.items() if name != WORDS}
        )

    def facts(self) -> dict[str, Any]:
        """Counts for the report, and the fingerprint of what is learnt from."""
        parts = (self.splits.train, self.splits.validation, self.splits.test)
        counts = {
            f"{name}_rows": len(part) for name, part in zip(("train", "validation", "test"), parts)
        }
        users = len(set().union(*(np.unique(part.users).tolist() for part in parts)))
        of_people = {"users": users} if self.catalogue is not None else {}
        return {
            **of_people,
            "items": len(self.vocabularies[columns.ITEM_ID]),
            "rows": sum(counts.values()),
            **counts,
            "fingerprint": self.rows_of_teacher.fingerprint(),
        }


def ranking_source_fingerprint(recipe: Recipe) -> str:
    """What decides the rows: the source's name, or the content of the files that are given."""
    if not recipe.data.folder:
        return recipe.data.source
    path = Path(recipe.data.folder)
    files = [path] if path.is_file() else sorted(f for f in path.glob("*") if f.is_file())
    return files_sha256(files)


def read_ranking_data(recipe: Recipe) -> RankingData:
    """Read the recipe's rows.

    Raises:
        InputError: the data cannot be read or fetched.
    """
    if recipe.data.source == "clothing-reviews":
        return _reviews(recipe)
    splits, tables = movielens_ranking(
        recipe.data.folder or None, max_history=recipe.data.max_history
    )
    some = _some_users(splits.train.users, recipe)
    parts = {
        name: part.subset(np.isin(part.users, some))
        for name in ("train", "validation", "test")
        for part in [getattr(splits, name)]
    }
    return RankingData(
        replace(splits, **parts),
        tables.vocabularies,
        tables.item_vectors,
        tables.catalogue,
        None,
        PROTOCOLS["movielens-100k"],
        tables.times,
    )


def facts_of_split(recipe: Recipe, data: RankingData) -> dict[str, Any]:
    """The limits of a split by time, see `split_facts`; none of reviews, which are not split so."""
    if data.catalogue is None:
        return {}
    films = movielens_100k(recipe.data.folder or None)
    kept = np.isin(films.users + 1, np.unique(data.splits.train.users))
    columns_kept = {
        name: getattr(films, name)[kept] for name in ("users", "items", "ratings", "timestamps")
    }
    return {"split": asdict(split_facts(replace(films, **columns_kept)))}


def _some_users(users: np.ndarray, recipe: Recipe) -> np.ndarray:
    """The users whose rows are read: all, or as many as the recipe says, drawn evenly."""
    names = np.unique(users)
    most = recipe.data.max_users or len(names)
    return np.random.default_rng(recipe.seed).permutation(names)[:most]


def _reviews(recipe: Recipe) -> RankingData:
    reviews = clothing_reviews(recipe.data.folder or None)
    some = _some_users(reviews.examples.users, recipe)
    reviews = ClothingReviews(
        reviews.examples.subset(np.isin(reviews.examples.users, some)), reviews.vocabularies
    )
    split = split_reviews_by_item if recipe.data.split == "item" else split_reviews
    splits = split(reviews, recipe.seed)
    named = recipe.words
    words = WordVocabulary.from_texts(
        splits.train.texts[TEXT], min_count=named.min_count, max_words=named.max_words
    )
    parts = {
        name: part.with_features({WORDS: words.encode(part.texts[TEXT])})
        for name in ("train", "validation", "test")
        for part in [getattr(splits, name)]
    }
    return RankingData(
        replace(splits, **parts),
        reviews.vocabularies,
        None,
        None,
        words,
        PROTOCOLS[recipe.data.split],
    )
