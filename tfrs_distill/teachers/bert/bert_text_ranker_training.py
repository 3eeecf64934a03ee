"""The training of a text ranker: batches of like length, and the steps."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.losses.weighted_mean import weighted_mean
from tfrs_distill.models.tasks import RankingTask
from tfrs_distill.teachers.bert.layer_training import LayerTraining, check_num_layers
from tfrs_distill.teachers.bert.tuning_checkpoint import TuningCheckpoint
from tfrs_distill.teachers.whole_number import check_whole_number

if TYPE_CHECKING:
    from tfrs_distill.teachers.bert.bert_text_ranker import BertTextRanker

BATCHES_A_POOL = 50  # neighbours in length are looked for among so many batches of shuffled rows


class LengthBatches:
    """Rows in seeded batches of like length; batch number s is the same whenever it is asked for.

    Every epoch shuffles the rows, cuts them into pools of 50 batches, sorts each pool by length,
    and shuffles the batches. So every row comes once an epoch, in another company each time.

    Args:
        lengths: int [num_rows], tokens of each row's text.
        batch_size: rows a batch; one batch of an epoch may have fewer.
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
        """Batches that all rows fill."""
        return -(-len(self.lengths) // self.batch_size)

    def __getitem__(self, step: int) -> np.ndarray:
        """The rows of one step; epochs follow each other."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._of_epoch(epoch)
        return self._batches[place]

    def _of_epoch(self, epoch: int) -> list[np.ndarray]:
        random = np.random.default_rng([self.seed, epoch])
        order, pool_size = random.permutation(len(self.lengths)), BATCHES_A_POOL * self.batch_size
        batches: list[np.ndarray] = []
        for start in range(0, len(order), pool_size):
            pool = order[start : start + pool_size]
            pool = pool[np.argsort(self.lengths[pool], kind="stable")]
            batches += np.split(pool, range(self.batch_size, len(pool), self.batch_size))
        return [batches[place] for place in random.permutation(len(batches))]


def train_text_ranker(
    ranker: BertTextRanker,
    examples: RankingExamples,
    settings: dict[str, Any],
    checkpoint_folder: str | os.PathLike[str] | None,
    checkpoint_every: int,
    advance: Callable[[int], Any] | None,
) -> list[float]:
    """Train in place; see `BertTextRanker.fit`, whose arguments `settings` holds."""
    _check_settings(settings, len(ranker.stack.layers))
    check_whole_number("checkpoint_every", checkpoint_every)
    labels, weights = labels_and_weights(ranker.tasks, examples)
    training = TextRankerTraining(ranker, examples, labels, weights, settings)
    checkpoint = None
    if checkpoint_folder is not None:
        of = settings | {"ranker": ranker.fingerprint(), "examples": examples.fingerprint()}
        checkpoint = TuningCheckpoint(checkpoint_folder, of)
    return training.run(checkpoint, checkpoint_every, advance)


def labels_and_weights(
    tasks: dict[str, RankingTask], examples: RankingExamples
) -> tuple[np.ndarray, np.ndarray]:
    """Labels without NaN, and what each counts for: float32 [num_rows, num_tasks], both.

    A row without a label for a task gets one that the task may have, and the weight 0.

    Raises:
        InputError: a task has no labels, or one out of its range.
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


class TextRankerTraining(LayerTraining):
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
        num_steps = settings["num_epochs"] * self.batches.steps_per_epoch
        super().__init__(ranker.encoder.model, ranker.stack, ranker.heads, num_steps, settings)
        tokens, rows = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None, None])
        self.step = tf.function(self._step, input_signature=[tokens, tokens, rows, rows])

    def take_step(self, number: int) -> None:
        """On the rows of one batch."""
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
        """The sum over tasks of the mean over the rows that are labelled, a scalar.

        Args:
            input_ids: int32 [n, length].
            attention_mask: int32 [n, length].
            labels: float32 [n, num_tasks], of any valid value where the weight is 0.
            weights: float32 [n, num_tasks].
            training: whether dropout is on.
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
        groups = [variables for _, variables in self.groups]
        with tf.GradientTape() as tape:
            loss = self.loss(input_ids, attention_mask, labels, weights, True)
        gradients = tape.gradient(loss, groups)
        if self.settings["clip_norm"] is not None:
            flat, _ = tf.clip_by_global_norm(tf.nest.flatten(gradients), self.settings["clip_norm"])
            gradients = tf.nest.pack_sequence_as(gradients, flat)
        self.finish_step(loss, gradients)
