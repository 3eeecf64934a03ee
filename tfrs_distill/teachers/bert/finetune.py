"""Train a teacher's BERT together with the towers that read its vectors."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.windows import Windows
from tfrs_distill.losses.categorical_cross_entropy import categorical_cross_entropy
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
from tfrs_distill.teachers.bert.step_dropout import step_dropout
from tfrs_distill.teachers.bert.text_chunks import LayerChunks, TokenChunks
from tfrs_distill.teachers.bert.text_encoder import TextEncoder
from tfrs_distill.teachers.bert.trained_layers import AllLayers, LearningRateGroups, TopLayers
from tfrs_distill.teachers.bert.tuning_checkpoint import TuningCheckpoint
from tfrs_distill.teachers.whole_number import check_whole_number

Tuning = TopLayers | AllLayers | LoRA | BottleneckAdapters | PrefixVectors


@dataclass(frozen=True)
class Finetuned:
    """What `finetune` did.

    Args:
        losses: the loss of each step.
        num_parameters: numbers in the BERT's weights that trained.
        attached: what saves, merges or detaches the layers that `LoRA`, `BottleneckAdapters` or
            `PrefixVectors` have put onto the encoder; None where its own layers trained.
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
    """Train the BERT and the teacher's towers together, then refresh the teacher's text vectors.

    A step reads the texts of the items in its windows and of `num_negatives` others drawn evenly,
    and minimises the cross-entropy of the next item among those. The texts are encoded in chunks of
    like length with exact gradients (`GradientCache`), so memory does not grow with their number.
    The BERT's own dropout stays off, so that a text has the same vector whenever it is encoded; the
    towers' dropout on text vectors, item embeddings and histories regularises. Adam takes the
    steps, its learning rate rising and falling in straight lines (`LinearWarmupDecay`). Both
    `teacher` and `encoder` are changed in place.

    Args:
        teacher: a `BertTwoTower`, best after `fit` with frozen vectors.
        encoder: the text encoder whose vectors it reads.
        windows: training windows.
        tuning: what of the BERT trains: `LoRA`, `BottleneckAdapters`, `PrefixVectors`, `TopLayers`
            or `AllLayers`; `LoRA()` by default.
        num_steps: steps to train for.
        batch_size: windows a step.
        num_negatives: items read beside those of the windows.
        learning_rate: the BERT's at its peak; None takes the tuning's `default_learning_rate`.
        tower_learning_rate: the towers' at its peak.
        warmup_share: share of the steps in which the learning rates rise.
        weight_decay: Adam's decoupled decay of the BERT's trained matrices, a step and per unit of
            learning rate; biases and normalisations do not decay.
        chunk_size: texts, or windows of long ones, encoded at a time: more is a little faster and
            takes more memory.
        seed: of batch order, negatives and dropout.
        checkpoint_folder: where the training's state is kept; a call with the same arguments, a
            freshly loaded encoder and a teacher of the same shape goes on from there and ends as
            if it had never stopped. None keeps none.
        checkpoint_every: steps between two checkpoints.
        advance: called with the number of steps done since the last call.

    Returns:
        The losses, and what was attached to the encoder.

    Raises:
        ValueError: an argument is out of its range, or the encoder carries added layers already.
        InputError: `checkpoint_folder` holds another training's state.
    """
    tuning = LoRA() if tuning is None else tuning
    settings = _Settings(
        tuning=tuning,
        num_steps=num_steps,
        batch_size=batch_size,
        num_negatives=num_negatives,
        learning_rate=tuning.default_learning_rate if learning_rate is None else learning_rate,
        tower_learning_rate=tower_learning_rate,
        warmup_share=warmup_share,
        weight_decay=weight_decay,
        seed=seed,
    )
    for name, value in (("chunk_size", chunk_size), ("checkpoint_every", checkpoint_every)):
        check_whole_number(name, value)
    check_bare(encoder, f"be tuned with {type(tuning).__name__}")
    checkpoint = None
    if checkpoint_folder is not None:
        of = settings.described() | _described(teacher, encoder, windows)
        checkpoint = TuningCheckpoint(checkpoint_folder, of)
    training = _Training(teacher, encoder, windows, settings, chunk_size)
    try:
        training.run(checkpoint, checkpoint_every, advance or (lambda steps: None))
        teacher.candidate_tower.set_text_vectors(encoder.encode(windows.catalogue.texts))
    except BaseException:
        if training.attached is not None:
            training.attached.detach()
        raise
    num_parameters = sum(int(np.prod(v.shape)) for v in training.variables)
    return Finetuned(training.losses.numpy().tolist(), num_parameters, training.attached)


