"""The split data of a run, and how it is saved and loaded; `source.py` reads it from its source."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfrs_distill import columns
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.cold_items import ColdItems, choose_cold_items, split_cold_items
from tfrs_distill.data.cuts import global_time_cuts, leave_one_out_cuts, user_time_cuts
from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.ranking_examples import RankingExamples, RankingSplits
from tfrs_distill.data.split_facts import split_facts
from tfrs_distill.data.splits import Queries, Splits, split_at
from tfrs_distill.data.times import times_line
from tfrs_distill.data.train_share import Subsampled, keep_train_share
from tfrs_distill.files import whole_file
from tfrs_distill.pipeline.recipe import RankingRecipe, RetrievalRecipe
from tfrs_distill.pipeline.recipe.sections import (
    BOOKS,
    COLD_ITEMS,
    GLOBAL_TIME,
    LEAVE_ONE_OUT,
    RANDOM,
    USER_TIME,
    DataSettings,
)
from tfrs_distill.serving.attribute_vocabulary import AttributeVocabulary
from tfrs_distill.serving.word_vocabulary import WordVocabulary

TEXT, WORDS = "text", "words"  # a review's text, and its words as the student reads them
PARTS = ("train", "validation", "test")
ARRAYS = ("users", "items", "ratings", "timestamps")
TABLES_FILE, INTERACTIONS_FILE = "tables.json", "interactions.npz"
GROUPS_FILE = "user_groups.json"
ATTRIBUTES_FILE = "user_attributes.json"
VECTORS_FILE = "item_vectors.npy"
AT_RANDOM = (
    f'Set `split = "{RANDOM}"` in [data] of the recipe, which holds out random items of each user, '
    f"or use `--recipe {BOOKS}`, which does so."
)
MANY_LEFT_OUT = 0.1  # of the test positives: above it, repeated interactions may matter
CUTS = {
    USER_TIME: user_time_cuts,
    LEAVE_ONE_OUT: leave_one_out_cuts,
    GLOBAL_TIME: global_time_cuts,
    COLD_ITEMS: user_time_cuts,
    RANDOM: user_time_cuts,  # of a random order
}
PROTOCOLS = {
    USER_TIME: "Each user's interactions are in order of time: the first 80 % train, the next "
    "10 % validation, the last 10 % test.",
    LEAVE_ONE_OUT: "Each user's interactions are in order of time: the last one is the test, the "
    "one before it validation, all others train. Users with fewer than 3 are in training only.",
    GLOBAL_TIME: "The interactions are split at two times, the same for all users: the first 80 % "
    "of all train, the next 10 % validation, the last 10 % test. Users without interactions before "
    "a part are not evaluated in it.",
    COLD_ITEMS: "A quarter of the items, drawn at random, is in no training row; the texts of half "
    "of them are available in training, the others only in the test. Each user's interactions are "
    "in order of time: the first 80 % train, the next 10 % validation, the last 10 % test. Only "
    "these cold items are ranked and relevant, in validation those with texts in training.",
    RANDOM: "Each user's interactions are in random order: the first 80 % train, the next 10 % "
    "validation, the last 10 % test. The split does not use time, so the models do not predict the "
    "future: the relevant items are the user's held-out items. Student and two-tower teacher do "
    "not read the order of a history.",
    "ratings": "Each user's ratings are in order of time: the first 80 % train, the next 10 % "
    "validation, the last 10 % test. A row has the user's earlier ratings as its history.",
    "reviews": "Reviews were split at random: 80 % train, 10 % validation, 10 % test. Each review "
    "counts as a separate user, as the data has no user ids.",
    "item": "Items were split at random, with all their reviews: 80 % train, 10 % validation, 10 % "
    "test. The test items are in no training row.",
}


class KnownUsers(NamedTuple):
    """The user attributes that a student reads.

    Args:
        vocabulary: the attributes and their values by index.
        indices: int32 [num_users, num_attributes], 0 = missing.
    """

    vocabulary: AttributeVocabulary
    indices: np.ndarray

    @classmethod
    def of(cls, columns: Mapping[str, Sequence[Any]]) -> KnownUsers:
        """The users of some columns, one value per user.

        Raises:
            InputError: a column has no value for any user.
        """
        vocabulary = AttributeVocabulary.from_columns(columns)
        return cls(vocabulary, vocabulary.encode(columns))

    def with_new(self, num_users: int) -> KnownUsers:
        """The same with new users without attributes at the end; `num_users` in total."""
        behind = num_users - len(self.indices)
        return KnownUsers(self.vocabulary, np.pad(self.indices, [(0, behind), (0, 0)]))


@dataclass(frozen=True)
class RetrievalData:
    """Interactions, split in order of time or at random.

    Args:
        interactions: all of them, with raw user ids.
        splits: of the same interactions.
        settings: how they were ordered and split.
        reading: sentences about how tables were read; available only when they are read.
        user_groups: by attribute, the group of every user, "" if missing; empty if the source has
            no user attributes.
        cold: the items without training rows, if these are evaluated.
        subsampled: the remaining interactions, if the recipe keeps a share of training.
        known_users: the user attributes that the student reads; None if it reads none.
    """

    interactions: Interactions
    splits: Splits
    settings: DataSettings = DataSettings()
    reading: tuple[str, ...] = ()
    user_groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    cold: ColdItems | None = None
    subsampled: Subsampled | None = None
    known_users: KnownUsers | None = None

    @classmethod
    def of(
        cls,
        interactions: Interactions,
        recipe: RetrievalRecipe,
        reading: Sequence[str] = (),
        user_groups: Mapping[str, Sequence[str]] | None = None,
        known_users: KnownUsers | None = None,
    ) -> RetrievalData:
        """Split interactions as the recipe says; they are already in the final order.

        Raises:
            InputError: they have no timestamps, and the split needs them.
        """
        data, cold, subsampled = recipe.data, None, None
        if data.split != RANDOM:
            interactions.require_times(AT_RANDOM)
        if data.split == COLD_ITEMS:
            cold = choose_cold_items(interactions.catalogue.num_items, seed=recipe.seed)
            catalogue = replace(interactions.catalogue, exclude_seen=data.exclude_seen)
            splits = split_cold_items(
                replace(interactions, catalogue=catalogue),
                cold,
                cold.all,
                validation_targets=cold.described,  # the others have no text before the test
                max_history=data.max_history,
            )
        else:
            left, cuts = interactions, CUTS[data.split](interactions)
            if data.train_share < 1:
                subsampled = keep_train_share(interactions, cuts, data.train_share, recipe.seed)
                left, cuts = subsampled.interactions, subsampled.cuts
            splits = split_at(
                left, cuts, max_history=data.max_history, exclude_seen=data.exclude_seen
            )
        whole = replace(interactions, catalogue=splits.catalogue)
        groups = user_groups or {}
        if known_users is not None:
            splits = splits.with_user_attributes(known_users.indices)
        return cls(whole, splits, data, tuple(reading), groups, cold, subsampled, known_users)

    @property
    def protocol(self) -> str:
        """How they were split, as sentences."""
        split = PROTOCOLS[self.settings.split]
        if self.subsampled is None:
            return split
        return (
            f"{split} Of each user's training interactions, {100 * self.settings.train_share:.3g} "
            "% (at least one) were drawn at random and kept in their order; the other "
            f"{self.subsampled.num_left_out:,} are in no training row and in no history."
        )

    @property
    def catalogue(self) -> Catalogue:
        """The items."""
        return self.splits.catalogue

    @property
    def item_groups(self) -> dict[str, tuple[str, np.ndarray]]:
        """Groups of items that are evaluated separately: a description and the indices of each."""
        if self.cold is None:
            return {}
        return {
            "described": ("cold items with texts in training", self.cold.described),
            "undescribed": ("cold items with texts only in the test", self.cold.undescribed),
        }

    @property
    def known_texts(self) -> list[str]:
        """The item texts that are available in training."""
        new = set() if self.cold is None else set(self.cold.undescribed.tolist())
        texts = enumerate(self.catalogue.texts, start=1)
        return [text for item, text in texts if item not in new]

    @property
    def rows_of_teacher(self) -> Any:
        """The training windows."""
        return self.splits.train

    def facts(self) -> tuple[dict[str, Any], str]:
        """Counts for the report, the fingerprint of the training windows, and a line."""
        data, splits = self.interactions, self.splits
        facts = {
            "users": data.num_users,
            "items": splits.catalogue.num_items,
            "interactions": len(data),
            "times": times_line(data.timestamps),
            "train_labels": splits.train.num_labels,
            "validation_queries": len(splits.validation.answerable_rows),
            "test_queries": len(splits.test.answerable_rows),
            "test_positives": splits.test.num_positives,
            "test_positives_left_out": splits.test.num_left_out,
            "split": self._facts_of_split(),
            "fingerprint": splits.train.fingerprint(),
        }
        line = interactions_line(data)
        if self.subsampled is not None:
            left_out = self.subsampled.num_left_out
            facts["train_share"] = self.settings.train_share
            facts["train_interactions_left_out"] = left_out
            line += (
                f". {100 * self.settings.train_share:.3g} % of each user's training interactions "
                f"are kept, {left_out:,} are excluded"
            )
        if self.cold is not None:
            described, undescribed = len(self.cold.described), len(self.cold.undescribed)
            facts["cold_items"] = {"described": described, "undescribed": undescribed}
            line += (
                f". {described + undescribed:,} cold items, {described:,} with texts in training."
            )
        if self.reading:
            facts["reading"] = list(self.reading)
            line += f". {' '.join(self.reading)}"
        repeats = repeats_sentence(splits.test)
        if repeats:
            facts["repeats"] = repeats
            line = f"{line.rstrip('.')}. {repeats}"
        return facts, line

    def _facts_of_split(self) -> dict[str, Any]:
        kind = self.settings.split
        if kind == RANDOM:
            return {"kind": kind}
        left, cuts = self.interactions, CUTS[kind](self.interactions)
        if self.subsampled is not None:
            left, cuts = self.subsampled.interactions, self.subsampled.cuts
        facts = split_facts(left, cuts)
        return {"kind": kind, "ties": self.settings.ties, **asdict(facts)}

    def save(self, folder: Path) -> None:
        """Write the interactions and the catalogue to `folder`."""
        data = self.interactions
        arrays = {name: getattr(data, name) for name in ARRAYS}
        if data.weights is not None:
            arrays["weights"] = data.weights
        with whole_file(folder / INTERACTIONS_FILE) as file:
            np.savez(file, **arrays)
        _write_json(folder / TABLES_FILE, [data.name, data.user_ids, asdict(self.catalogue)])
        (folder / GROUPS_FILE).unlink(missing_ok=True)
        if self.user_groups:
            _write_json(folder / GROUPS_FILE, self.user_groups)
        (folder / ATTRIBUTES_FILE).unlink(missing_ok=True)
        if self.known_users is not None:
            vocabulary, indices = self.known_users
            _write_json(folder / ATTRIBUTES_FILE, [vocabulary.as_list(), indices.tolist()])

    @classmethod
    def load(cls, folder: Path, recipe: RetrievalRecipe) -> RetrievalData:
        """Read what `save` wrote to `folder`, split as when it was written."""
        groups, attributes, known = folder / GROUPS_FILE, folder / ATTRIBUTES_FILE, None
        if attributes.exists():
            described, indices = json.loads(attributes.read_text())
            known = KnownUsers(
                AttributeVocabulary.from_list(described), np.array(indices, np.int32)
            )
        return cls.of(
            read_interactions(folder),
            recipe,
            user_groups=json.loads(groups.read_text()) if groups.exists() else None,
            known_users=known,
        )


@dataclass(frozen=True)
class RankingData:
    """The rows of a ranking run.

    Args:
        splits: train, validation and test.
        vocabularies: by column, the id of index `i + 1`.
        item_vectors: attributes of each item, float32 [num_items, dim]; None if there are none.
        catalogue: the items, if they have titles and texts.
        words: the words that the student reads, if rows have a text.
        protocol: how the rows were split, as a sentence.
        times: the span of the timestamps, if the data has any.
        split: `split_facts` of a split by time.
        reading: sentences about how tables were read; available only when they are read.
    """

    splits: RankingSplits
    vocabularies: Mapping[str, tuple[str, ...]]
    item_vectors: np.ndarray | None
    catalogue: Catalogue | None
    words: WordVocabulary | None
    protocol: str
    times: str | None = None
    split: Mapping[str, float] | None = None
    reading: tuple[str, ...] = ()

    @property
    def rows_of_teacher(self) -> RankingExamples:
        """The training rows without the words, so the teacher does not depend on the words."""
        train = self.splits.train
        features = {name: values for name, values in train.features.items() if name != WORDS}
        return replace(train, features=features)

    def facts(self) -> tuple[dict[str, Any], str]:
        """Counts for the report, the fingerprint of the training rows, and a line."""
        parts = [getattr(self.splits, name) for name in PARTS]
        counts = {f"{name}_rows": len(part) for name, part in zip(PARTS, parts)}
        users = np.unique(np.concatenate([part.users for part in parts]))
        items, rows = len(self.vocabularies[columns.ITEM_ID]), sum(counts.values())
        facts = {
            **({"users": len(users)} if self.catalogue is not None else {}),
            "items": items,
            "rows": rows,
            **counts,
            "fingerprint": self.rows_of_teacher.fingerprint(),
            **({"split": dict(self.split)} if self.split else {}),
            **({"reading": list(self.reading)} if self.reading else {}),
        }
        times = f", {self.times}" if self.times else ""
        line = f"{self.splits.name}: {items:,} items, {rows:,} rows{times}"
        return facts, ". ".join([line, " ".join(self.reading)]) if self.reading else line

    def save(self, folder: Path) -> None:
        """Write the rows, without their words, and their vocabularies to `folder`."""
        texts = {}
        for name in PARTS:
            part = getattr(self.splits, name)
            texts[name] = dict(part.texts)
            arrays = {f"labels/{task}": values for task, values in part.labels.items()}
            arrays |= {
                f"features/{feature}": values
                for feature, values in part.features.items()
                if feature != WORDS
            }
            with whole_file(folder / f"{name}.npz") as file:
                np.savez_compressed(file, users=part.users, queries=part.queries, **arrays)
        (folder / VECTORS_FILE).unlink(missing_ok=True)
        if self.item_vectors is not None:
            with whole_file(folder / VECTORS_FILE) as file:
                np.save(file, self.item_vectors)
        _write_json(
            folder / TABLES_FILE,
            {
                "name": self.splits.name,
                "vocabularies": dict(self.vocabularies),
                "catalogue": self.catalogue and asdict(self.catalogue),
                "texts": texts,
                "protocol": self.protocol,
                "times": self.times,
                "split": self.split,
            },
        )

    @classmethod
    def load(cls, folder: Path, recipe: RankingRecipe) -> RankingData:
        """Read what `save` wrote to `folder`, with the words that the recipe's student reads."""
        tables = json.loads((folder / TABLES_FILE).read_text())
        catalogue = tables["catalogue"] and Catalogue(**tables["catalogue"])
        parts = {}
        for name in PARTS:
            with np.load(folder / f"{name}.npz") as file:
                arrays = dict(file)
            parts[name] = RankingExamples(
                _below("features", arrays),
                _below("labels", arrays),
                users=arrays["users"],
                queries=arrays["queries"],
                texts={key: tuple(texts) for key, texts in tables["texts"][name].items()},
                catalogue=catalogue,
            )
        vectors = folder / VECTORS_FILE
        data = cls(
            RankingSplits(tables["name"], **parts),
            {name: tuple(ids) for name, ids in tables["vocabularies"].items()},
            np.load(vectors) if vectors.exists() else None,
            catalogue,
            None,
            tables["protocol"],
            tables["times"],
            tables["split"],
        )
        return data if catalogue is not None else data.with_words(recipe)

    def with_words(self, recipe: RankingRecipe) -> RankingData:
        """The same rows with the words of their texts, as the recipe says."""
        words = WordVocabulary.from_texts(
            self.splits.train.texts[TEXT],
            min_count=recipe.words.min_count,
            max_words=recipe.words.max_words,
        )
        parts = {}
        for name in PARTS:
            part = getattr(self.splits, name)
            parts[name] = part.with_features({WORDS: words.encode(part.texts[TEXT])})
        return replace(self, splits=replace(self.splits, **parts), words=words)


