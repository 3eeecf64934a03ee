"""The columns that a ranking student reads: type, shape, side and meaning of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.errors import InputError
from tfrs_distill.models.features import (
    HistoryFeature,
    IdFeature,
    ItemFeature,
    NeighbourFeature,
    NumberFeature,
    RankingFeature,
    TextFeature,
)
from tfrs_distill.serving.word_vocabulary import WordVocabulary

OUT_OF_VOCABULARY = 0


def specs_of(features: Sequence[RankingFeature]) -> dict[str, tf.TensorSpec]:
    """Return type and shape of every column that the features read, in the features' order.

    Several features may read the same column; sizes in which they differ become unknown.

    Raises:
        InputError: they read it as different types, or a column's name cannot name an input.
    """
    specs: dict[str, tf.TensorSpec] = {}
    for feature in features:
        for name, spec in feature.column_specs.items():
            if not (name.isidentifier() and name.isascii()):
                raise InputError(
                    "A column of an exported student must be a name of letters, digits and `_`, "
                    f"no digit first, as it names an input. Received: {name!r}."
                )
            there = specs.get(name, spec)
            if there.dtype != spec.dtype:
                raise InputError(
                    f"The features read column {name!r} as {there.dtype.name} and as "
                    f"{spec.dtype.name}. Give it one type."
                )
            shape = there.shape.most_specific_compatible_shape(spec.shape)
            specs[name] = tf.TensorSpec(shape, spec.dtype, name)
    return specs


def sides_of(features: Sequence[RankingFeature]) -> dict[str, str]:
    """Return whether a column belongs to the query or to the item.

    Raises:
        InputError: features of both sides read it.
    """
    sides: dict[str, str] = {}
    for feature in features:
        for name, side in feature.column_sides.items():
            if sides.setdefault(name, side) != side:
                raise InputError(
                    f"Column {name!r} is read by a feature of the query and by one of the item; "
                    "when one query's items are scored it cannot be both. Give the two features "
                    "the same side, or different columns."
                )
    return sides


def describe_columns(
    features: Sequence[RankingFeature], vocabularies: Mapping[str, Sequence[str] | WordVocabulary]
) -> dict[str, dict[str, Any]]:
    """Return the description of every column in `signature.json`; -1 is an unknown size.

    Raises:
        InputError: see `specs_of` and `sides_of`; or two features have different numbers of indices
            for one column; or a vocabulary belongs to no column, or its size is not the feature's.
    """
    specs, sides = specs_of(features), sides_of(features)
    described: dict[str, dict[str, Any]] = {
        name: {
            "dtype": spec.dtype.name,
            "shape": [-1 if size is None else size for size in spec.shape],
            "side": sides[name],
        }
        for name, spec in specs.items()
    }
    for feature in features:
        for name in feature.columns:
            _add_meaning(described[name], feature, name)
    _add_vocabularies(described, vocabularies)
    return described


def _add_meaning(described: dict[str, Any], feature: RankingFeature, name: str) -> None:
    meaning = _meaning(feature, name)
    sizes = [column.get("vocabulary_size") for column in (described, meaning)]
    if None not in sizes and sizes[0] != sizes[1]:
        raise InputError(
            f"The features have {sizes[0]} and {sizes[1]} indices of column {name!r}. Give them "
            "one vocabulary, or give them different columns."
        )
    described |= meaning


def _meaning(feature: RankingFeature, column: str) -> dict[str, Any]:
    """Return the meaning of a feature's column, and the treatment of invalid values."""
    if isinstance(feature, NumberFeature):
        return {
            "kind": "number",
            "mean": feature.mean,
            "standard_deviation": feature.standard_deviation,
            "missing": "NaN or infinite: counts as not known",
        }
    if column == columns.HISTORY_RATINGS and isinstance(feature, HistoryFeature):
        return {"kind": "history_ratings", "missing": "0: not rated"}
    if isinstance(feature, HistoryFeature):
        return _history(feature.item_feature.num_items)
    if isinstance(feature, NeighbourFeature) and column == columns.HISTORY:
        return _history(feature.num_items)
    if isinstance(feature, (IdFeature, ItemFeature, NeighbourFeature)):
        known = feature.vocabulary_size if isinstance(feature, IdFeature) else feature.num_items
        return {
            "kind": "id",
            "vocabulary_size": known,
            "out_of_vocabulary": OUT_OF_VOCABULARY,
            "missing": f"anything but 1 to {known}: out of vocabulary",
        }
    if isinstance(feature, TextFeature):
        return {
            "kind": "words",
            "num_words": feature.num_words,
            "padding": 0,
            "unknown": 1,
            "missing": f"above {feature.num_words}: an unknown word",
        }
    return {"kind": type(feature).__name__}


def _history(num_items: int) -> dict[str, Any]:
    return {
        "kind": "history",
        "order": "oldest first",
        "vocabulary_size": num_items,
        "padding": columns.PADDING,
        "missing": f"anything but 1 to {num_items}: padding",
    }


def _add_vocabularies(
    described: dict[str, dict[str, Any]], vocabularies: Mapping[str, Sequence[str] | WordVocabulary]
) -> None:
    """Add the vocabulary of each column; a history has that of the item ids."""
    for name, given in vocabularies.items():
        kind = "words" if isinstance(given, WordVocabulary) else "id"
        column = described.get(name, {})
        if column.get("kind") != kind:
            able = [key for key, value in described.items() if value["kind"] == kind]
            raise InputError(
                f"The student has no column {name!r} of kind {kind!r} for the vocabulary of that "
                f"name. It has: {', '.join(able) or 'none'}."
            )
        if isinstance(given, WordVocabulary):
            _require_size(name, column["num_words"], given.num_words)
            column["max_words"] = given.max_words
        else:
            _require_size(name, column["vocabulary_size"], len(given))
            if len(set(given)) != len(given):
                raise InputError(f"The vocabulary of {name!r} has an id twice. Give each once.")
            column["vocabulary"] = name
    if columns.HISTORY in described and columns.ITEM_ID in vocabularies:
        described[columns.HISTORY]["vocabulary"] = columns.ITEM_ID


def _require_size(name: str, expected: int, received: int) -> None:
    if expected != received:
        raise InputError(
            f"The vocabulary of {name!r} does not belong to the student, whose feature has "
            f"{expected} indices. Received: a vocabulary of {received}."
        )
