"""What every retrieval model shares, whatever its towers read: the loss, the step, the metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_distill import columns
from tfrs_distill.errors import InputError
from tfrs_distill.losses.categorical_cross_entropy import categorical_cross_entropy
from tfrs_distill.losses.weighted_mean import weighted_mean
from tfrs_distill.models.candidates import Candidates, CandidateSet
from tfrs_distill.models.first_batch import ChecksFirstBatch
from tfrs_distill.models.replicas import mean_over_global_batch
from tfrs_distill.models.step import take_step
from tfrs_distill.models.student_outputs import Head, StudentOutputs

NEXT_ITEM = "next_item"  # the task of a retrieval model


class RetrievalModel(ChecksFirstBatch, tfrs.Model):
    """A `tfrs.Model` of a query and a candidate tower, for training alone or in a `Distiller`.

    A subclass says what a batch's rows and their candidates are. The loss of in-batch and sampled
    candidates is that of `tfrs.tasks.Retrieval` with the same options, but a mean over rows; a
    catalogue's, which the task does not know, is the cross-entropy over item ids. The task itself
    is not run: it hides the candidates that a teacher must share, and its options fail in reduced
    precision and under XLA.

    Args:
        candidates: which items a step's softmax is over, and what is done to their logits.
        temperature: what the dot products are divided by.
    """

    def __init__(self, candidates: Candidates, temperature: float = 1.0, **kwargs: Any) -> None:
        # Towers cast what they read; columns such as sampling probabilities keep their precision.
        super().__init__(autocast=False, **kwargs)
        self.candidates, self.temperature = candidates, temperature
        self.factorized_metrics: list[tfrs.metrics.Factorized] = []
        self.batch_metrics: list[tf.keras.metrics.Metric] = []  # of one-hot labels and logits
        self.loss_metrics: list[tf.keras.metrics.Metric] = []  # of the loss
        self.loss_mean = tf.keras.metrics.Mean(name="loss")

    @property
    def task_names(self) -> tuple[str, ...]:
        """The one task: which candidate follows."""
        return (NEXT_ITEM,)

    def encode_rows(self, batch: dict[str, tf.Tensor], training: bool | None = None) -> tf.Tensor:
        """Query embeddings of the batch's rows, `[num_rows, dim]`."""
        raise NotImplementedError

    def encode_candidates(self, items: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Candidate embeddings, `[num_candidates]` to `[num_candidates, dim]`."""
        raise NotImplementedError

    def choose_candidates(self, batch: dict[str, tf.Tensor]) -> CandidateSet:
        """The candidates of the batch's rows."""
        raise NotImplementedError

    def to_rows(self, values: tf.Tensor, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """What a layer or a teacher says of the batch, `[num_rows, ...]`."""
        raise NotImplementedError

    def of_rows(self, examples: tf.Tensor, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """What belongs to examples, `[batch_size]`, at each of their rows, `[num_rows]`."""
        raise NotImplementedError

    def row_weights(self, batch: dict[str, tf.Tensor]) -> tf.Tensor | None:
        """Sample weights of the rows, float32 [num_rows]; None where all count 1."""
        raise NotImplementedError

    def call(self, batch: dict[str, tf.Tensor], training: bool | None = None) -> StudentOutputs:
        """The batch's rows, their candidates and the logits between them.

        Embeddings of reduced precision are cast to float32 before they meet.
        """
        queries = tf.cast(self.encode_rows(batch, training=training), tf.float32)
        chosen = self.choose_candidates(batch)
        embeddings = self.encode_candidates(chosen.ids, training=training)
        embeddings = tf.cast(embeddings, tf.float32)
        logits = self._scores(queries, embeddings)
        if self.candidates.num_hard_negatives is not None:
            chosen = chosen.with_hard_negatives(logits, self.candidates.num_hard_negatives)
        hidden = {"query_embeddings": queries, "candidate_embeddings": embeddings}
        return StudentOutputs({NEXT_ITEM: Head(chosen.adjust(logits), chosen)}, hidden)

    def logits(self, batch: dict[str, tf.Tensor], candidate_ids: tf.Tensor) -> tf.Tensor:
        """A teacher's answer: scores at the batch's rows, float32 [num_rows, num_candidates]."""
        queries = tf.cast(self.encode_rows(batch, training=False), tf.float32)
        candidates = tf.cast(self.encode_candidates(candidate_ids, training=False), tf.float32)
        return self._scores(queries, candidates)

    def _scores(self, queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        scores = tf.matmul(queries, candidates, transpose_b=True)
        return scores if self.temperature == 1.0 else scores / self.temperature

    def hard_loss(self, batch: dict[str, tf.Tensor], outputs: StudentOutputs) -> tf.Tensor:
        """Categorical cross-entropy with the labels, one value a row.

        Raises:
            ValueError: the batch has no labels.
        """
        chosen = outputs.candidates
        if chosen.labels is None:
            raise ValueError(
                "The batch has no labels, so there is no cross-entropy with them. Only a "
                "`Distiller` with `student_loss_weight=0` learns from unlabelled batches."
            )
        return categorical_cross_entropy(chosen.label_columns, outputs.logits)

    def label_column(self, task: str) -> str:
        """The batch's column with the labels."""
        return columns.LABELS

    def has_labels(self, task: str, outputs: StudentOutputs, batch: Mapping[str, Any]) -> bool:
        """Whether the batch has labels of the task."""
        return outputs.candidates.labels is not None

    def hard_losses(
        self, batch: dict[str, tf.Tensor], outputs: StudentOutputs, tasks: Sequence[str]
    ) -> dict[str, tuple[tf.Tensor, tf.Tensor | None]]:
        """Each task's loss and weight a row; a weight of None counts 1.

        Args:
            batch: the batch's columns.
            outputs: of the forward pass.
            tasks: those that the batch has labels of.
        """
        return {task: (self.hard_loss(batch, outputs), self.row_weights(batch)) for task in tasks}

    def reads_logits(self, task: str) -> bool:
        """Whether the task's loss is of logits, not of values."""
        return True

    def rows_are_lists(self, task: str) -> bool:
        """Whether the logits of one row are those of a list of candidates."""
        return True

    def combine(self, losses: Mapping[str, tf.Tensor], tape: Any = None) -> tf.Tensor:
        """The loss of the one task."""
        (loss,) = losses.values()
        return loss

    def as_batch(self, data: Any) -> dict[str, Any]:
        """A dict of columns from whatever `fit` hands over: a dict, or Keras' `(x, y, weight)`."""
        x, y, sample_weight = tf.keras.utils.unpack_x_y_sample_weight(data)
        if not isinstance(x, Mapping):
            raise InputError(
                f"A retrieval model reads batches that are dicts of columns. Received: {type(x)}."
            )
        batch = dict(x)
        if y is not None:
            batch[columns.LABELS] = tf.convert_to_tensor(y)
        if sample_weight is not None:
            batch[columns.SAMPLE_WEIGHT] = tf.convert_to_tensor(sample_weight)
        return batch

    def check_batch(self, data: Any) -> None:
        """See `ChecksFirstBatch`: labels are among the candidates."""
        outputs = self(self.as_batch(data), training=False)
        check_label_columns(outputs)

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """What is logged and reset: the loss, the task's, those of `compile`, the corpus'."""
        own = [self.loss_mean, *self.task_metrics]
        return [*own, *self._given_metrics(), *self.corpus_metrics]

    @property
    def task_metrics(self) -> list[tf.keras.metrics.Metric]:
        """What `update_task_metrics` feeds."""
        return [*self.batch_metrics, *self.loss_metrics]

    @property
    def corpus_metrics(self) -> list[tf.keras.metrics.Metric]:
        """What `update_factorized_metrics` feeds, one metric a number that is logged."""
        return [part for metric in self.factorized_metrics for part in metric.metrics]

    def _given_metrics(self) -> list[tf.keras.metrics.Metric]:
        return [] if self.compiled_metrics is None else self.compiled_metrics.metrics

    def compute_loss(self, batch: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """What a `tfrs.Model` trains on: the mean cross-entropy of the rows, regularisation apart.

        On one of several replicas: this replica's part of the mean over the global batch.
        """
        mean, weight = self._mean_loss(batch, training)
        return mean_over_global_batch(mean, weight, 0.0)

    def _mean_loss(self, batch: Any, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        batch = self.as_batch(batch)
        outputs = self(batch, training=training)
        losses, weights = self.hard_loss(batch, outputs), self.row_weights(batch)
        weight = tf.reduce_sum(tf.ones_like(losses) if weights is None else weights)
        mean = weighted_mean(losses, weights)
        self.loss_mean.update_state(mean, sample_weight=weight)
        if self.compiled_metrics is not None:
            self.compiled_metrics.update_state(
                outputs.candidates.label_columns, outputs.logits, sample_weight=weights
            )
        self.update_task_metrics(outputs, mean, weights)
        if not training:
            self.update_factorized_metrics(outputs, weights)
        return mean, weight

    def update_task_metrics(
        self, outputs: StudentOutputs, loss: tf.Tensor, weights: tf.Tensor | None
    ) -> None:
        """Feed the metrics of a batch's logits, with one-hot labels, and those of its mean loss."""
        for metric in self.loss_metrics:
            metric.update_state(loss)
        if self.batch_metrics:
            labels, logits = one_hot_and_logits(outputs)
            for metric in self.batch_metrics:
                metric.update_state(labels, logits, sample_weight=weights)

    def corpus_ids(self, outputs: StudentOutputs) -> tf.Tensor | None:
        """The candidates' ids by which corpus metrics find them; None where they compare scores."""
        return None

    def update_factorized_metrics(
        self, outputs: StudentOutputs, weights: tf.Tensor | None = None
    ) -> None:
        """Feed the metrics over the whole corpus, where there are any; slow, so not in `fit`.

        Raises:
            ValueError: a metric's corpus is of reduced precision.
        """
        queries = outputs.hidden_representations["query_embeddings"]
        candidates = outputs.hidden_representations["candidate_embeddings"]
        rows, ids = tf.shape(queries)[0], self.corpus_ids(outputs)
        for metric in self.factorized_metrics:
            try:
                metric.update_state(
                    queries,
                    candidates[:rows],
                    true_candidate_ids=None if ids is None else ids[:rows],
                    sample_weight=weights,
                )
            except TypeError as error:
                raise ValueError(
                    f"The metric {metric.name!r} cannot compare float32 embeddings with its "
                    "candidates: TensorFlow Recommenders' metrics do not work in reduced "
                    "precision, such as `mixed_float16`. Make the metric while "
                    "`tf.keras.mixed_precision.set_global_policy('float32')` is in force, of "
                    "candidates cast to float32: "
                    "`items.map(lambda item: tf.cast(candidate_tower(item), tf.float32))`."
                ) from error

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One step on the mean cross-entropy of the batch's rows and the regularisation losses."""
        with tf.GradientTape() as tape:
            mean, weight = self._mean_loss(batch, training=True)
            total = mean_over_global_batch(mean, weight, sum(self.losses))
        take_step(self, total, tape)
        logged = [self.loss_mean, *self.task_metrics, *self._given_metrics()]
        return {metric.name: metric.result() for metric in logged}

    def test_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The same loss without a step."""
        self._mean_loss(batch, training=False)
        return {metric.name: metric.result() for metric in self.metrics}


def one_hot_and_logits(outputs: StudentOutputs) -> tuple[tf.Tensor, tf.Tensor]:
    """Labels and logits as `tfrs.tasks.Retrieval` has them, `[num_rows, num_candidates]` both.

    Where fewer negatives are there than `num_hard_negatives`, the logits are filled up with masked
    columns, which a loss or metric of all columns would count; they are left out here.
    """
    logits = outputs.logits[:, : tf.shape(outputs.candidates.one_column)[0]]
    return tf.one_hot(outputs.candidates.label_columns, tf.shape(logits)[1]), logits


def check_label_columns(outputs: StudentOutputs) -> None:
    """Hold the labels of eager outputs to the candidates that there are.

    Raises:
        ValueError: a label is no candidate.
    """
    for task, head in outputs.heads.items():
        labels = None if head.candidates is None else head.candidates.labels
        if labels is None or labels.shape.rank != 1 or not labels.dtype.is_integer:
            continue
        width = int(tf.shape(head.candidates.one_column)[0])
        wrong = tf.where((labels < 0) | (labels >= width))
        if len(wrong):
            row = int(wrong[0, 0])
            raise ValueError(
                f"Labels of {task!r} must be among the {width} candidates. Received: candidate "
                f"number {int(labels[row])}, counted from 0, in row {row}."
            )
