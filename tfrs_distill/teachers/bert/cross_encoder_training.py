"""The training of a cross-encoder: rows, hard negatives, and the steps."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.windows import Windows
from tfrs_distill.losses.categorical_cross_entropy import categorical_cross_entropy
from tfrs_distill.models.rows import rows_of, seen_items
from tfrs_distill.teachers.bert.layer_training import LayerTraining, check_num_layers
from tfrs_distill.teachers.bert.text_pairs import row_histories
from tfrs_distill.teachers.bert.tuning_checkpoint import TuningCheckpoint
from tfrs_distill.teachers.whole_number import check_whole_number

if TYPE_CHECKING:
    from tfrs_distill.teachers.bert.bert_cross_encoder import BertCrossEncoder


class RowBatches:
    """Rows of windows in even, seeded order: batch number s is the same whenever it is asked for.

    A row comes as its whole window with the labels of all other positions removed.

    Args:
        windows: training windows.
        batch_size: rows a batch.
        seed: int.
    """

    def __init__(self, windows: Windows, batch_size: int, seed: int) -> None:
        self.windows, self.batch_size, self.seed = windows, batch_size, seed
        self.rows = np.argwhere(windows.labels > columns.PADDING)
        self._orders: dict[int, np.ndarray] = {}

    def __getitem__(self, step: int) -> dict[str, tf.Tensor]:
        """The batch of one step; epochs follow each other without a gap."""
        asked = range(step * self.batch_size, (step + 1) * self.batch_size)
        row = [
            self._order(epoch)[place]
            for epoch, place in (divmod(number, len(self.rows)) for number in asked)
        ]
        windows, positions = self.rows[row].T
        labels = np.zeros((self.batch_size, self.windows.max_history), np.int32)
        places = np.arange(self.batch_size), positions
        labels[places] = self.windows.labels[windows, positions]
        return {
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
    """Columns of each row's label (first) and of its negatives: int32 [num_rows, 1 + both numbers].

    Hard negatives are drawn evenly from the row's `num_candidates` largest logits, the others
    evenly from all that is left; nothing is drawn twice, nor the label.

    Args:
        first_logits: float32 [num_rows, num_items].
        labels: int32 [num_rows], columns.
        allowed: bool [num_rows, num_items], what may be a negative.
        seed: int32 [2].
        num_hard: negatives from the top.
        num_even: other negatives.
        num_candidates: length of the top.
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


def train_cross_encoder(
    cross_encoder: BertCrossEncoder,
    windows: Windows,
    first_stage: Any,
    settings: dict[str, Any],
    checkpoint_folder: str | os.PathLike[str] | None,
    checkpoint_every: int,
    advance: Callable[[int], Any] | None,
) -> list[float]:
    """What `BertCrossEncoder.fit` does; see there."""
    _check(settings, windows, len(cross_encoder.stack.layers))
    training = CrossEncoderTraining(cross_encoder, windows, first_stage, settings)
    checkpoint = None
    if checkpoint_folder is not None:
        models = {
            "cross_encoder": cross_encoder.fingerprint(),
            "first_stage": first_stage.fingerprint(),
            "windows": windows.fingerprint(),
            "exclude_seen": windows.catalogue.exclude_seen,
        }
        checkpoint = TuningCheckpoint(checkpoint_folder, settings | models)
    return training.run(checkpoint, checkpoint_every, advance)


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
        met = np.sort(np.concatenate([windows.history, windows.labels], axis=1), axis=1)
        distinct = 1 + np.count_nonzero(np.diff(met), axis=1) - (met[:, 0] == columns.PADDING)
        taken, words = int(distinct.max()), "are in every row neither its label nor in its history"
    others = len(windows.existing_items()) - taken
    if settings["num_negatives"] > others:
        raise ValueError(
            f"`num_negatives` must be at most {others}: so many items {words}. Received: "
            f"num_negatives={settings['num_negatives']!r}."
        )


class CrossEncoderTraining(LayerTraining):
    """The state of one training, and its step."""

    def __init__(
        self,
        cross_encoder: BertCrossEncoder,
        windows: Windows,
        first_stage: Any,
        settings: dict[str, Any],
    ) -> None:
        model, stack, head = cross_encoder.encoder.model, cross_encoder.stack, cross_encoder.head
        super().__init__(model, stack, head, settings["num_steps"], settings)
        self.cross_encoder, self.first_stage = cross_encoder, first_stage
        self.batches = RowBatches(windows, settings["batch_size"], settings["seed"])
        self.items = tf.constant(windows.existing_items())
        self.exclude_seen = windows.catalogue.exclude_seen
        self.num_hard = round(settings["hard_share"] * settings["num_negatives"])
        self.step = tf.function(self._step, reduce_retracing=True)

    def take_step(self, number: int) -> None:
        """On the rows of one batch."""
        self.step(self.batches[number])

    def lists_of(self, batch: dict[str, tf.Tensor], labels: tf.Tensor) -> tf.Tensor:
        """Item indices of each row's label, first, and negatives: int32 [num_rows, 1 + number]."""
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
            said = self.cross_encoder.read(repeated, tf.reshape(lists, [-1]), True)
            logits = tf.reshape(said, tf.shape(lists))
            first = tf.zeros(tf.shape(lists)[:1], tf.int32)
            loss = tf.reduce_mean(categorical_cross_entropy(first, logits))
        self.finish_step(loss, tape.gradient(loss, [variables for _, variables in self.groups]))
