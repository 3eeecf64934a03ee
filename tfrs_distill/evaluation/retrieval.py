"""Any scorer, any split, the same numbers: full ranking over the catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.row_blocks import row_blocks
from tfrs_distill.data.splits import Queries, pad_histories
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import metrics
from tfrs_distill.evaluation.top_k import top_k_by_blocks, top_k_unseen
from tfrs_distill.models.two_tower import TwoTower


class Scorer(Protocol):
    """Whatever recommends: `scorer(histories, k) -> (scores, item_ids)`.

    `histories` are unpadded arrays of item indices, oldest first; `scores` float32 and `item_ids`
    int32 are [num_queries, k], best first, 0 in empty slots. The history's items are left out,
    unless the catalogue's `exclude_seen` is False. A scorer that has an attribute `exclude_seen` is
    held to what the catalogue says.
    """

    def __call__(self, histories: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Recommend `k` items after each history."""


class ModelScorer:
    """A scorer that asks a Keras two-tower model, teacher or student.

    Item embeddings are computed once, and again by `refresh` after the model has trained further.

    Args:
        model: any `TwoTower`.
        batch_size: histories encoded at a time; fewer where their scores of all items would take
            too much memory at once.
        exclude_seen: whether the history's items are left out: what `Catalogue.exclude_seen` says.
    """

    def __init__(
        self, model: TwoTower, *, batch_size: int = 256, exclude_seen: bool = True
    ) -> None:
        self.model, self.batch_size, self.exclude_seen = model, batch_size, exclude_seen
        any_histories = tf.TensorSpec([None, None], tf.int32)
        self.encode = tf.function(model.encode_histories, input_signature=[any_histories])
        self.refresh()

    def refresh(self) -> None:
        """Compute the item embeddings of the model as it is now."""
        self.catalogue = self.model.catalogue_embeddings().numpy().astype(np.float32).T

    def __call__(self, histories: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Recommend `k` items after each history."""
        return top_k_by_blocks(
            self._scores,
            histories,
            k,
            self.catalogue.shape[1] - 1,
            exclude_seen=self.exclude_seen,
            at_most=self.batch_size,
        )

    def _scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Of every item, float32 [num_queries, num_items + 1]."""
        padded = pad_histories([history[-self.model.max_history :] for history in histories])
        scores: np.ndarray = self.encode(tf.constant(padded)).numpy() @ self.catalogue
        return scores


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
        batch_size: queries asked at a time; fewer where their logits of all items would take too
            much memory at once.
    """

    def __init__(
        self, teacher: Any, queries: Queries, *, max_history: int, batch_size: int = 64
    ) -> None:
        self.teacher, self.queries = teacher, queries
        self.max_history, self.batch_size = max_history, batch_size
        self.exclude_seen = queries.catalogue.exclude_seen

    def logits(self) -> np.ndarray:
        """Its logits, float32 [num_queries, num_items + 1].

        The columns of padding and of items that are no candidates of the queries are -inf: about
        those it is not asked.

        Raises:
            InputError: the teacher gives a query a score that is not finite; names the user.
        """
        return np.concatenate([logits for _, logits in self._logits_of_batches()])

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
        answers = [
            top_k_unseen(logits, own[rows], k, exclude_seen=self.exclude_seen)
            for rows, logits in self._logits_of_batches()
        ]
        scores, item_ids = zip(*answers)
        return np.concatenate(scores), np.concatenate(item_ids)

    def _logits_of_batches(self) -> Iterator[tuple[slice, np.ndarray]]:
        num_items = self.queries.catalogue.num_items
        items = self.queries.candidates
        if items is None:
            items = np.arange(1, num_items + 1, dtype=np.int32)
        candidate_ids = tf.constant(items, tf.int32)
        for rows in row_blocks(len(self.queries), num_items + 1, self.batch_size):
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
            table = np.full((len(users), num_items + 1), -np.inf, np.float32)
            table[:, items] = logits
            yield rows, table

    def _windows(self, rows: slice) -> np.ndarray:
        """int32 [num_queries, max_history]: the last items, padded with 0 in front."""
        shortened = [history[-self.max_history :] for history in self.queries.histories[rows]]
        padded = pad_histories(shortened)
        return np.pad(padded, [(0, 0), (self.max_history - padded.shape[1], 0)])


@dataclass(frozen=True)
class Evaluation:
    """How well a scorer answered a split, query by query.

    The queries are those of the split that have something to find, see `Queries.answerable`.

    Args:
        k: length of the lists.
        num_items: items of the catalogue.
        num_left_out: positives of the split that are in their query's history and did not count.
        users: int32 [num_queries], whose query it is.
        item_ids: int32 [num_queries, k], what was recommended.
        ndcg: float [num_queries].
        recall: float [num_queries].
        reciprocal_rank: float [num_queries].
        hit_rate: float [num_queries].
    """

    k: int
    num_items: int
    num_left_out: int
    users: np.ndarray
    item_ids: np.ndarray
    ndcg: np.ndarray
    recall: np.ndarray
    reciprocal_rank: np.ndarray
    hit_rate: np.ndarray

    def summary(self, *, num_samples: int = 1000, seed: int = 0) -> dict[str, Any]:
        """`figures`, and what they are of.

        `num_queries` says of how many queries; `interval_too_narrow`, whether they are too few for
        the interval to be trusted, see `metrics.too_few_to_resample`; `num_left_out` is the field.
        """
        return {
            **self.figures(num_samples=num_samples, seed=seed),
            "num_queries": len(self.ndcg),
            "num_left_out": self.num_left_out,
            "interval_too_narrow": metrics.too_few_to_resample(len(self.ndcg)),
        }

    def figures(self, *, num_samples: int = 1000, seed: int = 0) -> dict[str, Any]:
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

    Whether items of the history are recommended, and count, is what the catalogue of the queries
    says, see `Catalogue.exclude_seen`: with it, a positive that is in the history is no longer one,
    and a query without another is left out.

    Args:
        scorer: a `Scorer`, or a two-tower model (teacher, twin or student).
        queries: `splits.validation` or `splits.test`.
        k: length of the lists.

    Raises:
        InputError: no query has an item to find.
        ValueError: `k` is not at least 1, the scorer's answer has another shape, or the scorer
            leaves seen items out and the catalogue does not, or the other way round.
    """
    if k < 1:
        raise ValueError(f"`k` must be at least 1. Received: k={k!r}.")
    exclude_seen = queries.catalogue.exclude_seen
    if isinstance(scorer, TwoTower):
        scorer = ModelScorer(scorer, exclude_seen=exclude_seen)
    found = getattr(scorer, "exclude_seen", exclude_seen)
    if found != exclude_seen:
        raise ValueError(
            f"The catalogue of the queries has exclude_seen={exclude_seen}, but the scorer was "
            f"made with exclude_seen={found}: its lists {'lack' if found else 'hold'} items of the "
            "history. Make the scorer from the same splits, or export the model with their "
            f"catalogue. Received: {type(scorer).__name__}."
        )
    asked = queries.answerable()
    item_ids = _item_ids(scorer, queries, k)[queries.answerable_rows]
    candidates = queries.candidates
    return Evaluation(
        k,
        queries.catalogue.num_items if candidates is None else len(candidates),
        queries.num_left_out,
        asked.users,
        item_ids,
        metrics.ndcg(item_ids, asked.positives),
        metrics.recall(item_ids, asked.positives),
        metrics.reciprocal_rank(item_ids, asked.positives),
        metrics.hit_rate(item_ids, asked.positives),
    )


def _item_ids(scorer: Scorer, queries: Queries, k: int) -> np.ndarray:
    """What is recommended, int32 [num_queries, k]; candidates alone where the queries name some."""
    if queries.candidates is None or isinstance(scorer, TeacherScorer):  # which ranks no others
        return _lists(scorer, queries.histories, k)
    length = max(k, queries.catalogue.num_items)
    blocks = [
        _first_among(_lists(scorer, queries.histories[rows], length), queries.candidates, k)
        for rows in row_blocks(len(queries), length)
    ]
    return np.concatenate(blocks)


def _lists(scorer: Scorer, histories: Sequence[np.ndarray], k: int) -> np.ndarray:
    _, item_ids = scorer(histories, k)
    expected = (len(histories), k)
    if item_ids.shape != expected:
        raise ValueError(
            f"A scorer must give item ids of shape {expected} (queries, k). Received: shape "
            f"{item_ids.shape}."
        )
    return item_ids


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
            exclude_seen = self.queries.catalogue.exclude_seen
            self.scorer = ModelScorer(model, exclude_seen=exclude_seen)
        self.scorer.refresh()
        if logs is not None:
            logs[self.log_name] = float(evaluate(self.scorer, self.queries, k=self.k).ndcg.mean())
