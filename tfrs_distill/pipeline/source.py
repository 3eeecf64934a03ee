"""The source of a recipe's data: its tables, its folder or a fetched asset, read and split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfrs_distill.data.assets import BOOK_CROSSING, MOVIELENS_1M, MOVIELENS_100K
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.clothing_reviews import (
    ClothingReviews,
    clothing_reviews,
    split_reviews,
    split_reviews_by_item,
)
from tfrs_distill.data.interactions import Interactions, dislikes_sentence
from tfrs_distill.data.item_features import ItemAttributes, item_attributes
from tfrs_distill.data.movielens import movielens_100k
from tfrs_distill.data.rated_rows import split_ratings
from tfrs_distill.data.readers import read_folder
from tfrs_distill.data.readers.user_attributes import read_user_attributes
from tfrs_distill.data.split_facts import split_facts
from tfrs_distill.data.synthetic import synthetic
from tfrs_distill.data.tables.items_table import read_item_attributes
from tfrs_distill.data.tables.read import TableFacts, interactions_of_tables
from tfrs_distill.data.tables.roles import ATTRIBUTE, GROUP
from tfrs_distill.data.tables.users_table import can_be_groups, read_user_columns, read_user_groups
from tfrs_distill.errors import InputError
from tfrs_distill.files import file_sha256, files_sha256
from tfrs_distill.pipeline.data import PROTOCOLS, KnownUsers, RankingData, RetrievalData
from tfrs_distill.pipeline.recipe import RankingRecipe, RetrievalRecipe
from tfrs_distill.pipeline.recipe.sections import (
    BOOKS,
    COLUMNS_OF_TABLES,
    FILMS,
    FILMS_1M,
    LIKE,
    RANDOM,
    RATING,
    REVIEWS,
    SHUFFLED,
)

ASSETS = {FILMS: MOVIELENS_100K, FILMS_1M: MOVIELENS_1M, BOOKS: BOOK_CROSSING}
SHOWN = 6  # names in a sentence


def source_fingerprint(recipe: RetrievalRecipe | RankingRecipe) -> str:
    """The identity of the data: the source's name, or the content of the given files."""
    if recipe.data.interactions:
        users = getattr(recipe.data, "users", ())
        tables = [*recipe.data.interactions, *recipe.data.items, *users]
        return "".join(map(table_sha256, tables))
    return table_sha256(recipe.data.folder) if recipe.data.folder else recipe.data.source


def table_sha256(table: str) -> str:
    """Return the sha256 of a file's content, or of the files of a folder.

    Raises:
        InputError: it does not exist.
    """
    path = Path(table)
    if not path.exists():
        raise InputError(f"{path} does not exist. Give a file or a folder with the data.")
    if path.is_file():
        return file_sha256(path)
    return files_sha256(sorted(f for f in path.glob("*") if f.is_file()))


def read_data(recipe: RetrievalRecipe | RankingRecipe) -> RetrievalData | RankingData:
    """Read the recipe's data from its source.

    Raises:
        InputError: the data cannot be read or fetched.
    """
    if isinstance(recipe, RankingRecipe):
        return _reviews(recipe) if recipe.data.source == REVIEWS else _ratings(recipe)
    reading: list[str] = []
    groups: Mapping[str, Sequence[str]] = {}
    columns: Mapping[str, Sequence[Any]] = {}
    attributes = None
    if recipe.data.interactions:
        data, facts = read_tables(recipe)
        reading = facts.sentences()
    elif recipe.data.source == "synthetic":
        data = synthetic(seed=recipe.seed)
    else:
        folder = source_folder(recipe)  # fetched and checked if necessary
        data, attributes = read_folder(folder), read_user_attributes(folder)
    if recipe.data.disliked_below and not recipe.data.interactions:  # done for tables already
        rated = data.ratings > 0  # 0 = no rating, as in Book-Crossing
        disliked = rated & (data.ratings < recipe.data.disliked_below)
        data = data.with_dislikes(disliked)
        reading.append(dislikes_sentence(disliked, recipe.data.disliked_below))
    if recipe.data.max_users:
        data = data.of_some_users(recipe.data.max_users, recipe.seed)
    if recipe.data.split == RANDOM:
        data = data.in_random_order(recipe.seed)
    elif recipe.data.ties == SHUFFLED:
        data = data.shuffle_ties(recipe.seed)
    if attributes is not None:
        groups, columns = attributes.groups(data.user_ids), attributes.columns(data.user_ids)
    elif recipe.data.interactions:
        others = read_other_tables(recipe, data)
        groups, columns = others.groups, others.columns_of_users
        reading += others.sentences
    known = None
    if recipe.data.user_attributes:
        known = _known_users(recipe, columns)
        names = zip(known.vocabulary.names, known.vocabulary.sizes)
        values = ", ".join(f"{name} ({size} values)" for name, size in names)
        reading.append(f"User attributes that the student reads: {values}.")
    return RetrievalData.of(data, recipe, reading, groups, known)


