"""A teacher's outputs for retrieval windows: embeddings and top-K logits, checked."""

from __future__ import annotations

import functools
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError
from tfrs_distill.knowledge.fold import EXAMPLE_KEYS, FoldKnowledge
from tfrs_distill.knowledge.quantise import check_dtype, quantise
from tfrs_distill.knowledge.shard import check_rows_per_shard
from tfrs_distill.knowledge.top_k_knowledge import summarise_top_k
from tfrs_distill.models.retrieval_model import divisor_of
from tfrs_distill.models.rows import row_mask

EMBEDDINGS, TOP_K = "embeddings", "top_k"
ITEMS, ITEM_SCALES = "item_embeddings", "item_scales"
BATCH_SIZE = 64  # windows at a time
LOGITS_AT_ONCE = 1 << 26  # 256 MiB of float32: fewer windows at a time for many items
ITEMS_AT_ONCE = 1 << 16
DEFAULT_TOP_K = 50
ROWS_PER_SHARD = 4096  # windows: 135 MB at 50 positions of 64 numbers and 50 best items


@dataclass(frozen=True)
class LabelSettings:
    """Settings of the stored outputs for windows.

    Args:
        top_k: number of items whose logits are stored at each position; None: see `of_catalogue`.
        temperatures: temperatures at which the rest is summed.
        dtype: dtype of embeddings, see `quantise`.
        rows_per_shard: examples per shard.
    """

    top_k: int | None = None
    temperatures: tuple[float, ...] = (1.0,)
    dtype: str = "float32"
    rows_per_shard: int = ROWS_PER_SHARD

    def of_catalogue(self, num_items: int) -> LabelSettings:
        """Return the checked settings with a `top_k`: by default 50, at most all items but one.

        Raises:
            InputError: a setting is out of its range.
        """
        top_k = min(DEFAULT_TOP_K, num_items - 1) if self.top_k is None else self.top_k
        if not 1 <= top_k < num_items:
            raise InputError(
                f"`top_k` must be within 1 and {num_items - 1}, one less than the number of "
                f"items. Received: top_k={top_k!r}."
            )
        temperatures = self.temperatures
        if not temperatures or not all(0 < value < math.inf for value in temperatures):
            raise InputError(
                "`temperatures` must hold at least one number, each finite and greater than 0. "
                f"Received: temperatures={temperatures!r}."
            )
        check_dtype(self.dtype)
        check_rows_per_shard(self.rows_per_shard)
        return replace(self, top_k=top_k)


class WindowsToLabel:
    """All windows of a cache, and the settings of the stored outputs.

    Args:
        windows: training windows.
        settings: what is stored.

    Raises:
        InputError: a setting is out of range.
    """

    def __init__(self, windows: Windows, settings: LabelSettings) -> None:
        settings = settings.of_catalogue(windows.catalogue.num_items)
        self.examples, self.fingerprint = windows, windows.fingerprint()
        self.settings = settings
        self.kept = asdict(settings)

    @functools.cached_property
    def keys(self) -> np.ndarray:
        """The key of each window, uint64 [num_windows]."""
        return self.examples.example_keys()

    def knowledge(self, teacher: Any, rows: np.ndarray) -> FoldKnowledge:
        """Return one teacher's outputs for the given rows."""
        labeller = Labeller(teacher, self.examples.catalogue.num_items, self.settings)
        return FoldKnowledge(
            labeller.fingerprint,
            {
                "forms": [EMBEDDINGS, TOP_K] if labeller.factorised else [TOP_K],
                "temperatures": [float(value) for value in self.settings.temperatures],
            },
            labeller.item_arrays,
            lambda rows: labeller.keyed(self.examples.subset(rows), rows, self.keys[rows]),
        )


