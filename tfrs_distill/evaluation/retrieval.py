"""Evaluation of any scorer on a split by full ranking over the catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.query_batch import query_batch
from tfrs_distill.data.row_blocks import row_blocks
from tfrs_distill.data.splits import Queries, pad_histories
from tfrs_distill.data.windows import Windows
from tfrs_distill.distiller import Distiller
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import metrics
from tfrs_distill.evaluation.segments import popularity_counts
from tfrs_distill.evaluation.top_k import BlockScorer, attributes_for, top_k_unseen
from tfrs_distill.models.two_tower import TwoTower
from tfrs_distill.serving.attribute_vocabulary import check_width


class Scorer(Protocol):
    """A recommender: `scorer(histories, k) -> (scores, item_ids)`.

    `histories` are unpadded arrays of item indices, oldest first. `scores` (float32) and `item_ids`
    (int32) are [num_queries, k], best first, 0 in empty slots. Items in the history are excluded,
    unless the catalogue's `exclude_seen` is False. If a scorer has an attribute `exclude_seen`, it
    must equal the catalogue's. If its attribute `reads_attributes` is True and the queries have
    user attributes, it is called as `scorer(histories, k, user_attributes)`, with int32
    [num_queries, num_attributes].
    """

    def __call__(self, histories: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Recommend `k` items after each history."""


class ModelScorer(BlockScorer):
    """A scorer for a Keras two-tower model, teacher or student.

    Item embeddings are computed once, and again by `refresh` after further training.

    Args:
        model: any `TwoTower`.
        batch_size: histories encoded at a time; reduced if the scores of all items would need too
            much memory.
        exclude_seen: whether items in the history are excluded, see `Catalogue.exclude_seen`.
    """

    def __init__(
        self, model: TwoTower, *, batch_size: int = 256, exclude_seen: bool = True
    ) -> None:
        self.model, self.batch_size, self.exclude_seen = model, batch_size, exclude_seen
        self.refresh()  # first: raises without a catalogue
        self.known = model.user_attributes
        self.reads_attributes = self.known is not None
        any_whole_numbers = tf.TensorSpec([None, None], tf.int32)

        def encode(history: tf.Tensor, *attributes: tf.Tensor) -> tf.Tensor:
            return model.encode_histories(history, None, *attributes)

        signature = [any_whole_numbers] * (1 + self.reads_attributes)
        self.encode = tf.function(encode, input_signature=signature)

    def refresh(self) -> None:
        """Compute the item embeddings of the current model."""
        self.catalogue = self.model.catalogue_embeddings().numpy().astype(np.float32).T
        self.num_items = self.catalogue.shape[1] - 1

    def _score_items(self, histories: Sequence[np.ndarray], *attributes: np.ndarray) -> np.ndarray:
        """Return the scores of every item, float32 [num_queries, num_items + 1]."""
        padded = pad_histories([history[-self.model.max_history :] for history in histories])
        if self.known is not None and not attributes:
            attributes = (np.zeros([len(histories), len(self.known.names)], np.int32),)
        if self.known is not None:
            check_width(self.known, attributes[0].shape[1])
        inputs = [tf.constant(values, tf.int32) for values in (padded, *attributes)]
        scores: np.ndarray = self.encode(*inputs).numpy() @ self.catalogue
        return scores