def _known_users(recipe: RetrievalRecipe, columns: Mapping[str, Sequence[Any]]) -> KnownUsers:
    """The user attributes that the recipe names.

    Raises:
        InputError: the source lacks one of them.
    """
    missing = [name for name in recipe.data.user_attributes if name not in columns]
    if missing:
        there = f"has {', '.join(columns)}" if columns else "has no user attributes"
        raise InputError(
            f"`data.user_attributes` must be attributes of the source's users. Received: "
            f"{missing[0]!r}, but {recipe.data.folder or recipe.data.source} {there}."
        )
    return KnownUsers.of({name: columns[name] for name in recipe.data.user_attributes})


def read_tables(recipe: RetrievalRecipe | RankingRecipe) -> tuple[Interactions, TableFacts]:
    """Read the recipe's tables, and return facts about how their rows were read.

    Raises:
        InputError: as for `td.data.read_table`, or ratings are predicted and there are none.
    """
    data = recipe.data
    columns = {
        role: getattr(data, setting)
        for role, setting in COLUMNS_OF_TABLES.items()
        if role not in (ATTRIBUTE, GROUP)
    }
    rated: dict[str, Any]
    if isinstance(recipe, RankingRecipe):
        rated = {"rated_only": bool({LIKE, RATING} & set(recipe.labels.tasks))}
    else:
        rated = {
            "min_rating": recipe.data.min_rating or None,
            "disliked_below": recipe.data.disliked_below or None,
            "weigh_by_rating": recipe.data.weigh_by_rating,
            "in_order": recipe.data.reads_order,
        }
    return interactions_of_tables(
        list(data.interactions),
        list(data.items) or None,
        columns={role: column for role, column in columns.items() if column},
        name=recipe.name,
        **rated,
    )


class OtherTables(NamedTuple):
    """Attributes of items and users in tables.

    Args:
        attributes: of the items; None if no column is named.
        groups: of the users by column, see `read_user_groups`.
        columns_of_users: those that the student reads, see `read_user_columns`.
        sentences: a description of these.
    """

    attributes: ItemAttributes | None
    groups: Mapping[str, Sequence[str]]
    columns_of_users: Mapping[str, Sequence[Any]]
    sentences: list[str]