class Labeller:
    """Computes a teacher's outputs for windows, as arrays.

    For a teacher with `encode_queries` and `encode_candidates`, its embeddings are stored, whose
    dot products are its logits. For any other teacher the top-K logits over all items are stored;
    it may be plain Python, because `logits` is not traced.

    `item_arrays` are the teacher's item embeddings as they are stored, one row per item index;
    empty if the teacher is not factorised.

    Args:
        teacher: an object with `logits(batch, candidate_ids)`, or a factorised `Teacher`.
        num_items: number of items in the catalogue.
        settings: what is stored, as `of_catalogue` returns it.

    Raises:
        InputError: the teacher has no such methods, or its item embeddings are not finite.
    """

    def __init__(self, teacher: Any, num_items: int, settings: LabelSettings) -> None:
        self.teacher, self.num_items, self.settings = teacher, num_items, settings
        self.fingerprint = fingerprint_of(teacher)
        self.factorised = _has(teacher, "encode_queries") and _has(teacher, "encode_candidates")
        if not self.factorised and not _has(teacher, "logits"):
            raise InputError(
                f"A {type(teacher).__name__} cannot be cached: it has neither "
                "`logits(batch, candidate_ids)` nor `encode_queries` and `encode_candidates`."
            )
        items = self._encode_items() if self.factorised else None
        self._scored = None if items is None else items[1:]
        self.item_arrays = {} if items is None else self._stored(ITEMS, ITEM_SCALES, items.numpy())
        self._encode_queries = tf.function(
            lambda batch: tf.cast(teacher.encode_queries(batch), tf.float32)
        )

    def keyed(
        self, windows: Windows, example_ids: np.ndarray, keys: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Return the arrays of a shard: the output of `label`, with the windows' keys."""
        return {EXAMPLE_KEYS: keys} | self.label(windows, example_ids)

    def label(self, windows: Windows, example_ids: np.ndarray) -> dict[str, np.ndarray]:
        """Return the teacher's outputs, one row per window; 0 at positions without a label.

        Args:
            windows: the windows to label.
            example_ids: int [num_windows], their rows among all training windows.

        Raises:
            InputError: the teacher returns NaN or infinite values at a label, or the wrong shape.
        """
        shape, arrays, start = windows.labels.shape, {}, 0
        ids = tf.constant(example_ids, tf.int64)
        batches = windows.batches(self._batch_size(windows.max_history))
        if self.factorised:  # one graph for the last, smaller batch too
            self._graph = self._encode_queries.get_concrete_function(batches.element_spec)
        for batch in batches:
            batch[columns.EXAMPLE_ID] = tf.gather(ids, batch[columns.EXAMPLE_ID])
            labelled = row_mask(batch).numpy()
            for name, values in self._knowledge(batch, labelled).items():
                if name not in arrays:
                    arrays[name] = np.zeros((*shape, *values.shape[1:]), values.dtype)
                arrays[name][start : start + len(labelled)][labelled] = values
            start += len(labelled)
        if self.factorised:
            queries = columns.TEACHER_QUERY_EMBEDDINGS
            arrays |= self._stored(queries, columns.TEACHER_QUERY_SCALES, arrays[queries])
        return arrays

    def _stored(self, name: str, scales_name: str, values: np.ndarray) -> dict[str, np.ndarray]:
        stored, scales = quantise(values, self.settings.dtype)
        return {name: stored} | ({} if scales is None else {scales_name: scales})

    def _batch_size(self, max_history: int) -> int:
        return max(1, min(BATCH_SIZE, LOGITS_AT_ONCE // (max_history * self.num_items)))

    def _knowledge(
        self, batch: dict[str, tf.Tensor], labelled: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Return the outputs at the batch's labels, arrays `[num_rows, ...]`."""
        arrays = {}
        if self._scored is not None:
            queries = arrays[columns.TEACHER_QUERY_EMBEDDINGS] = self._queries(
                batch, self._scored.shape[1]
            )
            logits = tf.matmul(queries, self._scored, transpose_b=True)
        else:
            items = tf.range(1, self.num_items + 1)
            logits = tf.cast(self.teacher.logits(batch, items), tf.float32)
            expected = (int(np.count_nonzero(labelled)), self.num_items)
            if logits.shape != expected:
                raise InputError(
                    "A teacher's logits must have one row per label of the batch and one column "
                    f"per item, here {expected}. {type(self.teacher).__name__} returns "
                    f"{tuple(logits.shape)}."
                )
        ids, values, tail, finite = _top_k_and_rest(
            logits, self.settings.top_k, self.settings.temperatures
        )
        _check_finite(batch, labelled, finite.numpy())
        arrays |= {
            columns.TEACHER_TOP_K_IDS: tf.cast(ids, smallest_id_type(self.num_items)),
            columns.TEACHER_TOP_K_LOGITS: values,
            columns.TEACHER_TAIL: tail,
        }
        return {name: tensor.numpy() for name, tensor in arrays.items()}

    def _queries(self, batch: dict[str, tf.Tensor], dim: int) -> tf.Tensor:
        """Return query embeddings at the labels, `[num_rows, dim]`."""
        queries = self._graph(batch)
        expected = (*batch[columns.HISTORY].shape, dim)
        if queries.shape != expected:
            raise InputError(
                "A teacher's query embeddings must have the shape [batch_size, max_history, "
                f"teacher_dim], here {expected}. {type(self.teacher).__name__} returns "
                f"{tuple(queries.shape)}."
            )
        return tf.boolean_mask(queries, row_mask(batch)) / divisor_of(self.teacher)

    def _encode_items(self) -> tf.Tensor:
        parts = [
            self.teacher.encode_candidates(
                tf.range(start, min(start + ITEMS_AT_ONCE, self.num_items + 1))
            )
            for start in range(0, self.num_items + 1, ITEMS_AT_ONCE)
        ]
        items = tf.cast(tf.concat(parts, axis=0), tf.float32)
        finite = tf.reduce_all(tf.math.is_finite(items), axis=-1).numpy()
        if not finite.all():
            raise InputError(
                "The teacher returns NaN or infinite item embeddings, first for item index "
                f"{int(np.argmin(finite))}. Nothing was written; check its training."
            )
        return items


def smallest_id_type(num_items: int) -> tf.DType:
    """Return the smaller type of uint16 and int32 that holds the indices 0 to `num_items`.

    Example:
    >>> smallest_id_type(65_535).name, smallest_id_type(65_536).name
    ('uint16', 'int32')
    """
    return tf.uint16 if num_items <= tf.uint16.max else tf.int32


@tf.function(reduce_retracing=True)
def _top_k_and_rest(
    logits: tf.Tensor, top_k: int, temperatures: tuple[float, ...]
) -> tuple[tf.Tensor, ...]:
    """Return `summarise_top_k`, and which rows are finite."""
    finite = tf.reduce_all(tf.math.is_finite(logits), axis=-1)
    return (*summarise_top_k(logits, top_k, temperatures), finite)


def fingerprint_of(teacher: Any) -> str:
    """Return the teacher's fingerprint.

    Raises:
        InputError: it has none.
    """
    fingerprint = teacher.fingerprint() if _has(teacher, "fingerprint") else None
    if not isinstance(fingerprint, str) or not fingerprint:
        raise InputError(
            f"A {type(teacher).__name__} cannot be cached: it has no `fingerprint()` that returns "
            "a text, so a changed teacher would not be noticed. Add one: a text that changes with "
            "everything that affects its logits, such as configuration and weights."
        )
    return fingerprint


def _has(teacher: Any, method: str) -> bool:
    return callable(getattr(teacher, method, None))


def _check_finite(batch: dict[str, tf.Tensor], labelled: np.ndarray, finite: np.ndarray) -> None:
    if not finite.all():
        row, position = np.argwhere(labelled)[int(np.argmin(finite))]
        raise InputError(
            "The teacher returns NaN or infinite logits, first for user "
            f"{int(batch[columns.USER_ID][row])} at position {position} of their window. Nothing "
            "was written; check its training."
        )
