"""Re-rank the candidates of a first stage with a cross-encoder."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.splits import pad_histories
from tfrs_distill.models.candidates import MASKED
from tfrs_distill.models.rows import seen_items
from tfrs_distill.serving.rerank import rerank
from tfrs_distill.teachers.bert.bert_cross_encoder import BertCrossEncoder
from tfrs_distill.teachers.bert.text_pairs import row_histories
from tfrs_distill.teachers.list_teacher import list_scores

Recommend = Callable[[Sequence[np.ndarray], int], tuple[np.ndarray, np.ndarray]]


class Reranker:
    """Re-rank a first stage's best candidates with a cross-encoder; all others keep their logits.

    The list L of a row has the `num_candidates` items with the largest first-stage logits f among
    the candidates; with `exclude_seen`, without items in the row's history. With the
    cross-encoder's scores c and `s_i = c_i + first_stage_weight * f_i`,

        logit_i = s_i - logsumexp_L(s) + logsumexp_L(f)   for i in L,   f_i elsewhere:

    the total probability of the list and the probabilities of all other items are those of the
    first stage, and inside the list the odds are those of s.

    Args:
        first_stage: a teacher with `logits` and `fingerprint`.
        cross_encoder: a `BertCrossEncoder`, or an object with `scores(histories, lists)`,
            `fingerprint()` and `num_items`.
        num_candidates: length of the list.
        first_stage_weight: weight of the first stage's logits in the list: 0 ranks by the
            cross-encoder alone, 1 multiplies the odds of both.
        exclude_seen: whether lists exclude items of the history, which are then never recommended:
            `Catalogue.exclude_seen`.

    Raises:
        ValueError: an argument is out of range.

    Example:
    >>> cross_encoder = BertCrossEncoder(encoder, catalogue.texts)  # doctest: +SKIP
    >>> losses = cross_encoder.fit(splits.train, first_stage)  # doctest: +SKIP
    >>> teacher = Reranker(first_stage, cross_encoder)  # doctest: +SKIP
    """

    def __init__(
        self,
        first_stage: Any,
        cross_encoder: BertCrossEncoder | Any,
        *,
        num_candidates: int = 20,
        first_stage_weight: float = 0.0,
        exclude_seen: bool = True,
    ) -> None:
        if not num_candidates >= 2:
            raise ValueError(
                "`num_candidates` must be at least 2: one alone has no order. Received: "
                f"num_candidates={num_candidates!r}."
            )
        if not 0 <= first_stage_weight < math.inf:
            raise ValueError(
                "`first_stage_weight` must be finite and at least 0. Received: "
                f"first_stage_weight={first_stage_weight!r}."
            )
        self.first_stage, self.cross_encoder = first_stage, cross_encoder
        self.num_candidates, self.first_stage_weight = num_candidates, float(first_stage_weight)
        self.exclude_seen = exclude_seen

    def logits(self, batch: dict[str, tf.Tensor], candidate_ids: tf.Tensor) -> tf.Tensor:
        """Logits at the batch's rows, float32 [num_rows, num_candidates]."""
        first = tf.cast(self.first_stage.logits(batch, candidate_ids), tf.float32)
        free = tf.broadcast_to(candidate_ids > columns.PADDING, tf.shape(first))
        if self.exclude_seen:
            seen = seen_items(batch, self.cross_encoder.num_items)
            free &= ~tf.gather(seen, candidate_ids, axis=1)
        k = tf.minimum(self.num_candidates, tf.size(candidate_ids))
        best, places = tf.math.top_k(tf.where(free, first, MASKED), k)
        listed = tf.gather(free, places, batch_dims=1)
        second = self.cross_encoder.scores(row_histories(batch), tf.gather(candidate_ids, places))
        kept = tf.gather(first, places, batch_dims=1)
        new = tf.where(listed, self._new_logits(second, best, listed), kept)
        rows = tf.broadcast_to(tf.range(tf.shape(places)[0])[:, None], tf.shape(places))
        return tf.tensor_scatter_nd_update(first, tf.stack([rows, places], axis=-1), new)

    def _new_logits(self, second: tf.Tensor, first: tf.Tensor, listed: tf.Tensor) -> tf.Tensor:
        """Return the logits of lists, [num_rows, k]; where not `listed`, `first` is `MASKED`."""
        mixed = tf.where(listed, second + self.first_stage_weight * first, MASKED)
        return tf.nn.log_softmax(mixed) + tf.reduce_logsumexp(first, axis=1, keepdims=True)

    def fingerprint(self) -> str:
        """sha256 of both stages' fingerprints and the configuration."""
        parts = [
            self.first_stage.fingerprint(),
            self.cross_encoder.fingerprint(),
            f"{self.num_candidates} {self.first_stage_weight!r}"
            + ("" if self.exclude_seen else " of seen items too"),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def scores(self, histories: np.ndarray, candidate_lists: np.ndarray) -> np.ndarray:
        """Return `s` of each history's own candidates, float32 [num_lists, k].

        Args:
            histories: int [num_lists, any length], item indices, oldest first; 0 is no item.
            candidate_lists: int [num_lists, k]; scores at index 0 are undefined.
        """
        first = list_scores(self.first_stage, histories, candidate_lists)
        second = list_scores(self.cross_encoder, histories, candidate_lists)
        return second + self.first_stage_weight * first

    def scorer(
        self,
        recommend: Recommend,
        *,
        candidates: np.ndarray | None = None,
        batch_size: int = 64,
        advance: Callable[[int], Any] | None = None,
    ) -> Recommend:
        """Return a scorer that re-ranks the lists of another one, for `td.evaluate`.

        Its order is that of `logits`, but the cross-encoder reads only the lists.

        Args:
            recommend: the first stage as a scorer, such as `ModelScorer(first_stage)`: returns its
                logits and item indices, best first; without the history's items, if they are
                excluded.
            candidates: item indices that lists may contain, as in `Queries.candidates`; None for
                the whole catalogue.
            batch_size: histories re-ranked at a time.
            advance: called with the number of histories done since the last call.
        """

        def scorer(histories: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
            length, most = k + self.num_candidates, max(k, self.cross_encoder.num_items)
            first, items = recommend(histories, min(length, most) if candidates is None else most)
            if candidates is not None:
                items = np.where(np.isin(items, candidates), items, columns.PADDING)
                first = np.where(items > columns.PADDING, first, -np.inf)
                first, items = rerank(first, first, items)
            first, items = first[:, :length].copy(), items[:, :length]
            read = pad_histories(list(histories))
            for start in range(0, len(items), batch_size):
                part = slice(start, start + batch_size)
                first[part] = self._reranked(read[part], first[part], items[part])
                if advance is not None:
                    advance(len(items[part]))
            return rerank(first, first, items, k=k)

        return scorer

    def _reranked(self, histories: np.ndarray, first: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Return new logits of lists that the first stage has sorted, float32 [n, length]."""
        lists = items[:, : self.num_candidates]
        listed = tf.constant(lists > columns.PADDING)
        best = tf.where(listed, first[:, : self.num_candidates], MASKED)
        second = self.cross_encoder.scores(histories, lists)
        new = tf.where(listed, self._new_logits(second, best, listed), -np.inf)
        return np.concatenate([new.numpy(), first[:, self.num_candidates :]], axis=1)
