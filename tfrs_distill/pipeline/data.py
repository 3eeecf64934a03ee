"""The data of a run, split, and the arrays that are kept of it; `source.py` reads it first."""

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
    f'Set `split = "{RANDOM}"` in [data] of the recipe, which holds back items of each user by '
    f"chance, or take `--recipe {BOOKS}`, which does."
)
MANY_LEFT_OUT = 0.1  # of the test positives: from here on people may be coming back
CUTS = {
    USER_TIME: user_time_cuts,
    LEAVE_ONE_OUT: leave_one_out_cuts,
    GLOBAL_TIME: global_time_cuts,
    COLD_ITEMS: user_time_cuts,
    RANDOM: user_time_cuts,  # of an order of chance
}
PROTOCOLS = {
    USER_TIME: "Each user's interactions stand in order of time: the first 80 % train, the next "
    "10 % validate, the last 10 % test.",
    LEAVE_ONE_OUT: "Each user's interactions stand in order of time: the last one tests, the one "
    "before it validates, all others train. Who has fewer than 3 only trains.",
    GLOBAL_TIME: "Two times, the same for all users, part the interactions: the first 80 % of all "
    "train, the next 10 % validate, the last 10 % test. Who has nothing before a part is not asked "
    "in it.",
    COLD_ITEMS: "A quarter of the items, drawn at random, is in no training row; the texts of half "
    "of them are known while training, the others come with the test. Each user's interactions "
    "stand in order of time: the first 80 % train, the next 10 % validate, the last 10 % test. "
    "Only these cold items are ranked and to be found, in validation those whose texts are known.",
    RANDOM: "Each user's interactions stand in an order of chance: the first 80 % train, the next "
    "10 % validate, the last 10 % test. There is no time in it, so no future is predicted: what is "
    "to be found are the items of a user that were held back. Student and two-tower teacher do not "
    "read the order of a history.",
    "ratings": "Each user's ratings stand in order of time: the first 80 % train, the next "
    "10 % validate, the last 10 % test. A row knows what its user did before it.",
    "reviews": "Reviews were split at random: 80 % train, 10 % validate, 10 % test. A review is "
    "its own user: the data names none.",
    "item": "Items were split at random, with all their reviews: 80 % train, 10 % validate, 10 % "
    "test. No model has met an item of the test.",
}


class KnownUsers(NamedTuple):
    """What a student reads of users.

    Args:
        vocabulary: the attributes, and what their indices mean.
        indices: int32 [num_users, num_attributes], 0 where nothing is known.
    """

    vocabulary: AttributeVocabulary
    indices: np.ndarray

    @classmethod
    def of(cls, columns: Mapping[str, Sequence[Any]]) -> KnownUsers:
        """The users of some columns, one value a user.

        Raises:
            InputError: a column is known of nobody.
        """
        vocabulary = AttributeVocabulary.from_columns(columns)
        return cls(vocabulary, vocabulary.encode(columns))

    def with_new(self, num_users: int) -> KnownUsers:
        """The same with users behind of whom nothing is known, `num_users` together."""
        behind = num_users - len(self.indices)
        return KnownUsers(self.vocabulary, np.pad(self.indices, [(0, behind), (0, 0)]))


@dataclass(frozen=True)
class RetrievalData:
    """Interactions, split in order of time or of chance.

    Args:
        interactions: whole; for raw user ids.
        splits: of the same interactions.
        settings: how they were ordered and split.
        reading: what became of the rows of tables, a sentence each; while they are read, not later.
        user_groups: by attribute, the group of every user, "" where it is not known; empty where
            the source says nothing of its users.
        cold: the items that are in no training row, where they are what is asked for.
        subsampled: what is left of the interactions, where the recipe keeps a share of training.
        known_users: what the student reads of the users; None where it reads nothing.
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
        """Split interactions as the recipe says; ties and chance are in their order already.

        Raises:
            InputError: they have no times, and the split needs them.
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
                validation_targets=cold.described,  # nothing is known of the others before the test
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
            f"{split} Of each user's training interactions {100 * self.settings.train_share:.3g} "
            "%, at least one, were drawn at random and kept in their order; the other "
            f"{self.subsampled.num_left_out:,} are in no training row and in no history."
        )

    @property
    def catalogue(self) -> Catalogue:
        """The items."""
        return self.splits.catalogue

    @property
    def item_groups(self) -> dict[str, tuple[str, np.ndarray]]:
        """Groups of items that are measured by themselves: what each is, and its indices."""
        if self.cold is None:
            return {}
        return {
            "described": ("cold items whose texts are known while training", self.cold.described),
            "undescribed": ("cold items that come with the test", self.cold.undescribed),
        }

    @property
    def known_texts(self) -> list[str]:
        """The items' texts that are known while training."""
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
                f"are kept, {left_out:,} are left out"
            )
        if self.cold is not None:
            described, undescribed = len(self.cold.described), len(self.cold.undescribed)
            facts["cold_items"] = {"described": described, "undescribed": undescribed}
            line += f". {described + undescribed:,} cold items, {described:,} with known texts."
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
        item_vectors: attributes of each item, float32 [num_items, dim]; None where there are none.
        catalogue: the items, where they have titles and texts.
        words: the words that the student reads, where rows have a text.
        protocol: how the rows were split, as a sentence.
        times: the span of the timestamps, where the data has some.
        split: `split_facts` of a split by time.
        reading: what became of the rows of tables, a sentence each; while they are read, not later.
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
        """The training rows without the words, so that other words leave the teacher as it is."""
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
        """Write the rows, without their words, and what their indices mean to `folder`."""
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
    """Read the name, the user ids and the items of what `RetrievalData.save` wrote to `folder`."""
    name, user_ids, catalogue = json.loads((folder / TABLES_FILE).read_text())
    return name, tuple(user_ids), Catalogue(**catalogue)


def read_interactions(folder: Path) -> Interactions:
    """Read the interactions that `RetrievalData.save` wrote to `folder`, not split."""
    name, user_ids, catalogue = read_names(folder)
    with np.load(folder / INTERACTIONS_FILE) as arrays:
        return Interactions(name, catalogue, user_ids, **arrays)


def interactions_line(data: Interactions) -> str:
    """How many they are, and of which time, in one line."""
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
    """What to think of where much of what comes next is in the history; empty where little is."""
    if queries.num_left_out <= MANY_LEFT_OUT * queries.num_positives:
        return ""
    return (
        f"{queries.num_left_out:,} of {queries.num_positives:,} test positives "
        f"({queries.num_left_out / queries.num_positives:.1%}) are in their user's history and "
        "were left out, since items of the history are never recommended: if people come back to "
        "the same items here, as to music or in a shop, exclude_seen = false in [data] of the "
        "recipe may be what is wanted."
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