def read_names(folder: Path) -> tuple[str, tuple[str, ...], Catalogue]:
    """Read the name, the user ids and the items that `RetrievalData.save` wrote to `folder`."""
    name, user_ids, catalogue = json.loads((folder / TABLES_FILE).read_text())
    return name, tuple(user_ids), Catalogue(**catalogue)


def read_interactions(folder: Path) -> Interactions:
    """Read the interactions that `RetrievalData.save` wrote to `folder`, not split."""
    name, user_ids, catalogue = read_names(folder)
    with np.load(folder / INTERACTIONS_FILE) as arrays:
        return Interactions(name, catalogue, user_ids, **arrays)


def interactions_line(data: Interactions) -> str:
    """The counts and the time span of interactions, in one line."""
    return (
        f"{data.name}: {data.num_users:,} users, {data.catalogue.num_items:,} items, "
        f"{len(data):,} interactions, {times_line(data.timestamps)}"
    )


def load_data(folder: Path, recipe: RetrievalRecipe | RankingRecipe) -> RetrievalData | RankingData:
    """Read what the data stage left in `folder`."""
    if isinstance(recipe, RankingRecipe):
        return RankingData.load(folder, recipe)
    return RetrievalData.load(folder, recipe)


def repeats_sentence(queries: Queries) -> str:
    """A warning if many relevant items are in the history; empty if there are few."""
    if queries.num_left_out <= MANY_LEFT_OUT * queries.num_positives:
        return ""
    return (
        f"{queries.num_left_out:,} of {queries.num_positives:,} test positives "
        f"({queries.num_left_out / queries.num_positives:.1%}) are in their user's history and "
        "were excluded, because items of the history are never recommended. If repeated "
        "interactions are normal in this data, as in music or shops, set exclude_seen = false in "
        "[data] of the recipe."
    )


def _below(kind: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays named `kind/NAME`, by name."""
    start = f"{kind}/"
    return {
        name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)
    }


def _write_json(path: Path, value: Any) -> None:
    with whole_file(path, "w") as file:
        json.dump(value, file)