@dataclass(frozen=True)
class _Settings:
    """What decides, with data and models, what a training comes to."""

    tuning: Tuning
    num_steps: int
    batch_size: int
    num_negatives: int
    learning_rate: float
    tower_learning_rate: float
    warmup_share: float
    weight_decay: float
    seed: int

    def __post_init__(self) -> None:
        check_whole_number("batch_size", self.batch_size)
        check_whole_number("num_steps", self.num_steps)
        check_whole_number("num_negatives", self.num_negatives, least=0)
        if not self.weight_decay >= 0:
            raise ValueError(
                f"`weight_decay` must be at least 0. Received: weight_decay={self.weight_decay!r}."
            )
        for peak in (self.learning_rate, self.tower_learning_rate):
            self.schedule(peak)

    def schedule(self, peak: float) -> LinearWarmupDecay:
        return LinearWarmupDecay(peak, num_steps=self.num_steps, warmup_share=self.warmup_share)

    def described(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"tuning": repr(self.tuning)}


def _described(teacher: BertTwoTower, encoder: TextEncoder, windows: Windows) -> dict[str, Any]:
    """What else decides: the models' shapes, the BERT's weights and the data."""
    return {
        "teacher": teacher.get_config(),
        "encoder": LayerStack(encoder.model).fingerprint(),
        "max_length": encoder.max_length,
        "pooling": encoder.pooling,
        "long_texts": encoder.long_texts,
        "windows": windows.fingerprint(),
    }


