"""A teacher that reads its outputs from disk."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.example_rows import ExampleRows, RowsOfParts
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError
from tfrs_distill.knowledge.fold import EXAMPLE_KEYS, Fold
from tfrs_distill.knowledge.label_rows import LOGITS
from tfrs_distill.knowledge.label_windows import EMBEDDINGS, ITEM_SCALES, ITEMS, TOP_K
from tfrs_distill.knowledge.manifest import Manifest
from tfrs_distill.knowledge.quantise import dequantise
from tfrs_distill.models.rows import row_mask

MANIFEST = "cache.json"
COLUMNS = {
    EMBEDDINGS: (columns.TEACHER_QUERY_EMBEDDINGS, columns.TEACHER_QUERY_SCALES),
    TOP_K: (columns.TEACHER_TOP_K_IDS, columns.TEACHER_TOP_K_LOGITS, columns.TEACHER_TAIL),
}  # of windows


class CachedTeacher:
    """A `Teacher` that reads its outputs from shards, from one or several folds of users.

    Every fold has the item embeddings of its teacher. Together they are one factorised teacher: a
    query embedding is in its fold's block of a vector that is 0 elsewhere; a candidate's embedding
    is the concatenation of the blocks of all folds; their dot product is exactly the fold teacher's
    logit. If the teachers are not factorised, the cache has only their top-K logits. A cache of
    ranking rows has their logits by task, which `join` adds to the rows.

    Args:
        folds: the outputs of each teacher, in fold order.
        temperatures: the temperatures at which tails were summed.
    """

    def __init__(self, folds: Sequence[Fold], temperatures: tuple[float, ...]) -> None:
        self.folds, self.temperatures = list(folds), temperatures

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> CachedTeacher:
        """Open a complete cache from disk.

        Raises:
            InputError: it is not complete, or a file is missing, truncated or of another cache.
        """
        directory = Path(directory)
        manifest = Manifest.read(directory / MANIFEST)  # checked by its sha256
        folds = [
            Fold(
                manifest.open_shard(directory, names["teacher"]),
                [manifest.open_shard(directory, name) for name in names["shards"]],
            )
            for names in manifest.facts["folds"]
        ]
        return cls(folds, tuple(manifest.facts["temperatures"]))

    @property
    def num_folds(self) -> int:
        """Number of teachers, each for users it was not trained on; 1 without cross-fitting."""
        return len(self.folds)

    @property
    def forms(self) -> tuple[str, ...]:
        """Available forms of `join`: `"embeddings"`, `"top_k"` or both; or `"logits"`."""
        shared = set.intersection(*(set(fold.forms) for fold in self.folds))
        return tuple(form for form in (*COLUMNS, LOGITS) if form in shared)

    @property
    def item_embeddings(self) -> np.ndarray:
        """Candidate embeddings of padding and every item, float32 [num_items + 1, folds * dim]."""
        return self.encode_candidates(tf.range(len(self._item_tables[0][0]))).numpy()

    @functools.cached_property
    def _item_tables(self) -> list[tuple[tf.Tensor, tf.Tensor | None]]:
        """Each fold's item embeddings as they are stored, and their scales."""
        self._check_form(EMBEDDINGS)
        with tf.init_scope():
            return [
                (
                    tf.constant(np.asarray(fold.teacher.arrays[ITEMS])),
                    tf.constant(np.asarray(fold.teacher.arrays[ITEM_SCALES]))
                    if ITEM_SCALES in fold.teacher.arrays
                    else None,
                )
                for fold in self.folds
            ]

    @overload
    def join(self, examples: Windows, *, form: str | None = None) -> Windows: ...

    @overload
    def join(self, examples: RankingExamples) -> RankingExamples: ...

    def join(
        self, examples: Windows | RankingExamples, *, form: str | None = None
    ) -> Windows | RankingExamples:
        """Return the examples with the teachers' outputs for each.

        For windows these are further columns, which stay on disk: `Windows.batches` reads the rows
        of each batch when needed. For ranking rows these are `teacher_logits`, in memory.

        Args:
            examples: windows of the cache, all or some, in any order; or exactly the ranking rows
                of the cache, in the same order.
            form: for windows: `"embeddings"` adds query embeddings, with exact logits for any
                candidates; `"top_k"` adds the logits of the top K items and the log-sum-exp of the
                rest. None is the first of these that the cache has.

        Raises:
            InputError: the cache does not have the form, or an example; the message names it.
        """
        if isinstance(examples, RankingExamples):
            return self._join_rows(examples)
        if form is None:
            form = EMBEDDINGS if EMBEDDINGS in self.forms else TOP_K
        self._check_form(form)
        shards = [shard for fold in self.folds for shard in fold.shards]
        shard, place = self._find(examples)
        fold = np.repeat(np.arange(len(self.folds)), [len(fold.shards) for fold in self.folds])
        made_with = f"temperatures {', '.join(map(str, self.temperatures))}"
        knowledge: dict[str, ExampleRows] = {columns.TEACHER_FOLD: fold[shard].astype(np.int32)}
        if form == EMBEDDINGS:  # they have no meaning without the teachers' item embeddings
            made_with = f"teachers {self._key}"
            keys: Any = np.full(len(examples), self._key, np.int64)
            knowledge[columns.TEACHER_KEY] = keys
        for name in COLUMNS[form]:
            if name in shards[0].arrays:
                arrays = [shard.arrays[name] for shard in shards]
                knowledge[name] = RowsOfParts(arrays, shard, place, made_with)
        return replace(examples, knowledge=knowledge)

    def _join_rows(self, examples: RankingExamples) -> RankingExamples:
        if self.forms != (LOGITS,):
            raise InputError(
                f"The teacher cache has {list(self.forms)} of windows, not logits of ranking "
                "rows. Join it with the `Windows` it was made for."
            )
        facts = self.folds[0].teacher.facts
        if examples.fingerprint() != facts["examples"]:
            raise InputError(
                "The teacher cache does not have these rows: it was made for other rows, or for "
                "the same rows in another order or with other columns. Make the cache again."
            )
        logits = {
            task: np.empty((len(examples), width), np.float32)
            for task, width in facts["tasks"].items()
        }
        for shard in (shard for fold in self.folds for shard in fold.shards):
            rows = np.asarray(shard.arrays[EXAMPLE_KEYS]).astype(np.int64)
            for task, joined in logits.items():
                joined[rows] = shard.arrays[columns.teacher_logits(task)]
        return examples.with_teacher(logits)

    def _check_form(self, form: str) -> None:
        if form not in COLUMNS:
            raise ValueError(f"`form` must be 'embeddings' or 'top_k'. Received: form={form!r}.")
        if self.forms == (LOGITS,):
            raise InputError(
                "The teacher cache has logits of ranking rows, not outputs for windows. Join it "
                "with the `RankingExamples` it was made for."
            )
        if form not in self.forms:
            raise InputError(
                f"The teacher cache has no {form}, only {list(self.forms)}: its teacher has "
                "logits but no embeddings. Join it with `form='top_k'`."
            )

    def _find(self, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
        """Return the shard of each example and its row there: int32 [num_examples] both."""
        shards = [shard for fold in self.folds for shard in fold.shards]
        held = [np.asarray(shard.arrays[EXAMPLE_KEYS]) for shard in shards]
        shard = np.repeat(np.arange(len(held), dtype=np.int32), [len(keys) for keys in held])
        place = np.concatenate([np.arange(len(keys), dtype=np.int32) for keys in held])
        keys, wanted = np.concatenate(held), windows.example_keys()
        if windows.user_attributes is not None and not np.isin(wanted, keys).any():
            # Perhaps of a teacher without attributes.
            wanted = replace(windows, user_attributes=None).example_keys()
        order = np.argsort(keys)
        found = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)]
        if (keys[found] != wanted).any():
            example = int(np.argmax(keys[found] != wanted))
            raise InputError(
                f"The teacher cache does not have training example {example}, of user "
                f"{windows.users[example]}. It was made for other windows: the data, the item "
                "texts, the split, `max_history` or the user attributes differ. Make the cache "
                "again for these windows."
            )
        return shard[found], place[found]

    def encode_queries(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """Return query embeddings, `[batch_size, max_history, num_folds * dim]`, 0 elsewhere."""
        stored = batch[columns.TEACHER_QUERY_EMBEDDINGS]
        queries = dequantise(stored, batch.get(columns.TEACHER_QUERY_SCALES))
        fold = tf.broadcast_to(batch[columns.TEACHER_FOLD][:, None], tf.shape(queries)[:2])
        return self._into_blocks(queries, fold)

    def encode_candidates(self, items: tf.Tensor) -> tf.Tensor:
        """Return candidate embeddings of item indices, `[num_candidates, num_folds * dim]`."""
        return tf.concat(self._candidates_of_folds(items), axis=-1)

    def _candidates_of_folds(self, items: tf.Tensor) -> list[tf.Tensor]:
        return [
            dequantise(
                tf.gather(table, items), None if scales is None else tf.gather(scales, items)
            )
            for table, scales in self._item_tables
        ]

    def logits(self, batch: dict[str, tf.Tensor], candidate_ids: tf.Tensor) -> tf.Tensor:
        """Return logits at the labelled positions, float32 [num_rows, num_candidates].

        Raises:
            ValueError: the batch has no teacher outputs, or, in an eager call such as the check of
                the first batch, those of other teachers.
        """
        if columns.TEACHER_QUERY_EMBEDDINGS not in batch:
            raise ValueError(
                "The batch has no teacher outputs: column "
                f"{COLUMNS[self.forms[0]][0]!r} is missing. Train on "
                "`cached_teacher.join(windows).batches(...)`."
            )
        keys = batch.get(columns.TEACHER_KEY)
        if keys is not None and tf.executing_eagerly() and (keys != self._key).numpy().any():
            raise ValueError(
                "The batch has query embeddings of other teachers than this cache, so the logits "
                "would be wrong. Train with the cache that the windows were joined with, or join "
                "them with this one."
            )
        labelled = row_mask(batch)
        scales = batch.get(columns.TEACHER_QUERY_SCALES)
        queries = dequantise(
            tf.boolean_mask(batch[columns.TEACHER_QUERY_EMBEDDINGS], labelled),
            None if scales is None else tf.boolean_mask(scales, labelled),
        )
        fold = tf.broadcast_to(batch[columns.TEACHER_FOLD][:, None], tf.shape(labelled))
        fold = tf.cast(tf.boolean_mask(fold, labelled), tf.int32)
        candidates = self._candidates_of_folds(candidate_ids)
        if self.num_folds == 1:
            return tf.matmul(queries, candidates[0], transpose_b=True)
        # Each fold's rows separately: with `_into_blocks` most of the numbers would be 0.
        rows = tf.dynamic_partition(tf.range(tf.size(fold)), fold, self.num_folds)
        logits = [
            tf.matmul(tf.gather(queries, of_fold), of_its_teacher, transpose_b=True)
            for of_fold, of_its_teacher in zip(rows, candidates)
        ]
        places = tf.argsort(tf.concat(rows, axis=0))  # XLA cannot compile `tf.dynamic_stitch`
        return tf.gather(tf.concat(logits, axis=0), places)

    def _into_blocks(self, queries: tf.Tensor, fold: tf.Tensor) -> tf.Tensor:
        if self.num_folds == 1:
            return queries
        blocks = tf.one_hot(fold, self.num_folds)[..., None] * queries[..., None, :]
        dim = queries.shape[-1]
        return tf.reshape(blocks, tf.concat([tf.shape(fold), [self.num_folds * dim]], axis=0))

    @functools.cached_property
    def _key(self) -> int:
        """A number that identifies the teachers by their item embeddings, int64."""
        digest = hashlib.blake2b(digest_size=8)
        for tables in self._item_tables:
            for table in tables:
                digest.update(b"" if table is None else table.numpy().tobytes())
        return int.from_bytes(digest.digest(), "little", signed=True)

    def fingerprint(self) -> str:
        """Return the sha256 of the shards' fingerprints."""
        shards = [shard for fold in self.folds for shard in (fold.teacher, *fold.shards)]
        return hashlib.sha256("".join(s.fingerprint for s in shards).encode()).hexdigest()
