"""Any scorer, any split, the same numbers: full ranking over the catalogue, history excluded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfrs_distill import columns, metrics
from tfrs_distill.data.splits import Queries, pad_histories
from tfrs_distill.errors import InputError
from tfrs_distill.towers.two_tower import TwoTower


class Scorer(Protocol):
    """Whatever recommends: `scorer(histories, k) -> (scores, item_ids)`.

    `histories` are unpadded arrays of item indices, oldest first; `scores` float32 and `item_ids`
    int32 are [num_queries, k], best first, without the history's items, 0 in empty slots.
    """

    def __call__(self, histories: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Recommend `k` items after each history."""


def top_k_unseen(
    scores: np.ndarray, histories: Sequence[np.ndarray], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k best items that are not in the history; equal scores keep catalogue order.

    Args:
        scores: float [num_queries, num_items + 1]; column i is item index i, column 0 is ignored.
        histories: one array of item indices a query.
        k: items a query.

    Example:
    >>> scores, items = top_k_unseen(np.array([[0.0, 3.0, 2.0, 1.0]]), [np.array([1])], k=3)
    >>> items.tolist()
    [[2, 3, 0]]
    """
    scores = np.array(scores, np.float32)
    scores[:, columns.PADDING] = -np.inf
    for row, history in enumerate(histories):
        scores[row, history] = -np.inf
    k_there = min(k, scores.shape[1])
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k_there]
    best = np.take_along_axis(scores, order, axis=1)
    items = np.where(np.isneginf(best), columns.PADDING, order).astype(np.int32)
    missing = [(0, 0), (0, k - k_there)]
    return (
        np.pad(best, missing, constant_values=-np.inf),
        np.pad(items, missing, constant_values=columns.PADDING),
    )


class ModelScorer:
    """A scorer that asks a Keras two-tower model, teacher or student.

    Item embeddings are computed once, and again by `refresh` after the model has trained further.

    Args:
        model: any `TwoTower`.
        batch_size: histories encoded at a time.
    """

    def __init__(self, model: TwoTower, *, batch_size: int = 256) -> None:
        self.model, self.batch_size = model, batch_size
        any_histories = tf.TensorSpec([None, None], tf.int32)
        self.encode = tf.function(model.encode_histories, input_signature=[any_histories])
        self.refresh()

    def refresh(self) -> None:
        """Compute the item embeddings of the model as it is now."""
        self.catalogue = self.model.catalogue_embeddings().numpy().astype(np.float32).T

    def __call__(self, histories: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Recommend `k` items after each history."""
        padded = pad_histories([history[-self.model.max_history :] for history in histories])
        queries = [
            self.encode(tf.constant(padded[start : start + self.batch_size])).numpy()
            for start in range(0, len(padded), self.batch_size)
        ]
        return top_k_unseen(np.concatenate(queries) @ self.catalogue, histories, k)


class TeacherScorer:
    """A scorer that asks a teacher for its logits, about the queries it was made for.

    A teacher answers for a batch, and may know its queries by their user alone, as an
    `ArrayTeacher` does; a scorer is given nothing but histories. So each of the `queries` becomes a
    window that ends with its history and asks for one row, at its last position. The label that
    stands there only marks the row: it is item 1 everywhere, so that no teacher can read the answer
    off it.

    Args:
        teacher: answers `logits(batch, candidate_ids)`, such as any teacher of this package.
        queries: `splits.validation` or `splits.test`; the scorer answers these and no others.
        max_history: positions of a window, as the teacher reads them: `splits.train.max_history`.
        batch_size: queries asked at a time.
    """

    def __init__(
        self, teacher: Any, queries: Queries, *, max_history: int, batch_size: int = 64
    ) -> None:
        self.teacher, self.queries = teacher, queries
        self.max_history, self.batch_size = max_history, batch_size

    def logits(self) -> np.ndarray:
        """Its logits, float32 [num_queries, num_items + 1].

        The columns of padding and of items that are no candidates of the queries are -inf: about
        those it is not asked.

        Raises:
            InputError: the teacher gives a query a score that is not finite; names the user.
        """
        return np.concatenate(list(self._logits_of_batches()))

    def __call__(self, histories: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Recommend `k` items after each of the histories of `queries`.

        Raises:
            InputError: the teacher gives a query a score that is not finite; names the user.
            ValueError: the histories are not those of `queries`, in their order.
        """
        own = self.queries.histories
        if len(histories) != len(own) or not all(map(np.array_equal, histories, own)):
            raise ValueError(
                "A `TeacherScorer` answers the queries it was made for, all of them and in their "
                f"order: {len(own)} queries. Received: {len(histories)} other histories. Make one "
                "for these queries (`queries.subset(rows)` for some)."
            )
        answers = []
        for start, logits in zip(range(0, len(own), self.batch_size), self._logits_of_batches()):
            answers.append(top_k_unseen(logits, own[start : start + self.batch_size], k))
        scores, item_ids = zip(*answers)
        return np.concatenate(scores), np.concatenate(item_ids)

    def _logits_of_batches(self) -> Iterator[np.ndarray]:
        items = self.queries.candidates
        if items is None:
            items = np.arange(1, self.queries.catalogue.num_items + 1, dtype=np.int32)
        candidate_ids = tf.constant(items, tf.int32)
        for start in range(0, len(self.queries), self.batch_size):
            rows = slice(start, start + self.batch_size)
            history, users = self._windows(rows), self.queries.users[rows]
            labels = np.zeros_like(history)
            labels[:, -1] = 1
            batch = {
                columns.USER_ID: tf.constant(users, tf.int32),
                columns.HISTORY: tf.constant(history),
                columns.LABELS: tf.constant(labels),
            }
            logits = np.asarray(self.teacher.logits(batch, candidate_ids), np.float32)
            expected = (len(users), len(items))
            if logits.shape != expected:
                raise ValueError(
                    f"A teacher must give logits of shape {expected} (rows, candidates). Received: "
                    f"shape {logits.shape}."
                )
            if not np.isfinite(logits).all():
                user = users[~np.isfinite(logits).all(axis=1)][0]
                raise InputError(
                    f"The teacher gives no finite score for every item to user {user}. It must "
                    "know every user of the split and score every item."
                )
            table = np.full((len(users), self.queries.catalogue.num_items + 1), -np.inf, np.float32)
            table[:, items] = logits
            yield table

    def _windows(self, rows: slice) -> np.ndarray:
        """int32 [num_queries, max_history]: the last items, padded with 0 in front."""
        shortened = [history[-self.max_history :] for history in self.queries.histories[rows]]
        padded = pad_histories(shortened)
        return np.pad(padded, [(0, 0), (self.max_history - padded.shape[1], 0)])


@dataclass(frozen=True)
class Evaluation:
    """How well a scorer answered a split, query by query.

    Args:
        k: length of the lists.
        num_items: items of the catalogue.
        item_ids: int32 [num_queries, k], what was recommended.
        ndcg: float [num_queries].
        recall: float [num_queries].
        reciprocal_rank: float [num_queries].
        hit_rate: float [num_queries].
    """

    k: int
    num_items: int
    item_ids: np.ndarray
    ndcg: np.ndarray
    recall: np.ndarray
    reciprocal_rank: np.ndarray
    hit_rate: np.ndarray

    def summary(self, *, num_samples: int = 1000, seed: int = 0) -> dict[str, Any]:
        """Means over queries by name (`"ndcg@10"`, ...) and the NDCG's 95 % bootstrap interval."""
        interval = metrics.bootstrap_interval(self.ndcg, num_samples=num_samples, seed=seed)
        return {
            f"ndcg@{self.k}": float(self.ndcg.mean()),
            f"ndcg@{self.k}_interval": list(interval),
            f"recall@{self.k}": float(self.recall.mean()),
            f"mrr@{self.k}": float(self.reciprocal_rank.mean()),
            f"hit_rate@{self.k}": float(self.hit_rate.mean()),
            f"coverage@{self.k}": metrics.coverage(self.item_ids, self.num_items),
        }


def evaluate(scorer: Scorer | TwoTower, queries: Queries, *, k: int = 10) -> Evaluation:
    """Ask a scorer every query of a split.

    Args:
        scorer: a `Scorer`, or a two-tower model (teacher, twin or student).
        queries: `splits.validation` or `splits.test`.
        k: length of the lists.

    Raises:
        ValueError: `k` is not at least 1, or the scorer's answer has another shape.
    """
    if k < 1:
        raise ValueError(f"`k` must be at least 1. Received: k={k!r}.")
    if isinstance(scorer, TwoTower):
        scorer = ModelScorer(scorer)
    num_items = queries.catalogue.num_items
    asked = k if queries.candidates is None else max(k, num_items)
    _, item_ids = scorer(queries.histories, asked)
    expected = (len(queries), asked)
    if item_ids.shape != expected:
        raise ValueError(
            f"A scorer must give item ids of shape {expected} (queries, k). Received: shape "
            f"{item_ids.shape}."
        )
    if queries.candidates is not None:
        item_ids = _first_among(item_ids, queries.candidates, k)
        num_items = len(queries.candidates)
    return Evaluation(
        k,
        num_items,
        item_ids,
        metrics.ndcg(item_ids, queries.positives),
        metrics.recall(item_ids, queries.positives),
        metrics.reciprocal_rank(item_ids, queries.positives),
        metrics.hit_rate(item_ids, queries.positives),
    )


def _first_among(item_ids: np.ndarray, candidates: np.ndarray, k: int) -> np.ndarray:
    """Each list's first k items that are candidates, 0 behind them."""
    others_last = np.argsort(~np.isin(item_ids, candidates), axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(item_ids, others_last, axis=1)
    return np.where(np.isin(kept, candidates), kept, columns.PADDING)


class ValidationNDCG(tf.keras.callbacks.Callback):
    """Adds `val_ndcg@k` to the logs after every epoch; put it before `EarlyStopping`.

    Args:
        queries: `splits.validation`.
        k: length of the lists.
        model: the two-tower model to ask; by default the model that is being fitted. Give
            `distiller.student` when a `Distiller` is.
    """

    def __init__(self, queries: Queries, *, k: int = 10, model: TwoTower | None = None) -> None:
        super().__init__()
        self.queries, self.k, self.asked_model = queries, k, model
        self.scorer: ModelScorer | None = None

    @property
    def log_name(self) -> str:
        """The name in the logs, for `EarlyStopping(monitor=...)`."""
        return f"val_ndcg@{self.k}"

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Ask the validation queries."""
        model = self.asked_model or self.model
        if self.scorer is None or self.scorer.model is not model:  # this fit's, not the last one's
            self.scorer = ModelScorer(model)
        self.scorer.refresh()
        if logs is not None:
            logs[self.log_name] = float(evaluate(self.scorer, self.queries, k=self.k).ndcg.mean())
