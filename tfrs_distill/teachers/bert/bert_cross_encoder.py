"""A BERT cross-encoder: it reads a history and a candidate together and scores the pair."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.windows import Windows
from tfrs_distill.losses.unlikelihood import loss_of_labels
from tfrs_distill.losses.weighted_mean import weighted_mean
from tfrs_distill.models.history_tower import last_items
from tfrs_distill.models.rows import rows_of, sample_weights, seen_items
from tfrs_distill.models.seeded import seeded
from tfrs_distill.teachers.bert.resumable_training import ResumableTraining, TuningCheckpoint
from tfrs_distill.teachers.bert.text_encoder import TextEncoder
from tfrs_distill.teachers.bert.text_pairs import TextPairs, row_histories
from tfrs_distill.teachers.bert.tuned_bert import TunedBert, check_num_layers, read_tuned_bert
from tfrs_distill.teachers.whole_number import check_whole_number


class BertCrossEncoder(TunedBert):
    """Score a candidate after a history by reading both texts at once.

    `score = w . pooled(BERT([CLS] newest item ; ... ; oldest read [SEP] candidate [SEP])) + b`,
    with the encoder's pooling (mean, first token or maximum) of its last layer. The newest item is
    first, so that truncation removes the oldest items. Unlike a two-tower model it attends from
    each word of the candidate to each word of the history, but it needs a forward pass for every
    pair. Use it on short lists, through a `Reranker`.

    `fit` trains the encoder's layers in place; its embeddings are frozen. Do not use the encoder
    elsewhere.

    Reference: [Nogueira & Cho, 2019](https://arxiv.org/abs/1901.04085).

    Args:
        encoder: a `TextEncoder`; checkpoint, pooling and tokenizer are used.
        texts: every item's text, in catalogue order.
        max_history_items: number of newest items of the history that are read.
        max_length: maximum number of tokens of a pair.
        dropout: dropped share of the pooled output in training.
        batch_size: pairs scored at a time; pairs of similar length share a batch.
        seed: int or None; fixes the initial weights of the score.

    Raises:
        InputError: `max_length` is larger than the checkpoint supports, or leaves no space for
            texts.
        ValueError: the encoder is not of the BERT family, or an argument is out of its range.

    Example:
    >>> encoder = TextEncoder("sentence-transformers/all-MiniLM-L6-v2")  # doctest: +SKIP
    >>> cross_encoder = BertCrossEncoder(encoder, catalogue.texts)  # doctest: +SKIP
    >>> cross_encoder.fit(splits.train, first_stage, num_steps=500)  # doctest: +SKIP
    >>> cross_encoder.scores([[50, 181]], [[172, 7, 12]]).shape  # doctest: +SKIP
    TensorShape([1, 3])
    """

    kind = "cross-encoder"

    def __init__(
        self,
        encoder: TextEncoder,
        texts: Sequence[str],
        *,
        max_history_items: int = 5,
        max_length: int = 64,
        dropout: float = 0.1,
        batch_size: int = 128,
        seed: int | None = None,
    ) -> None:
        check_whole_number("max_history_items", max_history_items)
        super().__init__(encoder, max_length=max_length, batch_size=batch_size)
        self.max_history_items = max_history_items
        self.pairs = TextPairs(encoder.tokenizer, texts, max_length)
        self.reads_types = "token_type_ids" in encoder.tokenizer.model_input_names
        self.head = tf.keras.Sequential(
            [
                tf.keras.layers.Dropout(dropout),
                tf.keras.layers.Dense(1, kernel_initializer=seeded("glorot_uniform", seed, 0)),
            ]
        )
        self.head.build([None, encoder.hidden_dim])
        pair = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)]
        self._score_sorted = tf.function(self._in_batches, input_signature=pair)

    @property
    def num_items(self) -> int:
        """Number of items in the catalogue."""
        return self.pairs.num_items

    @property
    def _head_weights(self) -> dict[str, tf.Variable]:
        return {"head/kernel": self.head.weights[0], "head/bias": self.head.weights[1]}

    @property
    def _arguments(self) -> dict[str, Any]:
        return {
            "max_history_items": self.max_history_items,
            "max_length": self.max_length,
            "dropout": self.head.layers[0].rate,
        }

    @property
    def _identity(self) -> str:
        return "\n".join([self.base, self.pairs.fingerprint(), str(self.max_history_items)])

    def read(self, histories: tf.Tensor, candidates: tf.Tensor, training: bool) -> tf.Tensor:
        """Scores of pairs in one forward pass, float32 [num_pairs], padded to the longest.

        Args:
            histories: int32 [num_pairs, max_history_items], newest first; 0 is no item.
            candidates: int32 [num_pairs], item indices.
            training: whether dropout is on.
        """
        inputs = self.pairs.tokens(histories, candidates)
        if not self.reads_types:
            inputs.pop("token_type_ids")
        scores = self.head(self._pooled(inputs, training), training=training)
        return tf.cast(scores[:, 0], tf.float32)

    def scores(self, histories: Any, candidate_lists: Any) -> tf.Tensor:
        """Scores of each history's own candidates, float32 [n, k].

        Args:
            histories: int32 [n, any length], item indices, oldest first; 0 is no item.
            candidate_lists: int32 [n, k], item indices; scores at index 0 are undefined.
        """
        lists = tf.cast(candidate_lists, tf.int32)
        newest_first = self.newest(tf.cast(histories, tf.int32))
        repeated = tf.repeat(newest_first, tf.shape(lists)[1], axis=0)
        return tf.reshape(self._score_sorted(repeated, tf.reshape(lists, [-1])), tf.shape(lists))

    def logits(self, batch: dict[str, tf.Tensor], candidate_ids: tf.Tensor) -> tf.Tensor:
        """Scores of all candidates at every row, float32 [num_rows, num_candidates].

        This needs a forward pass for each row and candidate; for lists, see `Reranker`.
        """
        histories = row_histories(batch)
        lists = tf.tile(candidate_ids[None], tf.stack([tf.shape(histories)[0], 1]))
        return self.scores(histories, lists)

    def newest(self, histories: tf.Tensor) -> tf.Tensor:
        """Return the last items, newest first, then 0: int32 [n, max_history_items]."""
        return tf.reverse(last_items(histories, self.max_history_items, self.num_items), [1])

    def _in_batches(self, histories: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        order = tf.argsort(self.pairs.lengths(histories, candidates), direction="DESCENDING")

        def body(start: tf.Tensor, scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            rows = order[start : start + self.batch_size]
            some = self.read(tf.gather(histories, rows), tf.gather(candidates, rows), False)
            return start + self.batch_size, tf.tensor_scatter_nd_update(scores, rows[:, None], some)

        start, scores = tf.constant(0), tf.zeros_like(candidates, tf.float32)
        left = lambda start, scores: start < tf.size(order)  # noqa: E731
        return tf.while_loop(left, body, (start, scores), parallel_iterations=1)[1]

    def fit(
        self,
        windows: Windows,
        first_stage: Any,
        *,
        num_steps: int = 500,
        batch_size: int = 8,
        num_negatives: int = 7,
        hard_share: float = 0.75,
        num_candidates: int = 50,
        num_layers: int | None = None,
        learning_rate: float = 5e-5,
        head_learning_rate: float = 1e-3,
        warmup_share: float = 0.1,
        seed: int = 0,
        checkpoint_folder: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 100,
        advance: Callable[[int], Any] | None = None,
    ) -> list[float]:
        """Train to rank the next item above negatives, many of them from a first stage's top list.

        Each step draws rows (labelled positions) of `windows` uniformly, and minimises the listwise
        softmax cross-entropy `-log softmax(scores)[label]` over the label and its negatives. Some
        negatives are from the first stage's top list, which a `Reranker` must rank; the others are
        drawn uniformly from the existing items. No item of the row's history is a negative. The
        loss is weighted by the windows' `weights`, if they have any. The optimizer is Adam with
        linear warm-up and linear decay.

        Args:
            windows: training windows.
            first_stage: the teacher whose lists are re-ranked; has `logits`.
            num_steps: number of training steps.
            batch_size: rows per step, each with `1 + num_negatives` pairs.
            num_negatives: negatives per row.
            hard_share: share of negatives from the first stage's top list, 0 to 1.
            num_candidates: length of that list.
            num_layers: number of trained layers, from the top; None for all.
            learning_rate: peak learning rate of the layers.
            head_learning_rate: peak learning rate of the score.
            warmup_share: share of the steps that are warm-up.
            seed: seed of rows, negatives and dropout.
            checkpoint_folder: folder for the training's state. A call with the same arguments and a
                new cross-encoder with the same `seed` resumes from it. None for no checkpoints.
            checkpoint_every: steps between two checkpoints.
            advance: called with the number of steps done since the last call.

        Returns:
            The loss of each step.

        Raises:
            ValueError: an argument is out of its range.
            InputError: `checkpoint_folder` has the state of another training.
        """
        settings = {
            "num_steps": num_steps,
            "batch_size": batch_size,
            "num_negatives": num_negatives,
            "hard_share": hard_share,
            "num_candidates": num_candidates,
            "num_layers": num_layers,
            "learning_rate": learning_rate,
            "head_learning_rate": head_learning_rate,
            "warmup_share": warmup_share,
            "seed": seed,
        }
        _check(settings, windows, len(self.stack.layers))
        training = CrossEncoderTraining(self, windows, first_stage, settings)
        checkpoint = None
        if checkpoint_folder is not None:
            models = {
                "cross_encoder": self.fingerprint(),
                "first_stage": first_stage.fingerprint(),
                "windows": windows.fingerprint(),
                "exclude_seen": windows.catalogue.exclude_seen,
            }
            checkpoint = TuningCheckpoint(checkpoint_folder, settings | models)
        return training.run(checkpoint, checkpoint_every, advance)

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        encoder: TextEncoder,
        texts: Sequence[str],
        *,
        batch_size: int = 128,
    ) -> BertCrossEncoder:
        """Load a saved cross-encoder, for the same or any other catalogue.

        Args:
            folder: a folder written by `save`.
            encoder: a freshly loaded encoder of the checkpoint that it was trained from.
            texts: every item's text, in catalogue order.
            batch_size: pairs scored at a time.

        Raises:
            InputError: the folder cannot be read, or the model was trained from another checkpoint.
        """
        arguments, weights = read_tuned_bert(folder, cls.kind, encoder)
        loaded = cls(encoder, texts, batch_size=batch_size, **arguments)
        loaded._assign(weights)
        return loaded


class RowBatches:
    """Rows of windows in uniform, seeded order: batch number s is always the same.

    A row is its whole window, with the labels of all other positions removed.
    """

    def __init__(self, windows: Windows, batch_size: int, seed: int) -> None:
        self.windows, self.batch_size, self.seed = windows, batch_size, seed
        self.rows = np.argwhere(windows.labels > columns.PADDING)
        self._orders: dict[int, np.ndarray] = {}

    def __getitem__(self, step: int) -> dict[str, tf.Tensor]:
        """Return the batch of one step; a batch may cross the end of an epoch."""
        numbers = range(step * self.batch_size, (step + 1) * self.batch_size)
        row = [
            self._order(epoch)[place]
            for epoch, place in (divmod(number, len(self.rows)) for number in numbers)
        ]
        windows, positions = self.rows[row].T
        labels = np.zeros((self.batch_size, self.windows.max_history), np.int32)
        places = np.arange(self.batch_size), positions
        labels[places] = self.windows.labels[windows, positions]
        weights = {}
        if self.windows.weights is not None:
            weights[columns.SAMPLE_WEIGHT] = tf.constant(self.windows.weights[windows])
        return weights | {
            columns.EXAMPLE_ID: tf.constant(windows, tf.int64),
            columns.USER_ID: tf.constant(self.windows.users[windows]),
            columns.HISTORY: tf.constant(self.windows.history[windows]),
            columns.LABELS: tf.constant(labels),
        }

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            random = np.random.default_rng([self.seed, epoch])
            self._orders = {epoch: random.permutation(len(self.rows))} | (
                {epoch - 1: self._orders[epoch - 1]} if epoch - 1 in self._orders else {}
            )
        return self._orders[epoch]


def draw_lists(
    first_logits: tf.Tensor,
    labels: tf.Tensor,
    allowed: tf.Tensor,
    seed: tf.Tensor,
    *,
    num_hard: int,
    num_even: int,
    num_candidates: int,
) -> tf.Tensor:
    """Draw the columns of each row's label, first, and of its negatives.

    `num_hard` negatives are drawn uniformly from the row's `num_candidates` largest logits,
    `num_even` from all others that are `allowed`, without replacement and without the label.

    Returns:
        int32 [num_rows, 1 + num_hard + num_even].
    """
    lowest = tf.float32.min
    keys = tf.random.stateless_uniform(tf.shape(first_logits), seed)
    free = allowed & (tf.range(tf.shape(first_logits)[1]) != labels[:, None])
    drawn = [labels[:, None]]
    if num_hard:
        top = tf.math.top_k(tf.where(free, first_logits, lowest), num_candidates).indices
        there = tf.gather(free, top, batch_dims=1)
        best = tf.where(there, tf.gather(keys, top, batch_dims=1), -1.0)
        hard = tf.gather(top, tf.math.top_k(best, num_hard).indices, batch_dims=1)
        rows = tf.broadcast_to(tf.range(tf.shape(hard)[0])[:, None], tf.shape(hard))
        taken = tf.scatter_nd(
            tf.stack([rows, hard], axis=-1), tf.ones_like(hard), tf.shape(first_logits)
        )
        free &= taken == 0
        drawn.append(hard)
    drawn.append(tf.math.top_k(tf.where(free, keys, -1.0), num_even).indices)
    return tf.concat(drawn, axis=1)


def _check(settings: dict[str, Any], windows: Windows, num_layers: int) -> None:
    for name in ("num_steps", "batch_size", "num_negatives", "num_candidates"):
        check_whole_number(name, settings[name])
    if not 0 <= settings["hard_share"] <= 1:
        raise ValueError(
            f"`hard_share` must be within 0 and 1. Received: hard_share={settings['hard_share']!r}."
        )
    check_num_layers(settings["num_layers"], num_layers)
    taken, words = 1, "are not its label"
    if windows.catalogue.exclude_seen:
        interacted = np.sort(np.concatenate([windows.history, windows.labels], axis=1), axis=1)
        distinct = (
            1
            + np.count_nonzero(np.diff(interacted), axis=1)
            - (interacted[:, 0] == columns.PADDING)
        )
        taken, words = int(distinct.max()), "are in every row neither its label nor in its history"
    others = len(windows.existing_items()) - taken
    if settings["num_negatives"] > others:
        raise ValueError(
            f"`num_negatives` must be at most {others}: so many items {words}. Received: "
            f"num_negatives={settings['num_negatives']!r}."
        )


class CrossEncoderTraining(ResumableTraining):
    """The state of one training, and its step."""

    def __init__(
        self,
        cross_encoder: BertCrossEncoder,
        windows: Windows,
        first_stage: Any,
        settings: dict[str, Any],
    ) -> None:
        seed = settings["seed"]
        super().__init__(
            cross_encoder.groups(settings),
            [(cross_encoder.encoder.model, seed), (cross_encoder.head, ~seed)],
            num_steps=settings["num_steps"],
            warmup_share=settings["warmup_share"],
        )
        self.cross_encoder, self.first_stage, self.settings = cross_encoder, first_stage, settings
        self.batches = RowBatches(windows, settings["batch_size"], settings["seed"])
        self.items = tf.constant(windows.existing_items())
        self.exclude_seen = windows.catalogue.exclude_seen
        self.num_hard = round(settings["hard_share"] * settings["num_negatives"])
        self.step = tf.function(self._step, reduce_retracing=True)

    def take_step(self, number: int) -> None:
        """Take a step on the rows of one batch."""
        self.step(self.batches[number])

    def lists_of(self, batch: dict[str, tf.Tensor], labels: tf.Tensor) -> tf.Tensor:
        """Return each row's label and negatives as indices: int32 [num_rows, 1 + number]."""
        first = tf.cast(self.first_stage.logits(batch, self.items), tf.float32)
        allowed = tf.ones_like(first, tf.bool)
        if self.exclude_seen:
            seen = seen_items(batch, self.cross_encoder.num_items)
            allowed = ~tf.gather(seen, self.items, axis=1)
        chosen = draw_lists(
            first,
            tf.cast(tf.searchsorted(self.items, labels), tf.int32),
            allowed,
            tf.cast(tf.stack([self.settings["seed"], self.num_done]), tf.int32),
            num_hard=self.num_hard,
            num_even=self.settings["num_negatives"] - self.num_hard,
            num_candidates=max(
                self.num_hard, min(self.settings["num_candidates"], len(self.items))
            ),
        )
        return tf.gather(self.items, chosen)

    def _step(self, batch: dict[str, tf.Tensor]) -> None:
        labels = rows_of(batch[columns.LABELS], batch)
        lists = tf.stop_gradient(self.lists_of(batch, labels))
        newest_first = self.cross_encoder.newest(row_histories(batch))
        repeated = tf.repeat(newest_first, tf.shape(lists)[1], axis=0)
        with tf.GradientTape() as tape:
            scores = self.cross_encoder.read(repeated, tf.reshape(lists, [-1]), True)
            logits = tf.reshape(scores, tf.shape(lists))
            first = tf.zeros(tf.shape(lists)[:1], tf.int32)
            weights = sample_weights(batch)
            losses = loss_of_labels(first, logits, weights)
            weights = None if weights is None else tf.abs(weights)
            loss = tf.reduce_mean(losses) if weights is None else weighted_mean(losses, weights)
        self.finish_step(loss, tape.gradient(loss, self.variables))
