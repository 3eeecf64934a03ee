"""Training examples: windows of user sequences, as batches of columns."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.columns import plain_array, row_numbers
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.checked_arrays import float32_array, item_indices, whole_numbers
from tfrs_distill.data.example_rows import ExampleRows, RowsOfParts
from tfrs_distill.errors import InputError


@dataclass(frozen=True)
class Windows:
    """Training examples: windows of user sequences, with the next item as label at every position.

    Args:
        catalogue: the items.
        users: int32 [num_examples], the user index of each window.
        history: int32 [num_examples, max_history], oldest first, padded with 0 in front.
        labels: int32 [num_examples, max_history], the next item after each position; 0 if there is
            none, or if it is already a label of an earlier window.
        knowledge: teacher outputs for each example, arrays by column name with `num_examples` rows,
            in memory or on disk. Filled by `cache_teacher(...).join(windows)`.
        candidates: bool [num_items], false for items that do not exist during training, such as the
            cold items of `split_cold_items`: they are never negatives in a loss. None for all
            items.
        weights: float32 [num_examples, max_history], weight of each label in a loss, which is
            `sum(abs(weights) * losses) / sum(abs(weights))`; not 0 where there is a label. A weight
            below 0 makes its label a dislike, with the loss `-log(1 - p_label)` instead of
            `-log p_label`; the history is not changed by it. The batch column is
            `columns.SAMPLE_WEIGHT`. None for equal weights. Teacher outputs and sampling
            probabilities do not depend on weights.
        user_attributes: int32 [num_examples, num_attributes], attributes of each window's user, 0
            if missing, see `Splits.with_user_attributes`. The batch column is
            `columns.USER_ATTRIBUTES`. None if no model reads any.

    Raises:
        InputError: an array has another shape or type, an item is not in the catalogue, or a
            label's weight is 0 or NaN.

    Example:
    >>> films = Catalogue(("50", "7"), ("Heat (1995)", "Babe (1995)"), ("Heat", "Babe"))
    >>> windows = Windows(films, [0, 1], [[0, 2], [0, 1]], [[0, 1], [0, 2]])
    >>> len(windows), windows.max_history, windows.num_labels
    (2, 2, 2)
    """

    catalogue: Catalogue
    users: np.ndarray
    history: np.ndarray
    labels: np.ndarray
    knowledge: Mapping[str, ExampleRows] = field(default_factory=dict)
    candidates: np.ndarray | None = None
    weights: np.ndarray | None = None
    user_attributes: np.ndarray | None = None

    def __post_init__(self) -> None:
        users = whole_numbers("users", self.users)
        num_items = self.catalogue.num_items
        history, labels = (
            item_indices(name, getattr(self, name), num_items, least=columns.PADDING)
            for name in ("history", "labels")
        )
        if history.ndim != 2 or labels.shape != history.shape or users.shape != history.shape[:1]:
            raise InputError(
                "`users` must be [num_examples], `history` and `labels` [num_examples, "
                f"max_history]. Received: {list(users.shape)}, {list(history.shape)} and "
                f"{list(labels.shape)}."
            )
        knowledge = {name: _rows_of(name, rows) for name, rows in self.knowledge.items()}
        wrong = [name for name, rows in knowledge.items() if rows.shape[0] != len(history)]
        if wrong:
            raise InputError(
                f"`knowledge[{wrong[0]!r}]` must have {len(history)} rows, one per example. "
                f"Received: {list(knowledge[wrong[0]].shape)}."
            )
        candidates = self.candidates
        if candidates is not None:
            candidates = plain_array("candidates", candidates)
            if candidates.dtype != bool or candidates.shape != (num_items,):
                raise InputError(
                    f"`candidates` must be bool [{num_items}], one entry per item. Received: "
                    f"{candidates.dtype} {list(candidates.shape)}."
                )
        weights = None if self.weights is None else float32_array("weights", self.weights)
        if weights is not None and weights.shape != labels.shape:
            raise InputError(
                f"`weights` must be {list(labels.shape)} as `labels`, or None. Received: "
                f"{list(weights.shape)}."
            )
        if weights is not None:
            of_labels = np.abs(weights[labels > columns.PADDING])
            if not (of_labels > 0).all():
                raise InputError(
                    "`weights` must be numbers other than 0 where there is a label, below 0 for "
                    f"dislikes. Received: {of_labels.min()}."
                )
        plain = {"users": users, "history": history, "labels": labels, "candidates": candidates}
        plain["weights"] = weights
        plain["user_attributes"] = attribute_indices(self.user_attributes, len(users))
        for name, column in (plain | {"knowledge": knowledge}).items():
            object.__setattr__(self, name, column)

    def __len__(self) -> int:
        return len(self.history)

    @property
    def max_history(self) -> int:
        """Number of positions in a window."""
        return int(self.history.shape[1])

    @property
    def num_labels(self) -> int:
        """Number of positions with a label: the rows of the loss in one epoch."""
        return int(np.count_nonzero(self.labels))

    @property
    def liked_labels(self) -> np.ndarray:
        """The labels that are not dislikes, int32 as `labels`, 0 elsewhere."""
        if self.weights is None:
            return self.labels
        return np.where(self.weights < 0, columns.PADDING, self.labels).astype(np.int32)

    def existing_items(self) -> np.ndarray:
        """Return the item indices that may be negatives in a loss, int32, ascending."""
        if self.candidates is None:
            return np.arange(1, self.catalogue.num_items + 1, dtype=np.int32)
        return (np.flatnonzero(self.candidates) + 1).astype(np.int32)

    def subset(self, rows: np.ndarray) -> Windows:
        """Return the windows at `rows` (indices or a boolean mask), without knowledge."""
        rows = row_numbers(rows, len(self))
        return Windows(
            self.catalogue,
            self.users[rows],
            self.history[rows],
            self.labels[rows],
            candidates=self.candidates,
            weights=None if self.weights is None else self.weights[rows],
            user_attributes=None if self.user_attributes is None else self.user_attributes[rows],
        )

    def joined(self, others: Windows) -> Windows:
        """Return these windows followed by others of the same catalogue, with `knowledge`.

        Raises:
            InputError: they differ in the catalogue, the number of positions, the columns of
                knowledge, their sizes or settings (such as the temperatures of a cache, or, for
                embeddings, the cache itself), or in whether there are weights or attributes.
        """
        for name, of_one, of_other in (
            ("catalogue", self.catalogue.fingerprint(), others.catalogue.fingerprint()),
            ("max_history", self.max_history, others.max_history),
            ("knowledge", _facts(self.knowledge), _facts(others.knowledge)),
            ("weights", self.weights is None, others.weights is None),
            ("user_attributes", self.user_attributes is None, others.user_attributes is None),
        ):
            if of_one != of_other:
                raise InputError(
                    f"Windows with another `{name}` cannot be joined. Received: {of_one} and "
                    f"{of_other}."
                )
        if not np.array_equal(self.existing_items(), others.existing_items()):
            raise InputError("Windows with other `candidates` cannot be joined.")

        def both(name: str) -> Any:
            one = getattr(self, name)
            return None if one is None else np.concatenate([one, getattr(others, name)])

        arrays = ("users", "history", "labels", "weights", "user_attributes")
        part = np.repeat(np.array([0, 1], np.int8), [len(self), len(others)])
        place = np.concatenate([np.arange(len(self)), np.arange(len(others))])
        knowledge = {
            name: RowsOfParts(
                [rows, others.knowledge[name]], part, place, getattr(rows, "made_with", "")
            )
            for name, rows in self.knowledge.items()
        }
        return replace(self, knowledge=knowledge, **{name: both(name) for name in arrays})

    def batches(
        self, batch_size: int, *, seed: int | None = None, num_negatives: int | None = None
    ) -> tf.data.Dataset:
        """Return batches of windows as dicts of columns; the last batch may be smaller.

        Args:
            batch_size: windows per batch.
            seed: int; reshuffles every epoch, reproducibly. None keeps the order.
            num_negatives: for `Candidates("sampled")`: number of items drawn uniformly for each
                window, new in every epoch and shared by the batch, with columns that correct for
                how often an item is a label in the batch or drawn. 0 draws none and adds only the
                labels' column, for `Candidates("batch")`.
        """
        if batch_size < 1:
            raise InputError(f"`batch_size` must be at least 1. Received: {batch_size}.")
        if num_negatives is not None and num_negatives < 0:
            raise InputError(
                f"`num_negatives` must be None or at least 0. Received: {num_negatives}."
            )
        tensors = {
            columns.EXAMPLE_ID: np.arange(len(self), dtype=np.int64),
            columns.USER_ID: self.users,
            columns.HISTORY: self.history,
            columns.LABELS: self.labels,
        }
        if self.weights is not None:
            tensors[columns.SAMPLE_WEIGHT] = self.weights
        if self.user_attributes is not None:
            tensors[columns.USER_ATTRIBUTES] = self.user_attributes
        rows = tf.data.Dataset.range(len(self))
        if seed is not None:
            rows = rows.shuffle(len(self), seed=seed)
        constants = {name: tf.constant(array) for name, array in tensors.items()}
        draws = tf.data.Dataset.random(seed=seed or 0, rerandomize_each_iteration=True)
        probability = None if num_negatives is None else self._sampling_probability(num_negatives)
        existing = tf.constant(self.existing_items(), tf.int32)
        of_catalogue = num_negatives is None and self.candidates is not None

        def batch_of(indices: tf.Tensor, draw: tf.Tensor) -> dict[str, tf.Tensor]:
            batch = {name: tf.gather(array, indices) for name, array in constants.items()}
            batch |= self._knowledge_of(indices)
            if of_catalogue:
                mask = tf.constant(self.candidates, tf.bool)
                batch[columns.SCORE_MASK] = tf.tile(mask[None], [tf.shape(indices)[0], 1])
            if probability is None:
                return batch
            batch[columns.CANDIDATE_SAMPLING_PROBABILITY] = tf.gather(
                probability, batch[columns.LABELS]
            )
            if num_negatives:
                places = tf.random.stateless_uniform(
                    [tf.shape(indices)[0], num_negatives],
                    tf.stack([draw, 0]),
                    0,
                    tf.size(existing),
                    tf.int32,
                )
                batch[columns.NEGATIVES] = negatives = tf.gather(existing, places)
                batch[columns.NEGATIVES_SAMPLING_PROBABILITY] = tf.gather(probability, negatives)
            return batch

        return (
            tf.data.Dataset.zip(rows.batch(batch_size), draws)
            .map(batch_of, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            .prefetch(2)
        )

    def _knowledge_of(self, indices: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the teacher outputs of a batch's examples, read when the batch is made."""
        if not self.knowledge:
            return {}
        arrays = list(self.knowledge.values())
        values = tf.numpy_function(
            lambda rows: [array[rows] for array in arrays],
            [indices],
            [array.dtype for array in arrays],
            stateful=False,
        )
        for value, array in zip(values, arrays):
            value.set_shape([None, *array.shape[1:]])
        return dict(zip(self.knowledge, values))

    def _sampling_probability(self, num_negatives: int) -> tf.Tensor:
        """Return the probability that an item is a candidate of a batch, float32 [num_items + 1].

        `(labels per window * label frequency + num_negatives / num_items) / (sum of both)`, as a
        candidate is a label of the batch or a uniform draw (Yang et al., 2020).
        """
        counts = np.bincount(self.labels.reshape(-1), minlength=self.catalogue.num_items + 1)
        counts[columns.PADDING] = 0
        existing = self.existing_items()
        expected = counts.astype(np.float64)
        expected[existing] += len(self) * num_negatives / len(existing)
        return tf.constant(expected / expected.sum(), tf.float32)

    def fingerprint(self) -> str:
        """Return the sha256 of the catalogue and all arrays except `knowledge`."""
        digest = hashlib.sha256(self.catalogue.fingerprint().encode())
        arrays = [self.users, self.history, self.labels, self.existing_items()]
        arrays += [array for array in (self.weights, self.user_attributes) if array is not None]
        for array in arrays:
            digest.update(str((array.dtype.str, array.shape)).encode() + array.tobytes())
        return digest.hexdigest()

    def example_keys(self) -> np.ndarray:
        """Return a key for each example, from the catalogue and the example alone: uint64 [len].

        The user attributes are part of the example.
        """
        catalogue = bytes.fromhex(self.catalogue.fingerprint())
        parts = [self.users[:, None], self.history, self.labels]
        parts += [] if self.user_attributes is None else [self.user_attributes]
        rows = np.concatenate(parts, axis=1)
        digests = [
            hashlib.blake2b(row.tobytes(), digest_size=8, key=catalogue).digest()
            for row in np.ascontiguousarray(rows, np.int32)
        ]
        return np.frombuffer(b"".join(digests), np.uint64)