def read_other_tables(recipe: RetrievalRecipe | RankingRecipe, data: Interactions) -> OtherTables:
    """Read the attributes of items and users in the recipe's tables.

    Raises:
        InputError: a table is invalid, or has none of the users or not all of the items.
    """
    attributes, sentences = None, []
    groups: Mapping[str, Sequence[str]] = {}
    of_users: Mapping[str, Sequence[Any]] = {}
    if recipe.data.attribute_columns:
        attributes = item_attributes_of(recipe, data.catalogue)
        kinds = [*attributes.number_names, *attributes.label_names]
        sentences.append(f"Attributes of the items: {_some(kinds)}.")
    if isinstance(recipe, RetrievalRecipe) and recipe.data.users:
        table, user_column = list(recipe.data.users), recipe.data.user_column or None
        compared: Sequence[str] = recipe.data.group_columns
        if recipe.data.user_attributes:
            of_users = read_user_columns(
                table, data.user_ids, recipe.data.user_attributes, user_column=user_column
            )
            compared = compared or [name for name in of_users if can_be_groups(of_users[name])]
        if compared or not recipe.data.user_attributes:
            groups = read_user_groups(table, data.user_ids, compared, user_column=user_column)
    if groups:
        kinds = [f"{name} ({_some(sorted(set(of) - {''}))})" for name, of in groups.items()]
        sentences.append(f"Groups of the users: {'; '.join(kinds)}.")
    return OtherTables(attributes, groups, of_users, sentences)


def item_attributes_of(
    recipe: RetrievalRecipe | RankingRecipe, catalogue: Catalogue
) -> ItemAttributes:
    """Return the item attributes of the recipe's source.

    Raises:
        InputError: they cannot be read, or an item is missing.
    """
    data = recipe.data
    if not data.interactions:
        return item_attributes(source_folder(recipe), catalogue)
    return read_item_attributes(
        list(data.items),
        catalogue,
        data.attribute_columns,
        id_column=data.id_column or None,
        item_column=data.item_column or None,
    )


def source_folder(recipe: RetrievalRecipe | RankingRecipe) -> Path:
    """Return where the recipe's films or books are: in the folder it names, or fetched.

    Raises:
        InputError: they cannot be fetched.
    """
    return Path(recipe.data.folder or ASSETS[recipe.data.source].folder())


def _ratings(recipe: RankingRecipe) -> RankingData:
    named = recipe.data
    reading: list[str] = []
    users = None
    if named.interactions:
        data, facts_of_tables = read_tables(recipe)
        others = read_other_tables(recipe, data)
        items = others.attributes
        reading = facts_of_tables.sentences() + others.sentences
    else:
        data = movielens_100k(source_folder(recipe))
        items = item_attributes_of(recipe, data.catalogue)
        users = read_user_attributes(source_folder(recipe))
    data.require_times(
        "The rows of a rating model must be in order of time. Use a retrieval recipe with "
        f'`split = "{RANDOM}"` in [data], such as `--recipe {BOOKS}`.'
    )
    if named.max_users:
        data = data.of_some_users(named.max_users, recipe.seed)
    if named.interactions and LIKE in recipe.labels.tasks:
        liked = float((data.ratings >= named.liked_from).mean())
        reading.append(f"{liked:.0%} of the ratings are {named.liked_from:g} or more: likes.")
    splits, tables = split_ratings(
        data,
        max_history=named.max_history,
        liked_from=named.liked_from,
        items=items,
        users=users,
    )
    facts = split_facts(data)  # here every row is tested, including a user's first one
    return RankingData(
        splits,
        tables.vocabularies,
        tables.item_vectors,
        tables.catalogue,
        None,
        PROTOCOLS["ratings"],
        tables.times,
        {key: getattr(facts, key) for key in ("train_after_test", "tests_cut_in_one_time")},
        tuple(reading),
    )


def _reviews(recipe: RankingRecipe) -> RankingData:
    reviews = clothing_reviews(recipe.data.folder or None)
    if recipe.data.max_users:
        names = np.random.default_rng(recipe.seed).permutation(np.unique(reviews.examples.users))
        some = np.isin(reviews.examples.users, names[: recipe.data.max_users])
        reviews = ClothingReviews(reviews.examples.subset(some), reviews.vocabularies)
    split = split_reviews_by_item if recipe.data.split == "item" else split_reviews
    splits = split(reviews, recipe.seed)
    protocol = PROTOCOLS["item" if recipe.data.split == "item" else "reviews"]
    data = RankingData(splits, reviews.vocabularies, None, None, None, protocol)
    return data.with_words(recipe)


def _some(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"
