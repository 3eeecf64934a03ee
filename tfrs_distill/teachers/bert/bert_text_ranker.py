"""A BERT that reads a row's text for several tasks at once: a rating, a binary label."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError
from tfrs_distill.losses.weighted_mean import weighted_mean
from tfrs_distill.models.tasks import NextItem, RankingTask
from tfrs_distill.teachers.bert.resumable_training import ResumableTraining, TuningCheckpoint
from tfrs_distill.teachers.bert.text_encoder import TextEncoder
from tfrs_distill.teachers.bert.token_windows import TokenWindows, token_windows
from tfrs_distill.teachers.bert.tuned_bert import TunedBert, check_num_layers, read_tuned_bert
from tfrs_distill.teachers.whole_number import check_whole_number

BATCHES_PER_POOL = 50  # shuffled rows are sorted by length within pools of this many batches


class BertTextRanker(TunedBert):
    """Reads one text per row, such as a review, and returns logits for every task.

    `logits_t = head_t(pooled(BERT([CLS] text [SEP])))` for each task t, with a linear head per task
    and the encoder's pooling (mean, first token or maximum) of its last layer: all tasks share one
    forward pass.

    `fit` trains the encoder's layers in place; its embeddings are frozen. Do not use the encoder
    elsewhere.

    Reference: [Devlin et al., 2018](https://arxiv.org/abs/1810.04805), section 4.1, with a head for
    each task as in [Liu et al., 2019](https://arxiv.org/abs/1901.11504).

    Args:
        encoder: a `TextEncoder`; checkpoint, pooling and tokenizer are used.
        tasks: ranking tasks, such as `Binary("recommended")`; no `NextItem`.
        text_column: name of the examples' text that is read.
        max_length: maximum number of tokens of a text, including special tokens; longer texts are
            truncated.
        dropout: dropped share of the pooled output in training.
        batch_size: texts read at a time by `row_logits`; texts of similar length share a batch.
        seed: int or None; fixes the heads' initial weights.

    Raises:
        InputError: `max_length` is larger than the checkpoint supports.
        ValueError: the encoder is not of the BERT family, there is no task or two have the same
            name, or an argument is out of its range.

    Example:
    >>> encoder = TextEncoder("sentence-transformers/all-MiniLM-L6-v2")  # doctest: +SKIP
    >>> teacher = BertTextRanker(encoder, [Binary("recommended")])  # doctest: +SKIP
    >>> teacher.fit(splits.train)  # doctest: +SKIP
    >>> teacher.row_logits(splits.test)["recommended"].shape  # doctest: +SKIP
    (2349, 1)
    >>> taught = splits.train.with_teacher(teacher.row_logits(splits.train))  # doctest: +SKIP
    """

    kind = "text ranker"

    def __init__(
        self,
        encoder: TextEncoder,
        tasks: Sequence[RankingTask],
        *,
        text_column: str = "text",
        max_length: int = 96,
        dropout: float = 0.1,
        batch_size: int = 128,
        seed: int | None = None,
    ) -> None:
        self.tasks = {task.name: task for task in tasks}
        _check_tasks(tasks)
        super().__init__(encoder, max_length=max_length, batch_size=batch_size)
        self.text_column = text_column
        self.head = TaskHeads(tasks, dropout, seed)
        self.head(tf.zeros([1, encoder.hidden_dim]))
        shape = tf.TensorSpec([None, None], tf.int32)
        self._predict = tf.function(self._logits_of, input_signature=[shape, shape])

    @property
    def _head_weights(self) -> dict[str, tf.Variable]:
        return {
            f"heads/{name}/{place}": variable
            for name, head in self.head.of_task.items()
            for place, variable in enumerate(head.weights)
        }

    @property
    def _arguments(self) -> dict[str, Any]:
        return {
            "tasks": [tf.keras.utils.serialize_keras_object(t) for t in self.tasks.values()],
            "text_column": self.text_column,
            "max_length": self.max_length,
            "dropout": self.head.dropout.rate,
        }

    @property
    def _identity(self) -> str:
        return f"{self.base} {json.dumps(self._arguments, sort_keys=True)}"

    def tokens(self, examples: RankingExamples) -> TokenWindows:
        """Return the token ids of every row's text, tokenized once.

        Raises:
            InputError: the examples have no such texts.
        """
        if self.text_column not in examples.texts:
            raise InputError(
                f"The examples have no texts called {self.text_column!r}. They have: "
                f"{', '.join(sorted(examples.texts)) or 'none'}. Name one as `text_column`."
            )
        texts = examples.texts[self.text_column]
        return token_windows(
            self.encoder.tokenizer, texts, max_length=self.max_length, long_texts="cut"
        )

    def padded(self, tokens: TokenWindows, rows: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
        """Token ids and attention mask of some rows, int32 [n, length], length a multiple of 8."""
        input_ids, mask = tokens.padded(rows, multiple_of=8)
        return tf.constant(input_ids), tf.constant(mask)

    def read(
        self, input_ids: tf.Tensor, attention_mask: tf.Tensor, training: bool
    ) -> dict[str, tf.Tensor]:
        """Logits of tokenized texts in one forward pass, float32 [n, width] by task.

        Args:
            input_ids: int32 [n, length].
            attention_mask: int32 [n, length], 1 for a token and 0 for padding.
            training: whether dropout is on.
        """
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        return self.head(self._pooled(inputs, training), training=training)

    def row_logits(
        self, examples: RankingExamples, *, advance: Callable[[int], Any] | None = None
    ) -> dict[str, np.ndarray]:
        """Logits for every row, float32 [num_rows, width] by task.

        Args:
            examples: rows with texts.
            advance: called with the number of rows done since the last call.

        Raises:
            InputError: the examples have no such texts.
        """
        tokens = self.tokens(examples)
        found = {
            name: np.zeros((len(examples), task.width), np.float32)
            for name, task in self.tasks.items()
        }
        order = np.argsort(-tokens.lengths, kind="stable")  # longest first: fails early
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            for name, logits in self._predict(*self.padded(tokens, rows)).items():
                found[name][rows] = logits.numpy()
            if advance is not None:
                advance(len(rows))
        return found

    def predictions(self, examples: RankingExamples) -> dict[str, np.ndarray]:
        """Predictions of every row, float32 [num_rows] by task; see the tasks."""
        return {
            name: np.asarray(self.tasks[name].predict(tf.constant(logits)), np.float32)
            for name, logits in self.row_logits(examples).items()
        }

    def fit(
        self,
        examples: RankingExamples,
        *,
        num_epochs: int = 1,
        batch_size: int = 32,
        learning_rate: float = 5e-5,
        head_learning_rate: float = 1e-3,
        warmup_share: float = 0.1,
        clip_norm: float | None = 1.0,
        num_layers: int | None = None,
        seed: int = 0,
        checkpoint_folder: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 100,
        advance: Callable[[int], Any] | None = None,
    ) -> list[float]:
        """Train on labelled rows, all tasks at once.

        A step minimises `sum_t mean over the rows labelled for t of loss_t`, the mean weighted by
        the examples' weights; a row without a label for a task is ignored for that task. The rows
        are shuffled every epoch, and texts of similar length share a batch. The optimizer is Adam
        with linear warm-up and linear decay.

        Args:
            examples: rows with texts and labels.
            num_epochs: number of epochs.
            batch_size: rows per step.
            learning_rate: peak learning rate of the layers.
            head_learning_rate: peak learning rate of the heads.
            warmup_share: share of the steps that are warm-up.
            clip_norm: maximum global norm of the gradients, which are scaled down to it; None for
                no clipping.
            num_layers: number of trained layers, from the top; None for all.
            seed: seed of the order of rows and of dropout.
            checkpoint_folder: folder for the training's state. A call with the same arguments and a
                new ranker with the same `seed` resumes from it, with the same result as without
                interruption. None for no checkpoints.
            checkpoint_every: steps between two checkpoints.
            advance: called with the number of steps done since the last call.

        Returns:
            The loss of each step.

        Raises:
            ValueError: an argument is out of its range.
            InputError: texts or labels are missing, a label is out of its task's range, or
                `checkpoint_folder` has the state of another training.
        """
        settings = {
            "num_epochs": num_epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "head_learning_rate": head_learning_rate,
            "warmup_share": warmup_share,
            "clip_norm": clip_norm,
            "num_layers": num_layers,
            "seed": seed,
        }
        _check_settings(settings, len(self.stack.layers))
        check_whole_number("checkpoint_every", checkpoint_every)
        labels, weights = labels_and_weights(self.tasks, examples)
        training = TextRankerTraining(self, examples, labels, weights, settings)
        checkpoint = None
        if checkpoint_folder is not None:
            of = settings | {"ranker": self.fingerprint(), "examples": examples.fingerprint()}
            checkpoint = TuningCheckpoint(checkpoint_folder, of)
        return training.run(checkpoint, checkpoint_every, advance)

    @classmethod
    def load(
        cls, folder: str | os.PathLike[str], encoder: TextEncoder, *, batch_size: int = 128
    ) -> BertTextRanker:
        """Load a saved text ranker.

        Args:
            folder: a folder written by `save`.
            encoder: a freshly loaded encoder of the checkpoint that it was trained from.
            batch_size: texts read at a time.

        Raises:
            InputError: the folder cannot be read, or the model was trained from another checkpoint.
        """
        arguments, weights = read_tuned_bert(folder, cls.kind, encoder)
        tasks = [tf.keras.utils.deserialize_keras_object(task) for task in arguments.pop("tasks")]
        loaded = cls(encoder, tasks, batch_size=batch_size, **arguments)
        loaded._assign(weights)
        return loaded

    def _logits_of(self, input_ids: tf.Tensor, attention_mask: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.read(input_ids, attention_mask, False)


class TaskHeads(tf.keras.layers.Layer):
    """Dropout, then one head per task: [n, text_dim] to float32 [n, width] by task."""

    def __init__(self, tasks: Sequence[RankingTask], dropout: float, seed: int | None) -> None:
        super().__init__()
        self.dropout = tf.keras.layers.Dropout(dropout)
        self.of_task = {
            task.name: task.head(None if seed is None else seed + place, None)
            for place, task in enumerate(tasks)
        }

    def call(self, pooled: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Logits of pooled texts."""
        kept = self.dropout(pooled, training=training)
        return {name: tf.cast(head(kept), tf.float32) for name, head in self.of_task.items()}


def _check_tasks(tasks: Sequence[RankingTask]) -> None:
    names = [task.name for task in tasks]
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"`tasks` must be at least one task, each with another name. Received: {names}."
        )
    next_item = [task.name for task in tasks if isinstance(task, NextItem)]
    if next_item:
        raise ValueError(
            f"A text ranker reads one text per row and has no catalogue: it has no logits "
            f"of {next_item[0]!r}, a `NextItem` task. Remove it."
        )


class LengthBatches:
    """Rows in seeded batches of similar length; batch number s is always the same.

    Every epoch shuffles the rows, splits them into pools of 50 batches, sorts each pool by length,
    and shuffles the batches. So every row is used once per epoch, in different batches.

    Args:
        lengths: int [num_rows], number of tokens of each row's text.
        batch_size: rows per batch; one batch of an epoch may have fewer.
        seed: int.

    Example:
    >>> batches = LengthBatches(np.array([9, 2, 8, 3]), 2, seed=0)
    >>> sorted(sorted(batches[step].tolist()) for step in range(2))
    [[0, 2], [1, 3]]
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed = lengths, batch_size, seed
        self._epoch, self._batches = -1, [np.zeros(0, np.int64)]

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches per epoch."""
        return -(-len(self.lengths) // self.batch_size)

    def __getitem__(self, step: int) -> np.ndarray:
        """The rows of one step; epochs follow each other."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._of_epoch(epoch)
        return self._batches[place]

    def _of_epoch(self, epoch: int) -> list[np.ndarray]:
        random = np.random.default_rng([self.seed, epoch])
        order, pool_size = random.permutation(len(self.lengths)), BATCHES_PER_POOL * self.batch_size
        batches: list[np.ndarray] = []
        for start in range(0, len(order), pool_size):
            pool = order[start : start + pool_size]
            pool = pool[np.argsort(self.lengths[pool], kind="stable")]
            batches += np.split(pool, range(self.batch_size, len(pool), self.batch_size))
        return [batches[place] for place in random.permutation(len(batches))]


def labels_and_weights(
    tasks: dict[str, RankingTask], examples: RankingExamples
) -> tuple[np.ndarray, np.ndarray]:
    """Return labels without NaN, and their weights: both float32 [num_rows, num_tasks].

    A row without a label for a task gets a valid label and the weight 0.

    Raises:
        InputError: a task has no labels, or one is out of its range.
    """
    labels, weights = [], []
    for name, task in tasks.items():
        given = examples.labels_of(name)
        task.check(given)
        there = ~np.isnan(given)
        labels.append(np.where(there, given, task.valid_label))
        weights.append(there * (1.0 if examples.weights is None else examples.weights))
    return np.stack(labels, axis=1), np.stack(weights, axis=1).astype(np.float32)


def _check_settings(settings: dict[str, Any], num_layers: int) -> None:
    for name in ("num_epochs", "batch_size"):
        check_whole_number(name, settings[name])
    if settings["clip_norm"] is not None and not settings["clip_norm"] > 0:
        raise ValueError(
            "`clip_norm` must be None or greater than 0. Received: "
            f"clip_norm={settings['clip_norm']!r}."
        )
    check_num_layers(settings["num_layers"], num_layers)


class TextRankerTraining(ResumableTraining):
    """The state of one training, and its step."""

    def __init__(
        self,
        ranker: BertTextRanker,
        examples: RankingExamples,
        labels: np.ndarray,
        weights: np.ndarray,
        settings: dict[str, Any],
    ) -> None:
        self.ranker, self.labels, self.weights = ranker, labels, weights
        self.tokens = ranker.tokens(examples)
        self.batches = LengthBatches(self.tokens.lengths, settings["batch_size"], settings["seed"])
        seed, self.clip_norm = settings["seed"], settings["clip_norm"]
        super().__init__(
            ranker.groups(settings),
            [(ranker.encoder.model, seed), (ranker.head, ~seed)],
            num_steps=settings["num_epochs"] * self.batches.steps_per_epoch,
            warmup_share=settings["warmup_share"],
        )
        tokens, rows = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None, None])
        self.step = tf.function(self._step, input_signature=[tokens, tokens, rows, rows])

    def take_step(self, number: int) -> None:
        """Take a step on the rows of one batch."""
        rows = self.batches[number]
        self.step(
            *self.ranker.padded(self.tokens, rows),
            tf.constant(self.labels[rows]),
            tf.constant(self.weights[rows]),
        )

    def loss(
        self,
        input_ids: tf.Tensor,
        attention_mask: tf.Tensor,
        labels: tf.Tensor,
        weights: tf.Tensor,
        training: bool,
    ) -> tf.Tensor:
        """Return the sum over tasks of the mean loss over the labelled rows, a scalar.

        `labels` and `weights` are [n, num_tasks]; a label is used if its weight is above 0.
        """
        logits = self.ranker.read(input_ids, attention_mask, training)
        return tf.add_n(
            [
                weighted_mean(task.loss(labels[:, place], logits[name]), weights[:, place])
                for place, (name, task) in enumerate(self.ranker.tasks.items())
            ]
        )

    def _step(
        self,
        input_ids: tf.Tensor,
        attention_mask: tf.Tensor,
        labels: tf.Tensor,
        weights: tf.Tensor,
    ) -> None:
        with tf.GradientTape() as tape:
            loss = self.loss(input_ids, attention_mask, labels, weights, True)
        gradients = tape.gradient(loss, self.variables)
        if self.clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self.clip_norm)
        self.finish_step(loss, gradients)
