"""A first stage finds candidates, a cross-encoder puts them in order."""

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
from tfrs_distill.teachers.bert.bert_cross_encoder import BertCrossEncoder
from tfrs_distill.teachers.bert.text_pairs import row_histories

Recommend = Callable[[Sequence[np.ndarray], int], tuple[np.ndarray, np.ndarray]]


class Reranker:
    """The first stage's probabilities, its best candidates' share dealt out anew.

    The list L of a row is the `num_candidates` items with the largest first-stage logits f among
    the candidates asked for, with `exclude_seen` without those of the row's history. With the
    cross-encoder's scores c and `s_i = c_i + first_stage_weight * f_i`,

        logit_i = s_i - logsumexp_L(s) + logsumexp_L(f)   for i in L,   f_i elsewhere:

    the list keeps the probability that the first stage gave it, all other items keep theirs, and
    inside the list the odds are those of s. So the cross-encoder labels each example's own list.

    Args:
        first_stage: a teacher that answers `logits` and `fingerprint`.
        cross_encoder: a `BertCrossEncoder`, or whatever has `scores(histories, lists)`,
            `fingerprint()` and `num_items`.
        num_candidates: length of the list.
        first_stage_weight: how much the first stage still says about the order inside the list: 0
            leaves it to the cross-encoder, 1 multiplies both opinions' odds.
        exclude_seen: whether lists are made without the history's items, which are then never
            recommended: what `Catalogue.exclude_seen` says.

    Raises:
        ValueError: an argument is out of its range.

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
        said = self.cross_encoder.scores(row_histories(batch), tf.gather(candidate_ids, places))
        dealt = tf.where(
            listed, self._deal(best, said, listed), tf.gather(first, places, batch_dims=1)
        )
        rows = tf.broadcast_to(tf.range(tf.shape(places)[0])[:, None], tf.shape(places))
        return tf.tensor_scatter_nd_update(first, tf.stack([rows, places], axis=-1), dealt)

    def _deal(self, first: tf.Tensor, said: tf.Tensor, listed: tf.Tensor) -> tf.Tensor:
        """New logits of lists [num_rows, k], where `listed`; elsewhere `first` is `MASKED`."""
        mixed = tf.where(listed, said + self.first_stage_weight * first, MASKED)
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

    def scorer(
        self,
        recommend: Recommend,
        *,
        candidates: np.ndarray | None = None,
        batch_size: int = 64,
        advance: Callable[[int], Any] | None = None,
    ) -> Recommend:
        """What re-ranks the lists of another scorer, for `td.evaluate`.

        It recommends as the largest of `logits` do, but asks the cross-encoder only about lists.

        Args:
            recommend: the first stage as a scorer, such as `ModelScorer(first_stage)`: gives its
                logits and item indices, best first; without the history's items, if they are
                excluded.
            candidates: item indices that lists are made of, as in `Queries.candidates`; None for
                the whole catalogue.
            batch_size: histories re-ranked at a time.
            advance: called with the number of histories done since the last call.
        """

        def rerank(histories: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
            length, most = k + self.num_candidates, max(k, self.cross_encoder.num_items)
            first, items = recommend(histories, min(length, most) if candidates is None else most)
            if candidates is not None:
                first, items = _only(first, items, candidates)
            first, items = first[:, :length].copy(), items[:, :length]
            read = pad_histories(list(histories))
            for start in range(0, len(items), batch_size):
                part = slice(start, start + batch_size)
                first[part] = self._reranked(read[part], first[part], items[part])
                if advance is not None:
                    advance(len(items[part]))
            order = np.argsort(-first, axis=1, kind="stable")[:, :k]
            return np.take_along_axis(first, order, 1), np.take_along_axis(items, order, 1)

        return rerank

    def _reranked(self, histories: np.ndarray, first: np.ndarray, items: np.ndarray) -> np.ndarray:
        """The new logits of lists that are sorted by the first stage's, float32 [n, length]."""
        lists = items[:, : self.num_candidates]
        listed = tf.constant(lists > columns.PADDING)
        best = tf.where(listed, first[:, : self.num_candidates], MASKED)
        said = self.cross_encoder.scores(histories, lists)
        dealt = tf.where(listed, self._deal(best, said, listed), -np.inf)
        return np.concatenate([dealt.numpy(), first[:, self.num_candidates :]], axis=1)


def _only(
    scores: np.ndarray, items: np.ndarray, candidates: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Each list without items that are not among the candidates; its empty slots come last."""
    keep = np.isin(items, candidates)
    order = np.argsort(~keep, axis=1, kind="stable")
    keep = np.take_along_axis(keep, order, 1)
    scores = np.where(keep, np.take_along_axis(scores, order, 1), -np.inf)
    return scores, np.where(keep, np.take_along_axis(items, order, 1), columns.PADDING)