def _facts(knowledge: Mapping[str, ExampleRows]) -> dict[str, tuple[Any, ...]]:
    """Return dtype, shape and settings of every column."""
    return {
        name: (str(rows.dtype), *rows.shape[1:], getattr(rows, "made_with", ""))
        for name, rows in sorted(knowledge.items())
    }


def attribute_indices(given: Any, num_rows: int) -> np.ndarray | None:
    """Return user attributes as int32 [num_rows, num_attributes], or None.

    Raises:
        InputError: they have another shape or type.
    """
    if given is None:
        return None
    indices = whole_numbers("user_attributes", given)
    if indices.ndim != 2 or len(indices) != num_rows or indices.min(initial=0) < 0:
        raise InputError(
            f"`user_attributes` must be indices of at least 0, [{num_rows}, num_attributes]. "
            f"Received: shape {list(indices.shape)}, minimum {indices.min(initial=0)}."
        )
    return indices


def _rows_of(name: str, rows: Any) -> ExampleRows:
    """Return an array whose rows are indexed by position; arrays on disk stay there."""
    if isinstance(rows, (list, tuple)) or hasattr(rows, "iloc"):  # pandas takes rows by label
        rows = plain_array(f"knowledge[{name!r}]", rows)
    kept: ExampleRows = rows
    return kept