class TeacherScorer:
    """A scorer from a teacher's logits, for given queries.

    A teacher returns logits for a batch, and may identify queries only by their user, as an
    `ArrayTeacher` does; a scorer gets only histories. So each of the `queries` becomes a window
    that ends with its history, with one labelled row at its last position. The label only marks the
    row: it is item 1 everywhere, so no teacher can read the relevant item from it.

    Args:
        teacher: has `logits(batch, candidate_ids)`, such as any teacher of this package.
        queries: `splits.validation` or `splits.test`; the scorer accepts only these.
        max_history: positions in a window, as the teacher reads them: `splits.train.max_history`.
        batch_size: queries scored at a time; reduced if the logits of all items would need too much
            memory.
    """

    def __init__(
        self, teacher: Any, queries: Queries, *, max_history: int, batch_size: int = 64
    ) -> None:
        self.teacher, self.queries = teacher, queries
        self.max_history, self.batch_size = max_history, batch_size
        self.exclude_seen = queries.catalogue.exclude_seen

    def logits(self) -> np.ndarray:
        """Return the logits of all items, float32 [num_queries, num_items + 1].

        The columns of padding and of items that are not candidates of the queries are -inf.

        Raises:
            InputError: the teacher returns a score that is not finite; the message names the user.
        """
        return np.concatenate([logits for _, logits in self._logits_of_batches()])

    def __call__(self, histories: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Recommend `k` items after each of the histories of `queries`.

        Raises:
            InputError: the teacher returns a score that is not finite; the message names the user.
            ValueError: the histories are not those of `queries`, in their order.
        """
        expected = self.queries.histories
        if len(histories) != len(expected) or not all(map(np.array_equal, histories, expected)):
            raise ValueError(
                "A `TeacherScorer` scores the queries it was made for, all of them and in their "
                f"order: {len(expected)} queries. Received: {len(histories)} other histories. Make "
                "another one for these queries (`queries.subset(rows)` for some)."
            )
        lists = [
            top_k_unseen(logits, expected[rows], k, exclude_seen=self.exclude_seen)
            for rows, logits in self._logits_of_batches()
        ]
        scores, item_ids = zip(*lists)
        return np.concatenate(scores), np.concatenate(item_ids)

    def _logits_of_batches(self) -> Iterator[tuple[slice, np.ndarray]]:
        num_items = self.queries.catalogue.num_items
        items = self.queries.candidates
        if items is None:
            items = np.arange(1, num_items + 1, dtype=np.int32)
        candidate_ids = tf.constant(items, tf.int32)
        for rows in row_blocks(len(self.queries), num_items + 1, self.batch_size):
            history, users = self._windows(rows), self.queries.users[rows]
            known = self.queries.user_attributes
            batch = query_batch(history, users, None if known is None else known[rows])
            logits = np.asarray(self.teacher.logits(batch, candidate_ids), np.float32)
            expected = (len(users), len(items))
            if logits.shape != expected:
                raise ValueError(
                    f"A teacher must return logits of shape {expected} (rows, candidates). "
                    f"Received: shape {logits.shape}."
                )
            if not np.isfinite(logits).all():
                user = users[~np.isfinite(logits).all(axis=1)][0]
                raise InputError(
                    f"The teacher has no finite score for every item for user {user}. It must "
                    "have scores for every user of the split and every item."
                )
            table = np.full((len(users), num_items + 1), -np.inf, np.float32)
            table[:, items] = logits
            yield rows, table

    def _windows(self, rows: slice) -> np.ndarray:
        """Return the last items, int32 [num_queries, max_history], padded with 0 in front."""
        shortened = [history[-self.max_history :] for history in self.queries.histories[rows]]
        padded = pad_histories(shortened)
        return np.pad(padded, [(0, 0), (self.max_history - padded.shape[1], 0)])


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a scorer's recommendations on a split, query by query.

    The queries are those of the split with a relevant item, see `Queries.answerable`.

    Args:
        k: length of the lists.
        num_items: number of items in the catalogue.
        num_left_out: number of positives in the split that are in their query's history and
            ignored.
        queries: the queries, with only relevant items as positives.
        item_ids: int32 [num_queries, k], the recommended items.
        values: float [num_queries] by the key of each of `metrics.LIST_METRICS`.
    """

    k: int
    num_items: int
    num_left_out: int
    queries: Queries
    item_ids: np.ndarray
    values: dict[str, np.ndarray]

    def at(self, k: int) -> Evaluation:
        """Return the metrics of the same recommendations cut to the first `k`.

        Raises:
            ValueError: `k` is not within 1 and the lists' length.
        """
        if not 1 <= k <= self.k:
            raise ValueError(
                f"`k` must be within 1 and {self.k}, the lists' length. Received: {k!r}."
            )
        item_ids = self.item_ids[:, :k]
        values = _values(item_ids, self.queries.positives)
        return replace(self, k=k, item_ids=item_ids, values=values)

    @property
    def ndcg(self) -> np.ndarray:
        """NDCG@k of each query, float [num_queries]."""
        return self.values["ndcg"]

    def summary(self, *, num_samples: int = 1000, seed: int = 0) -> dict[str, Any]:
        """Return `figures` and the facts behind them.

        `num_queries` is the number of queries; `interval_too_narrow`, whether there are too few of
        them for a reliable interval, see `metrics.too_few_to_resample`; `num_left_out` is the
        attribute.
        """
        return {
            **self.figures(num_samples=num_samples, seed=seed),
            "num_queries": len(self.ndcg),
            "num_left_out": self.num_left_out,
            "interval_too_narrow": metrics.too_few_to_resample(len(self.ndcg)),
        }

    def figures(self, *, num_samples: int = 1000, seed: int = 0) -> dict[str, Any]:
        """Return means by name (`"ndcg@10"`, ...) and the NDCG's 95 % bootstrap interval."""
        figures: dict[str, Any] = {
            f"{key}@{self.k}": float(values.mean()) for key, values in self.values.items()
        }
        interval = metrics.bootstrap_interval(self.ndcg, num_samples=num_samples, seed=seed)
        figures[f"ndcg@{self.k}_interval"] = list(interval)
        figures[f"coverage@{self.k}"] = metrics.coverage(self.item_ids, self.num_items)
        figures[f"gini@{self.k}"] = metrics.gini(self.item_ids, self.num_items)
        return figures

    def beyond_accuracy(
        self, train: Windows, item_vectors: np.ndarray | None = None
    ) -> dict[str, float]:
        """Return novelty, popularity and diversity of the recommendations.

        Means over the queries by name: `"novelty@10"` (bits), `"popularity@10"` (number of training
        users of an item), `"popularity_lift@10"` (relative to the histories' popularity) and, with
        vectors, `"diversity@10"`; see the functions of `metrics`. Queries without recommendations
        are skipped; for diversity, queries with only one too.

        Args:
            train: training windows, for the items' popularity.
            item_vectors: float [num_items, dim], in catalogue order, such as text vectors.

        Raises:
            ValueError: the number of vectors is not the number of items in the catalogue.
        """
        counts = popularity_counts(train)
        num_users = len(np.unique(train.users))
        lists = self.item_ids
        values: dict[str, np.ndarray | float] = {
            "novelty": metrics.novelty(lists, counts, num_users),
            "popularity": metrics.recommended_popularity(lists, counts),
            "popularity_lift": metrics.popularity_lift(lists, self.queries.histories, counts),
        }
        if item_vectors is not None:
            if item_vectors.ndim != 2 or len(item_vectors) != train.catalogue.num_items:
                raise ValueError(
                    f"`item_vectors` must be [{train.catalogue.num_items}, dim], a row for each "
                    f"item of the catalogue. Received: shape {item_vectors.shape}."
                )
            values["diversity"] = metrics.intra_list_diversity(lists, item_vectors)
        return {f"{key}@{self.k}": _mean(found) for key, found in values.items()}


def _mean(values: np.ndarray | float) -> float:
    """Return the mean of the defined values; NaN if there are none."""
    defined = np.asarray(values)[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def evaluate(
    scorer: Scorer | TwoTower | Distiller | np.ndarray | tf.Tensor, queries: Queries, *, k: int = 10
) -> Evaluation:
    """Evaluate the recommendations of a scorer for every query of a split, by full ranking.

    The catalogue of the queries decides whether items in the history may be recommended, see
    `Catalogue.exclude_seen`: if not, positives in the history are ignored, and queries without
    other positives are skipped.

    Args:
        scorer: a `Scorer` (such as a function), a two-tower model (teacher, twin or student), a
            `Distiller`, whose student is evaluated, or the scores of all items, float
            [num_queries, num_items], with one row per query of `queries` and columns in catalogue
            order; items with -inf are never recommended.
        queries: `splits.validation` or `splits.test`.
        k: length of the lists.

    Raises:
        InputError: no query has a relevant item, a score is NaN, or seen items are recommended
            although the catalogue excludes them.
        TypeError: `scorer` is not a scorer, or `queries` is not a `Queries`.
        ValueError: `k` is below 1, lists or scores have another shape, the model is of another
            catalogue, or the `exclude_seen` of scorer and catalogue differ.
    """
    if k < 1:
        raise ValueError(f"`k` must be at least 1. Received: k={k!r}.")
    if not isinstance(queries, Queries):
        raise TypeError(
            "`queries` must be `splits.validation` or `splits.test`. Received: "
            f"{type(queries).__name__}."
        )
    exclude_seen, num_items = queries.catalogue.exclude_seen, queries.catalogue.num_items
    if isinstance(scorer, Distiller):
        scorer = scorer.student
    if isinstance(scorer, TwoTower):
        if scorer.num_items != num_items:
            raise ValueError(
                f"The model has {scorer.num_items} items, the catalogue of the queries {num_items}:"
                " evaluate a model on splits of the data that it was made for."
            )
        scorer = ModelScorer(scorer, exclude_seen=exclude_seen)
    if isinstance(scorer, (tf.Tensor, list)):
        scorer = np.asarray(scorer)
    if not isinstance(scorer, np.ndarray) and not callable(scorer):
        raise TypeError(
            "`scorer` must be a function `(histories, k) -> (scores, item_ids)`, a two-tower model "
            "or a `Distiller` of one, or scores [num_queries, num_items]. Received: "
            f"{type(scorer).__name__}."
        )
    found = getattr(scorer, "exclude_seen", exclude_seen)
    if found != exclude_seen:
        raise ValueError(
            f"The catalogue of the queries has exclude_seen={exclude_seen}, but the scorer was "
            f"made with exclude_seen={found}: its lists {'lack' if found else 'hold'} items of the "
            "history. Build the scorer from the same splits, or export the model with their "
            f"catalogue. Received: {type(scorer).__name__}."
        )
    answerable = queries.answerable()
    if isinstance(scorer, np.ndarray):
        item_ids = _best_of(scorer, queries, k)[queries.answerable_rows]
    else:
        item_ids = _item_ids(scorer, queries, k)[queries.answerable_rows]
    if exclude_seen and not isinstance(scorer, (np.ndarray, BlockScorer, TeacherScorer)):
        _check_unseen(item_ids, answerable)
    candidates = queries.candidates
    return Evaluation(
        k,
        queries.catalogue.num_items if candidates is None else len(candidates),
        queries.num_left_out,
        answerable,
        item_ids,
        _values(item_ids, answerable.positives),
    )


def _values(item_ids: np.ndarray, positives: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return every list metric, one value per query."""
    return {
        metric.key: metric.compute(item_ids, positives)
        for metric in metrics.LIST_METRICS
        if metric.compute is not None
    }


def _item_ids(scorer: Scorer, queries: Queries, k: int) -> np.ndarray:
    """Return the recommended items, int32 [num_queries, k], only candidates if they are given."""
    if queries.candidates is None or isinstance(scorer, TeacherScorer):  # ranks candidates only
        return _lists(scorer, queries, k)
    length = max(k, queries.catalogue.num_items)
    blocks = [
        _first_among(
            _lists(scorer, queries.subset(np.arange(len(queries))[rows]), length),
            queries.candidates,
            k,
        )
        for rows in row_blocks(len(queries), length)
    ]
    return np.concatenate(blocks)


def _best_of(scores: np.ndarray, queries: Queries, k: int) -> np.ndarray:
    """Return the items with the best scores, int32 [num_queries, k], only candidates."""
    num_items = queries.catalogue.num_items
    expected = (len(queries), num_items)
    if scores.shape != expected:
        raise ValueError(
            f"Scores of shape {expected} (queries, items of the catalogue) were expected. "
            f"Received: shape {scores.shape}."
        )
    items = queries.candidates
    items = np.arange(1, num_items + 1) if items is None else np.asarray(items)
    found = []
    for rows in row_blocks(len(queries), num_items + 1):
        table = np.full((rows.stop - rows.start, num_items + 1), -np.inf, np.float32)
        table[:, items] = scores[rows][:, items - 1]
        if np.isnan(table).any():
            row = rows.start + int(np.isnan(table).any(axis=1).argmax())
            raise InputError(
                f"The scores of query {row}, of user {queries.users[row]}, hold NaN. Give every "
                "item a score, or -inf if it must never be recommended."
            )
        histories = queries.histories[rows]
        exclude_seen = queries.catalogue.exclude_seen
        found.append(top_k_unseen(table, histories, k, exclude_seen=exclude_seen)[1])
    return np.concatenate(found)


def _lists(scorer: Any, queries: Queries, k: int) -> np.ndarray:
    _, item_ids = scorer(queries.histories, k, *attributes_for(scorer, queries))
    expected, num_items = (len(queries), k), queries.catalogue.num_items
    if item_ids.shape != expected:
        raise ValueError(
            f"A scorer must return item ids of shape {expected} (queries, k). Received: shape "
            f"{item_ids.shape}."
        )
    if item_ids.dtype.kind not in "iu":
        raise ValueError(
            f"A scorer must return item indices, as whole numbers. Received: {item_ids.dtype}."
        )
    if item_ids.size and not 0 <= item_ids.min() <= item_ids.max() <= num_items:
        raise ValueError(
            f"A scorer must return item indices from 1 to {num_items}, 0 in empty slots. Received: "
            f"{item_ids.min()} to {item_ids.max()}."
        )
    return item_ids


def _check_unseen(item_ids: np.ndarray, queries: Queries) -> None:
    """Raise an InputError where a list holds an item of its history."""
    for user, history, items in zip(queries.users, queries.histories, item_ids):
        seen = np.intersect1d(items, history)
        if len(seen):
            raise InputError(
                f"The scorer recommends the item of index {seen[0]} to the user of index {user}, "
                "whose history holds it, which this catalogue excludes. Exclude such items, or "
                "split the data with exclude_seen=False (`[data]` of a recipe)."
            )


def _first_among(item_ids: np.ndarray, candidates: np.ndarray, k: int) -> np.ndarray:
    """Return each list's first k items that are candidates, 0 in empty slots."""
    others_last = np.argsort(~np.isin(item_ids, candidates), axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(item_ids, others_last, axis=1)
    return np.where(np.isin(kept, candidates), kept, columns.PADDING)


class ValidationNDCG(tf.keras.callbacks.Callback):
    """Adds `val_ndcg@k` to the logs after every epoch; put it before `EarlyStopping`.

    Args:
        queries: `splits.validation`.
        k: length of the lists.
        model: the two-tower model to evaluate; by default the fitted model, or the student of the
            fitted `Distiller`.

    Raises:
        TypeError: in `fit`, if the model is not a two-tower model.
    """

    def __init__(self, queries: Queries, *, k: int = 10, model: TwoTower | None = None) -> None:
        super().__init__()
        self.queries, self.k, self.given_model = queries, k, model
        self.scorer: ModelScorer | None = None

    @property
    def log_name(self) -> str:
        """The name in the logs, for `EarlyStopping(monitor=...)`."""
        return f"val_ndcg@{self.k}"

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Refuse a model that cannot be evaluated before an epoch is trained."""
        if not isinstance(self._evaluated(), TwoTower):
            raise TypeError(
                "`ValidationNDCG` evaluates two-tower models. Give one as `model`. Received: "
                f"{type(self._evaluated()).__name__}."
            )

    def _evaluated(self) -> Any:
        model = self.given_model or self.model
        return model.student if isinstance(model, Distiller) else model

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluate the validation queries."""
        model = self._evaluated()
        if self.scorer is None or self.scorer.model is not model:  # of this fit, not an earlier one
            exclude_seen = self.queries.catalogue.exclude_seen
            self.scorer = ModelScorer(model, exclude_seen=exclude_seen)
        self.scorer.refresh()
        if logs is not None:
            logs[self.log_name] = float(evaluate(self.scorer, self.queries, k=self.k).ndcg.mean())
