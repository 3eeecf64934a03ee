"""A teacher that answers from disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError
from tfrs_distill.teacher_cache.shard import Shard
from tfrs_distill.towers.rows import row_mask

EMBEDDINGS, TOP_K = "embeddings", "top_k"


class CachedTeacher:
    """A `Teacher` that answers from shards, one a fold of users.

    Every shard brings its own teacher's item embeddings. Together they are one factorised teacher:
    a query embedding stands in its fold's block of a vector that is 0 elsewhere, a candidate's
    embedding is the blocks of all folds side by side, and their dot product is exactly the fold
    teacher's logit.

    Args:
        shards: the shards of one cache, in fold order.
        temperatures: the temperatures at which tails were summed.
    """

    def __init__(self, shards: Sequence[Shard], temperatures: tuple[float, ...]) -> None:
        self.shards, self.temperatures = list(shards), temperatures
        self.item_embeddings = np.concatenate(
            [shard.arrays["item_embeddings"] for shard in self.shards], axis=-1
        )

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> CachedTeacher:
        """Open a whole cache from disk.

        Raises:
            InputError: it was not finished, or a file of it is missing or truncated.
        """
        directory = Path(directory)
        try:
            facts = json.loads((directory / "cache.json").read_text())
            names = list(facts["shards"])
            temperatures = tuple(float(value) for value in facts["temperatures"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{directory} is not a finished teacher cache: its cache.json cannot be read "
                f"({type(error).__name__}). Make the cache again; whole shards are kept."
            ) from error
        shards = [Shard.open(directory / name) for name in names]
        return cls(shards, temperatures)

    @property
    def num_folds(self) -> int:
        """How many teachers speak, each for the users it never saw; 1 without cross-fitting."""
        return len(self.shards)

    def join(self, windows: Windows, *, form: str = EMBEDDINGS) -> Windows:
        """The same windows with what the teacher said about each as further columns.

        Args:
            windows: windows the cache was made for, all or some, in any order.
            form: `"embeddings"` gives query embeddings, whose logits are exact over any candidates;
                `"top_k"` gives the K best items' logits and the rest's log-sum-exp.

        Raises:
            InputError: the cache does not hold an example; names it.
        """
        if form == EMBEDDINGS:
            names = [columns.TEACHER_QUERY_EMBEDDINGS]
        elif form == TOP_K:
            names = [columns.TEACHER_TOP_K_IDS, columns.TEACHER_TOP_K_LOGITS, columns.TEACHER_TAIL]
        else:
            raise ValueError(f"`form` must be 'embeddings' or 'top_k'. Received: form={form!r}.")
        fold, place = self._find(windows)
        knowledge = {columns.TEACHER_FOLD: fold}
        for name in names:
            first = self.shards[0].arrays[name]
            knowledge[name] = np.empty((len(windows), *first.shape[1:]), first.dtype)
            for index, shard in enumerate(self.shards):
                mine = fold == index
                knowledge[name][mine] = shard.arrays[name][place[mine]]
        return replace(windows, knowledge=knowledge)

    def _find(self, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
        """Which shard speaks about each example, and which row of it: int32 [num_examples] both."""
        held = [shard.arrays["example_keys"] for shard in self.shards]
        fold = np.repeat(np.arange(len(held), dtype=np.int32), [len(keys) for keys in held])
        place = np.concatenate([np.arange(len(keys), dtype=np.int32) for keys in held])
        keys, asked = np.concatenate(held), windows.example_keys()
        order = np.argsort(keys)
        found = order[np.minimum(np.searchsorted(keys, asked, sorter=order), len(keys) - 1)]
        if (keys[found] != asked).any():
            example = int(np.argmax(keys[found] != asked))
            raise InputError(
                f"The teacher cache does not hold training example {example}, of user "
                f"{windows.users[example]}. It was made for other windows: the data, the item "
                "texts, the split or `max_history` differ. Make the cache again for these windows."
            )
        return fold[found], place[found]

    def encode_queries(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """Query embeddings, `[batch_size, max_history, num_folds * dim]`."""
        queries = tf.cast(batch[columns.TEACHER_QUERY_EMBEDDINGS], tf.float32)
        shape = tf.shape(queries)
        fold = tf.broadcast_to(batch[columns.TEACHER_FOLD][:, None], shape[:2])
        return self._into_blocks(queries, fold)

    def encode_candidates(self, items: tf.Tensor) -> tf.Tensor:
        """Candidate embeddings of item indices, `[num_candidates, num_folds * dim]`."""
        return tf.gather(tf.constant(self.item_embeddings, tf.float32), items)

    def logits(self, batch: dict[str, tf.Tensor], candidate_ids: tf.Tensor) -> tf.Tensor:
        """Scores at the labelled positions, float32 [num_rows, num_candidates].

        Raises:
            ValueError: the batch carries no knowledge.
        """
        if columns.TEACHER_QUERY_EMBEDDINGS not in batch:
            raise ValueError(
                "The batch carries no teacher knowledge: column "
                f"{columns.TEACHER_QUERY_EMBEDDINGS!r} is missing. Train on "
                "`cached_teacher.join(windows).batches(...)`."
            )
        labelled = row_mask(batch)
        queries = tf.boolean_mask(batch[columns.TEACHER_QUERY_EMBEDDINGS], labelled)
        fold = tf.broadcast_to(batch[columns.TEACHER_FOLD][:, None], tf.shape(labelled))
        blocks = self._into_blocks(tf.cast(queries, tf.float32), tf.boolean_mask(fold, labelled))
        return tf.matmul(blocks, self.encode_candidates(candidate_ids), transpose_b=True)

    def _into_blocks(self, queries: tf.Tensor, fold: tf.Tensor) -> tf.Tensor:
        if self.num_folds == 1:
            return queries
        blocks = tf.one_hot(fold, self.num_folds)[..., None] * queries[..., None, :]
        dim = queries.shape[-1]
        return tf.reshape(blocks, tf.concat([tf.shape(fold), [self.num_folds * dim]], axis=0))

    def fingerprint(self) -> str:
        """sha256 of the shards' fingerprints."""
        return hashlib.sha256("".join(s.fingerprint for s in self.shards).encode()).hexdigest()
