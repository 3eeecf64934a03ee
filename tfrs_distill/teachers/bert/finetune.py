"""Fine-tune a teacher's BERT together with the towers that read its vectors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.windows import Windows
from tfrs_distill.losses.unlikelihood import loss_of_labels
from tfrs_distill.losses.weighted_mean import weighted_mean
from tfrs_distill.teachers.bert.bert_two_tower import BertTwoTower
from tfrs_distill.teachers.bert.gradient_cache import GradientCache
from tfrs_distill.teachers.bert.linear_warmup_decay import LinearWarmupDecay
from tfrs_distill.teachers.bert.parameter_efficient import (
    Attached,
    BottleneckAdapters,
    LoRA,
    PrefixVectors,
)
from tfrs_distill.teachers.bert.parameter_efficient.attached import check_bare
from tfrs_distill.teachers.bert.parameter_efficient.layer_stack import LayerStack
from tfrs_distill.teachers.bert.resumable_training import ResumableTraining, TuningCheckpoint
from tfrs_distill.teachers.bert.text_chunks import LayerChunks, TokenChunks
from tfrs_distill.teachers.bert.text_encoder import TextEncoder
from tfrs_distill.teachers.bert.trained_layers import AllLayers, LearningRateGroups, TopLayers
from tfrs_distill.teachers.whole_number import check_whole_number

Tuning = TopLayers | AllLayers | LoRA | BottleneckAdapters | PrefixVectors


@dataclass(frozen=True)
class Finetuned:
    """The result of `finetune`.

    Args:
        losses: the loss of each step.
        num_parameters: number of trained parameters of the BERT.
        attached: saves, merges or detaches the layers that `LoRA`, `BottleneckAdapters` or
            `PrefixVectors` added to the encoder; None if the encoder's own layers were trained.
    """

    losses: list[float]
    num_parameters: int
    attached: Attached | None


def finetune(
    teacher: BertTwoTower,
    encoder: TextEncoder,
    windows: Windows,
    *,
    tuning: Tuning | None = None,
    num_steps: int = 300,
    batch_size: int = 8,
    num_negatives: int = 128,
    learning_rate: float | None = None,
    tower_learning_rate: float = 5e-4,
    warmup_share: float = 0.1,
    weight_decay: float = 0.0,
    chunk_size: int = 128,
    seed: int = 0,
    checkpoint_folder: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 100,
    advance: Callable[[int], Any] | None = None,
) -> Finetuned:
    """Train the BERT and the teacher's towers together, then recompute the teacher's text vectors.

    A step reads the texts of the items in its windows and of `num_negatives` other, uniformly drawn
    items. It minimises the cross-entropy of the next item among these, weighted by the windows'
    `weights`, if they have any. The texts are encoded in chunks of similar length with exact
    gradients (`GradientCache`), so memory does not grow with their number. The BERT's dropout is
    off, so that a text always has the same vector; the towers' dropout on text vectors, item
    embeddings and histories regularises. The optimizer is Adam with linear warm-up and linear decay
    (`LinearWarmupDecay`). Both `teacher` and `encoder` are changed in place.

    Args:
        teacher: a `BertTwoTower`, preferably after `fit` with frozen vectors.
        encoder: the text encoder of the teacher's vectors.
        windows: training windows.
        tuning: the part of the BERT that is trained: `LoRA`, `BottleneckAdapters`, `PrefixVectors`,
            `TopLayers` or `AllLayers`; `LoRA()` by default.
        num_steps: number of training steps.
        batch_size: windows per step.
        num_negatives: number of items that are read in addition to those of the windows.
        learning_rate: peak learning rate of the BERT; None for the tuning's
            `default_learning_rate`.
        tower_learning_rate: peak learning rate of the towers.
        warmup_share: share of the steps that are warm-up.
        weight_decay: Adam's decoupled decay of the BERT's trained matrices, per step and unit of
            learning rate; biases and normalisations do not decay.
        chunk_size: texts, or windows of long texts, encoded at a time: larger chunks are slightly
            faster and need more memory.
        seed: seed of batch order, negatives and dropout.
        checkpoint_folder: folder for the training's state. A call with the same arguments, a
            freshly loaded encoder and a teacher of the same shape resumes from it, with the same
            result as without interruption. None for no checkpoints.
        checkpoint_every: steps between two checkpoints.
        advance: called with the number of steps done since the last call.

    Returns:
        The losses, and what was attached to the encoder.

    Raises:
        ValueError: an argument is out of its range, or the encoder already has added layers.
        InputError: `checkpoint_folder` has the state of another training.
    """
    tuning = LoRA() if tuning is None else tuning
    settings: dict[str, Any] = {
        "tuning": repr(tuning),
        "num_steps": num_steps,
        "batch_size": batch_size,
        "num_negatives": num_negatives,
        "learning_rate": tuning.default_learning_rate if learning_rate is None else learning_rate,
        "tower_learning_rate": tower_learning_rate,
        "warmup_share": warmup_share,
        "weight_decay": weight_decay,
        "seed": seed,
    }
    for name in ("batch_size", "num_steps"):
        check_whole_number(name, settings[name])
    check_whole_number("num_negatives", num_negatives, least=0)
    if not weight_decay >= 0:
        raise ValueError(
            f"`weight_decay` must be at least 0. Received: weight_decay={weight_decay!r}."
        )
    for name in ("learning_rate", "tower_learning_rate"):  # checked before anything is attached
        LinearWarmupDecay(settings[name], num_steps=num_steps, warmup_share=warmup_share)
    for name, value in (("chunk_size", chunk_size), ("checkpoint_every", checkpoint_every)):
        check_whole_number(name, value)
    check_bare(encoder, f"be tuned with {type(tuning).__name__}")
    checkpoint = None
    if checkpoint_folder is not None:
        of = settings | _described(teacher, encoder, windows)
        checkpoint = TuningCheckpoint(checkpoint_folder, of)
    training = _Training(teacher, encoder, windows, tuning, settings, chunk_size)
    try:
        losses = training.run(checkpoint, checkpoint_every, advance)
        teacher.candidate_tower.set_text_vectors(encoder.encode(windows.catalogue.texts))
    except BaseException:
        if training.attached is not None:
            training.attached.detach()
        raise
    num_parameters = sum(int(np.prod(v.shape)) for v in training.tuned)
    return Finetuned(losses, num_parameters, training.attached)


def _described(teacher: BertTwoTower, encoder: TextEncoder, windows: Windows) -> dict[str, Any]:
    """Return what decides the result in addition to the settings: models and data."""
    return {
        "teacher": teacher.get_config(),
        "encoder": LayerStack(encoder.model).fingerprint(),
        "max_length": encoder.max_length,
        "pooling": encoder.pooling,
        "long_texts": encoder.long_texts,
        "windows": windows.fingerprint(),
    }


class _Training(ResumableTraining):
    """The state of one fine-tuning, and its step."""

    def __init__(
        self,
        teacher: BertTwoTower,
        encoder: TextEncoder,
        windows: Windows,
        tuning: Tuning,
        settings: dict[str, Any],
        chunk_size: int,
    ) -> None:
        if windows.max_history != teacher.max_history:
            raise ValueError(
                f"The windows hold {windows.max_history} items, but the teacher reads histories "
                f"of {teacher.max_history}. Give both the same `max_history`."
            )
        self.teacher, self.windows = teacher, windows
        self.settings, self.chunk_size = settings, chunk_size
        self.texts, groups, self.attached = _tuned(
            tuning, encoder, windows.catalogue.texts, chunk_size
        )
        towers = teacher.trainable_variables
        super().__init__(
            [(settings["learning_rate"] * factor, variables) for factor, variables in groups]
            + [(settings["tower_learning_rate"], towers)],
            [(teacher, settings["seed"])],
            num_steps=settings["num_steps"],
            warmup_share=settings["warmup_share"],
            weight_decay=[settings["weight_decay"]] * len(groups) + [0.0],
        )
        self.tuned = self.variables[: -len(towers)]
        history = tf.TensorSpec([None, windows.max_history], tf.int32)
        items = tf.TensorSpec([None], tf.int32)
        signature = [history, history, items, items, items]
        if windows.weights is not None:
            signature.append(tf.TensorSpec([None, windows.max_history], tf.float32))
        self.cache = GradientCache(
            self.texts.encode,
            self._loss,
            self.tuned,
            towers,
            chunk_signature=self.texts.signature,
            loss_signature=signature,
            dim=encoder.hidden_dim,
        )
        self._apply = tf.function(self._apply_gradients)
        self._batches: Iterator[dict[str, tf.Tensor]] | None = None

    def take_step(self, number: int) -> None:
        """Take a step on the next batch of windows."""
        if self._batches is None:
            batches = self.windows.batches(self.settings["batch_size"], seed=self.settings["seed"])
            self._batches = iter(batches.repeat().skip(number))
        batch = next(self._batches)
        history, labels = batch[columns.HISTORY], batch[columns.LABELS]
        items = self.items_of(history, labels)
        chunks = self.texts.chunks_of(items - 1, self.chunk_size)
        windows = np.concatenate(chunks)
        texts = np.searchsorted(items - 1, self.texts.tokens.texts[windows]).astype(np.int32)
        read = [self.texts.chunk(windows) for windows in chunks]
        lengths = self.texts.tokens.lengths[windows].astype(np.int32)
        weights = [batch[columns.SAMPLE_WEIGHT]] if columns.SAMPLE_WEIGHT in batch else []
        loss = self.cache.step(
            read, history, labels, *map(tf.constant, (items, texts, lengths)), *weights
        )
        self._apply(loss)

    def _loss(
        self,
        pooled: tf.Tensor,
        history: tf.Tensor,
        labels: tf.Tensor,
        items: tf.Tensor,
        texts: tf.Tensor,
        lengths: tf.Tensor,
        weights: tf.Tensor | None = None,
    ) -> tf.Tensor:
        vectors = self.texts.combine(pooled, texts, lengths, tf.size(items))
        return sampled_cross_entropy(self.teacher, vectors, history, labels, items, weights)

    def items_of(self, history: tf.Tensor, labels: tf.Tensor) -> np.ndarray:
        """Return the items whose texts a step reads, ascending: the windows' and the negatives."""
        num_items, wanted = self.windows.catalogue.num_items, self.settings["num_negatives"]
        generator = np.random.default_rng([self.settings["seed"], int(self.num_done)])
        others = generator.choice(num_items, min(wanted, num_items), replace=False) + 1
        interacted = np.union1d(history.numpy(), labels.numpy())
        return np.union1d(interacted[interacted > columns.PADDING], others).astype(np.int32)

    def _apply_gradients(self, loss: tf.Tensor) -> None:
        self.finish_step(loss, [gradient.read_value() for gradient in self.cache.gradients])
        self.cache.clear()