class _Training:
    """The state of one fine-tuning, and its step."""

    def __init__(
        self,
        teacher: BertTwoTower,
        encoder: TextEncoder,
        windows: Windows,
        settings: _Settings,
        chunk_size: int,
    ) -> None:
        if windows.max_history != teacher.max_history:
            raise ValueError(
                f"The windows hold {windows.max_history} items, but the teacher reads histories "
                f"of {teacher.max_history}. Give both the same `max_history`."
            )
        self.teacher, self.windows = teacher, windows
        self.settings, self.chunk_size = settings, chunk_size
        self.texts, self.groups, self.attached = _tuned(
            settings.tuning, encoder, windows.catalogue.texts, chunk_size
        )
        self.variables = [variable for _, variables in self.groups for variable in variables]
        history = tf.TensorSpec([None, windows.max_history], tf.int32)
        items = tf.TensorSpec([None], tf.int32)
        self.cache = GradientCache(
            self.texts.encode,
            self._loss,
            self.variables,
            teacher.trainable_variables,
            chunk_signature=self.texts.signature,
            loss_signature=[history, history, items, items, tf.TensorSpec([None], tf.float32)],
            dim=encoder.hidden_dim,
        )
        self.optimizers = [
            (self._optimizer(settings.learning_rate * factor, variables), variables)
            for factor, variables in self.groups
        ]
        towers = teacher.trainable_variables
        self.optimizers.append(
            (tf.keras.optimizers.Adam(settings.schedule(settings.tower_learning_rate)), towers)
        )
        for optimizer, variables in self.optimizers:
            optimizer.build(variables)
        self.num_done = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.losses = tf.Variable(tf.zeros([settings.num_steps]), trainable=False)
        self._apply = tf.function(self._apply_gradients)

    def _optimizer(self, peak: float, variables: list[tf.Variable]) -> tf.keras.optimizers.Adam:
        optimizer = tf.keras.optimizers.Adam(
            self.settings.schedule(peak), weight_decay=self.settings.weight_decay or None
        )
        if self.settings.weight_decay:
            optimizer.exclude_from_weight_decay([v for v in variables if v.shape.rank < 2])
        return optimizer

    def run(
        self,
        checkpoint: TuningCheckpoint | None,
        checkpoint_every: int,
        advance: Callable[[int], Any],
    ) -> None:
        """Take the steps that are not done yet."""
        settings = self.settings
        if checkpoint is not None:
            checkpoint.restore(
                variables=self.variables,
                towers=self.teacher.trainable_variables,
                optimizers=[optimizer for optimizer, _ in self.optimizers],
                num_done=self.num_done,
                losses=self.losses,
            )
        done = int(self.num_done)
        if done:
            advance(done)
        batches = self.windows.batches(settings.batch_size, seed=settings.seed).repeat()
        with step_dropout(self.teacher, settings.seed, self.num_done):
            for batch in batches.skip(done).take(settings.num_steps - done):
                self.step(batch[columns.HISTORY], batch[columns.LABELS])
                done += 1
                if checkpoint and (done % checkpoint_every == 0 or done == settings.num_steps):
                    checkpoint.save(done)
                advance(1)

    def step(self, history: tf.Tensor, labels: tf.Tensor) -> None:
        """One step of all weights on one batch of windows."""
        items = self.items_of(history, labels)
        chunks = self.texts.chunks_of(items - 1, self.chunk_size)
        windows = np.concatenate(chunks)
        texts = np.searchsorted(items - 1, self.texts.tokens.texts[windows]).astype(np.int32)
        read = [self.texts.chunk(windows) for windows in chunks]
        weights = self.texts.weights(windows)
        loss = self.cache.step(read, history, labels, *map(tf.constant, (items, texts, weights)))
        self._apply()
        self.losses.scatter_nd_update([[int(self.num_done)]], [loss])
        self.num_done.assign_add(1)

    def _loss(
        self,
        pooled: tf.Tensor,
        history: tf.Tensor,
        labels: tf.Tensor,
        items: tf.Tensor,
        texts: tf.Tensor,
        weights: tf.Tensor,
    ) -> tf.Tensor:
        vectors = self.texts.combine(pooled, texts, weights, tf.size(items))
        return sampled_cross_entropy(self.teacher, vectors, history, labels, items)

    def items_of(self, history: tf.Tensor, labels: tf.Tensor) -> np.ndarray:
        """The items whose texts a step reads, rising: those of the windows and the negatives."""
        num_items, wanted = self.windows.catalogue.num_items, self.settings.num_negatives
        generator = np.random.default_rng([self.settings.seed, int(self.num_done)])
        others = generator.choice(num_items, min(wanted, num_items), replace=False) + 1
        met = np.union1d(history.numpy(), labels.numpy())
        return np.union1d(met[met > columns.PADDING], others).astype(np.int32)

    def _apply_gradients(self) -> None:
        gradients = iter(self.cache.gradients)
        for optimizer, variables in self.optimizers:
            optimizer.apply_gradients([(next(gradients).read_value(), v) for v in variables])
        self.cache.clear()


def _tuned(
    tuning: Tuning, encoder: TextEncoder, texts: Sequence[str], chunk_size: int
) -> tuple[TokenChunks | LayerChunks, LearningRateGroups, Attached | None]:
    """What is encoded in a step, the weights that train with their learning rates' shares."""
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
) -> tf.Tensor:
    """Mean cross-entropy of the next item among `items`, read with fresh text vectors.

    Args:
        teacher: its towers score, with dropout.
        vectors: float [num_items_read, text_dim], the text vectors of `items`.
        history: int32 [batch_size, max_history].
        labels: int32 [batch_size, max_history]; 0 where there is none.
        items: int32 [num_items_read], rising; all of `history` and `labels` are among them.
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
    return tf.reduce_mean(categorical_cross_entropy(targets, logits))
