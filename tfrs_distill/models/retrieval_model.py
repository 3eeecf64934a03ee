"""A student with one task, retrieval with two towers: its logits, loss and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_distill.losses.categorical_cross_entropy import checked_label_smoothing
from tfrs_distill.losses.unlikelihood import loss_of_labels
from tfrs_distill.losses.weighted_mean import weighted_mean
from tfrs_distill.models.candidates import Candidates, CandidateSet
from tfrs_distill.models.step import Term
from tfrs_distill.models.student import Batch, StudentModel
from tfrs_distill.models.student_outputs import Head, StudentOutputs

NEXT_ITEM = "next_item"  # the task of a retrieval model


class RetrievalModel(StudentModel):
    """A `tfrs.Model` of a query and a candidate tower, trained with or without a teacher.

    A subclass defines a batch's rows and their candidates. For in-batch and sampled candidates the
    loss is that of `tfrs.tasks.Retrieval` with the same options, but averaged over rows. For the
    whole catalogue, which that task does not support, it is the cross-entropy over item ids. The
    task itself is not run: it does not expose the candidates, which a teacher must share, and its
    options fail in reduced precision and under XLA.

    A row with a sample weight below 0 is a dislike: its loss is the unlikelihood of its label,
    `-log(1 - softmax(logits)_label)`, with the weight's absolute value as its weight. See
    `loss_of_labels`. Metrics of whether the label is retrieved exclude it.

    Args:
        candidates: the items in a step's softmax, and the corrections of their logits.
        temperature: the dot products are divided by it.
        label_smoothing: the share of a label that is spread evenly over all its candidates, as in
            `tf.keras.losses.CategoricalCrossentropy`.

    Raises:
        ValueError: `label_smoothing` is not at least 0 and below 1.
    """

    def __init__(
        self,
        candidates: Candidates,
        temperature: float = 1.0,
        label_smoothing: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.candidates, self.temperature = candidates, temperature
        self.label_smoothing = checked_label_smoothing(label_smoothing)
        self.factorized_metrics: list[tfrs.metrics.Factorized] = []
        self.batch_metrics: list[tf.keras.metrics.Metric] = []  # of one-hot labels and logits
        self.loss_metrics: list[tf.keras.metrics.Metric] = []  # of the loss

    @property
    def task_names(self) -> tuple[str, ...]:
        """The single task: the next item."""
        return (NEXT_ITEM,)

    def encode_rows(self, batch: dict[str, tf.Tensor], training: bool | None = None) -> tf.Tensor:
        """Query embeddings of the batch's rows, `[num_rows, dim]`."""
        raise NotImplementedError

    def encode_candidates(self, items: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Candidate embeddings, `[num_candidates]` to `[num_candidates, dim]`."""
        raise NotImplementedError

    def encode(
        self, batch: dict[str, tf.Tensor], chosen: CandidateSet, training: bool | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Embeddings of rows and candidates, `[num_rows, dim]` and `[num_candidates, dim]`."""
        queries = self.encode_rows(batch, training=training)
        return queries, self.encode_candidates(chosen.ids, training=training)

    def choose_candidates(self, batch: dict[str, tf.Tensor]) -> CandidateSet:
        """The candidates of the batch's rows."""
        raise NotImplementedError

    def call(self, batch: dict[str, tf.Tensor], training: bool | None = None) -> StudentOutputs:
        """Compute the logits between the batch's rows and their candidates.

        Embeddings of reduced precision are cast to float32 before the dot product.
        """
        chosen = self.choose_candidates(batch)
        encoded = self.encode(batch, chosen, training)
        queries, embeddings = (tf.cast(tensor, tf.float32) for tensor in encoded)
        logits = self._scores(queries, embeddings)
        if self.candidates.num_hard_negatives is not None:
            chosen = chosen.with_hard_negatives(logits, self.candidates.num_hard_negatives)
        hidden = {"query_embeddings": queries, "candidate_embeddings": embeddings}
        return StudentOutputs({NEXT_ITEM: Head(chosen.adjust(logits), chosen)}, hidden)

    def logits(self, batch: dict[str, tf.Tensor], candidate_ids: tf.Tensor) -> tf.Tensor:
        """Compute, as a teacher, the rows' logits, float32 [num_rows, num_candidates]."""
        queries = tf.cast(self.encode_rows(batch, training=False), tf.float32)
        candidates = tf.cast(self.encode_candidates(candidate_ids, training=False), tf.float32)
        return self._scores(queries, candidates)

    def _scores(self, queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        scores = tf.matmul(queries, candidates, transpose_b=True)
        return scores if self.temperature == 1.0 else scores / self.temperature

    @property
    def takes_dislikes(self) -> bool:
        """Whether a label can have a weight below 0: only if the loss uses a softmax."""
        return True

    def sample_weights(self, batch: Batch) -> tf.Tensor | None:
        """The rows' sample weights as given, below 0 for dislikes; None if there are none."""
        return super().row_weights(batch)

    def row_weights(self, batch: Batch) -> tf.Tensor | None:
        """The rows' weights in every loss, float32 [num_rows], dislikes included."""
        weights = self.sample_weights(batch)
        return None if weights is None else tf.abs(weights)

    def label_weights(self, batch: Batch) -> tf.Tensor | None:
        """The rows' weights in metrics of whether the label is retrieved: 0 for dislikes."""
        weights = self.sample_weights(batch)
        return None if weights is None else tf.maximum(weights, 0.0)

    def check_batch_labels(self, batch: Batch, outputs: StudentOutputs) -> None:
        """Require that labels are among the candidates, and one per row if there are dislikes.

        Raises:
            ValueError: they are not.
        """
        super().check_batch_labels(batch, outputs)
        weights, chosen = self.sample_weights(batch), outputs.heads[NEXT_ITEM].candidates
        if weights is None or chosen is None or chosen.labels is None:
            return
        wrong = tf.where(weights < 0)
        if len(wrong) and not (self.takes_dislikes and chosen.labels.shape.rank == 1):
            row = int(wrong[0, 0])
            raise ValueError(
                "A sample weight below 0 makes the row's label less likely: it needs one item "
                "per row as label, and softmax cross-entropy as loss. "
                f"Received: the weight {float(weights[row]):g} in row {row}, with labels of rank "
                f"{chosen.labels.shape.rank}"
                + ("." if self.takes_dislikes else " and another loss.")
                + " Remove such rows, or give them the weight 0."
            )

    def hard_loss(self, batch: Batch, outputs: StudentOutputs) -> tf.Tensor:
        """Categorical cross-entropy of the labels, unlikelihood for dislikes; one value per row.

        Raises:
            ValueError: the batch has no labels.
        """
        head = outputs.heads[NEXT_ITEM]
        chosen = head.candidates
        if chosen is None or chosen.labels is None:
            raise ValueError(
                "The batch has no labels, so there is no cross-entropy with them. Only a "
                "`Distiller` with `student_loss_weight=0` learns from unlabelled batches."
            )
        return loss_of_labels(
            chosen.label_columns,
            head.logits,
            self.sample_weights(batch),
            label_smoothing=self.label_smoothing,
        )

    def hard_losses(
        self, batch: Batch, outputs: StudentOutputs, tasks: Sequence[str]
    ) -> dict[str, tuple[tf.Tensor, tf.Tensor | None]]:
        """The loss of the next item, the only task that can have labels."""
        return super().hard_losses(batch, outputs, [task for task in tasks if task == NEXT_ITEM])

    def combine(
        self, losses: Mapping[str, tf.Tensor], tape: tf.GradientTape | None = None
    ) -> tf.Tensor:
        """The sum of the tasks' losses."""
        return tf.add_n(list(losses.values()))

    def has_labels(self, task: str, outputs: StudentOutputs, batch: Mapping[str, Any]) -> bool:
        """Whether the batch has labels of the task."""
        candidates = outputs.heads[task].candidates
        return candidates is not None and candidates.labels is not None

    @property
    def step_metrics(self) -> list[tf.keras.metrics.Metric]:
        """The task's metrics of a batch."""
        return [*self.batch_metrics, *self.loss_metrics]

    @property
    def evaluation_metrics(self) -> list[tf.keras.metrics.Metric]:
        """The metrics over the whole corpus, one metric per logged value."""
        return [part for metric in self.factorized_metrics for part in metric.metrics]

    @property
    def training_metrics(self) -> list[tf.keras.metrics.Metric]:
        """The loss, the task's metrics and those of `compile`."""
        compiled = [] if self.compiled_metrics is None else self.compiled_metrics.metrics
        return [self.loss_mean, *self.step_metrics, *compiled]

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """All metrics that are logged and reset."""
        return [*self.training_metrics, *self.evaluation_metrics]

    def update_metrics(
        self,
        batch: Batch,
        outputs: StudentOutputs,
        terms: Mapping[str, Term],
        total: tf.Tensor,
        training: bool,
    ) -> None:
        """Update all metrics with a batch; metrics over the corpus only in evaluation."""
        (term,) = terms.values()
        term.update(self.loss_mean)
        head = outputs.heads[NEXT_ITEM]
        if self.compiled_metrics is not None and head.candidates is not None:
            self.compiled_metrics.update_state(
                head.candidates.label_columns,
                head.logits,
                sample_weight=self.label_weights(batch),
            )
        self.update_step_metrics(batch, outputs, term.values)
        if not training:
            self.update_evaluation_metrics(batch, outputs)

    def update_step_metrics(self, batch: Batch, outputs: StudentOutputs, losses: tf.Tensor) -> None:
        """Update the metrics of one-hot labels and logits, and those of the batch's mean loss."""
        for metric in self.loss_metrics:
            metric.update_state(weighted_mean(losses, self.row_weights(batch)))
        if self.batch_metrics:
            labels, logits = one_hot_and_logits(outputs)
            weights = self.label_weights(batch)
            for metric in self.batch_metrics:
                metric.update_state(labels, logits, sample_weight=weights)

    def corpus_ids(self, outputs: StudentOutputs) -> tf.Tensor | None:
        """The candidates' ids for corpus metrics; None if these compare scores instead."""
        return None

    def update_evaluation_metrics(self, batch: Batch, outputs: StudentOutputs) -> None:
        """Update the metrics over the whole corpus, if there are any; slow, so not in `fit`.

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
                    sample_weight=self.label_weights(batch),
                )
            except TypeError as error:
                raise ValueError(
                    f"The metric {metric.name!r} cannot compare float32 embeddings with its "
                    "candidates: TensorFlow Recommenders' metrics do not work in reduced "
                    "precision, such as `mixed_float16`. Make the metric while "
                    "`tf.keras.mixed_precision.set_global_policy('float32')` is active, from "
                    "candidates cast to float32: "
                    "`items.map(lambda item: tf.cast(candidate_tower(item), tf.float32))`."
                ) from error


def divisor_of(teacher: Any) -> float:
    """The divisor of the dot products of a teacher's embeddings: a model's temperature, else 1."""
    return float(teacher.temperature) if isinstance(teacher, RetrievalModel) else 1.0


def one_hot_and_logits(outputs: StudentOutputs) -> tuple[tf.Tensor, tf.Tensor]:
    """Labels and logits as in `tfrs.tasks.Retrieval`, both `[num_rows, num_candidates]`.

    If there are fewer negatives than `num_hard_negatives`, the logits are padded with masked
    columns. A loss or metric over all columns would count these, so they are removed here.
    """
    chosen = outputs.candidates
    assert chosen is not None
    logits = outputs.logits[:, : tf.shape(chosen.one_column)[0]]
    return tf.one_hot(chosen.label_columns, tf.shape(logits)[1]), logits