def _tuned(
    tuning: Tuning, encoder: TextEncoder, texts: Sequence[str], chunk_size: int
) -> tuple[TokenChunks | LayerChunks, LearningRateGroups, Attached | None]:
    """Return the chunks, the trained weights by learning rate, and the attached layers."""
    if isinstance(tuning, (TopLayers, AllLayers)):
        groups = tuning.groups(LayerStack(encoder.model))
        if isinstance(tuning, TopLayers):
            return LayerChunks(encoder, texts, tuning.num_layers, chunk_size), groups, None
        return TokenChunks(encoder, texts), groups, None
    attached = tuning.attach(encoder)
    return TokenChunks(encoder, texts), [(1.0, attached.trainable_variables)], attached


def sampled_cross_entropy(
    teacher: BertTwoTower,
    vectors: tf.Tensor,
    history: tf.Tensor,
    labels: tf.Tensor,
    items: tf.Tensor,
    weights: tf.Tensor | None = None,
) -> tf.Tensor:
    """Return the mean cross-entropy of the next item among `items`, with new text vectors.

    `items`, int32 [num_items_read], are ascending and contain all items of `history` and `labels`,
    [batch_size, max_history]; `vectors`, [num_items_read, text_dim], are those of their texts;
    `weights` are those of the labels, if there are any, below 0 for dislikes.
    """
    tower = teacher.candidate_tower

    def embed(ids: tf.Tensor, text: tf.Tensor) -> tf.Tensor:
        text = tower.projection(tower.dropout(text, training=True))
        return tf.gather(tower.id_embeddings, ids) + text

    rows = tf.minimum(tf.searchsorted(items, tf.reshape(history, [-1])), tf.size(items) - 1)
    read = tf.reshape(tf.gather(vectors, rows), [-1, teacher.max_history, tower.text_dim])
    present = history > columns.PADDING
    queries = teacher.query_tower.encoder(embed(history, read), present, training=True)
    labelled = labels > columns.PADDING
    logits = tf.matmul(
        tf.boolean_mask(queries, labelled), embed(items, vectors), transpose_b=True
    ) + tf.gather(tower.biases, items)
    targets = tf.searchsorted(items, tf.boolean_mask(labels, labelled))
    if weights is not None:
        weights = tf.boolean_mask(weights, labelled)
    losses = loss_of_labels(targets, logits, weights)
    if weights is None:
        return tf.reduce_mean(losses)
    return weighted_mean(losses, tf.abs(weights))
