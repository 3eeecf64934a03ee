"""A TensorFlow Recommenders model that was written without distillation in mind."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_distill import columns
from tfrs_distill.towers.candidates import BATCH, Candidates, CandidateSet, in_batch_candidates
from tfrs_distill.towers.retrieval_model import RetrievalModel
from tfrs_distill.towers.student_outputs import StudentOutputs

logger = logging.getLogger(__name__)


class TFRSStudent(RetrievalModel):
    """The towers of an existing `tfrs.Model` as a student; its towers are trained in place.

    Rows are examples: one query and the candidate it chose. The candidates of a step are those of
    the batch (and `columns.NEGATIVES`, with `Candidates("sampled")`), as in
    `tfrs.tasks.Retrieval`; the loss is the task's own, a mean over rows where the task sums.

    Made by `RetrievalStudent.from_tfrs`, whose arguments these are.
    """

    def __init__(
        self,
        query_tower: tf.keras.layers.Layer,
        candidate_tower: tf.keras.layers.Layer,
        *,
        query_column: str | Sequence[str],
        candidate_column: str | Sequence[str],
        candidate_id_column: str | None,
        candidates: Candidates,
        task_loss: tf.keras.losses.Loss,
        temperature: float = 1.0,
        name: str = "tfrs_student",
    ) -> None:
        if candidates.of_catalogue or candidates.exclude_seen:
            raise ValueError(
                "The towers of a `tfrs.Model` know neither the catalogue nor what a query has "
                "seen: `candidates` must have source 'batch' or 'sampled' and exclude_seen=False "
                f"(give the batch a column {columns.SCORE_MASK!r}). Received: {candidates}."
            )
        if candidate_id_column == candidate_column:
            candidate_id_column = None
        several = not isinstance(candidate_column, str)
        if several and candidates.remove_accidental_hits and candidate_id_column is None:
            raise ValueError(
                "Accidental hits are candidates with the id of the row's own, so "
                "`candidate_id_column` must name the column with their ids. Received: None, with "
                f"candidate_column={list(candidate_column)}."
            )
        super().__init__(candidates, temperature, name=name)
        self.query_tower, self.candidate_tower = query_tower, candidate_tower
        self.query_column, self.candidate_column = query_column, candidate_column
        self.candidate_id_column, self.task_loss = candidate_id_column, task_loss
        self.is_cross_entropy = _is_plain_cross_entropy(task_loss)

    @classmethod
    def adopt(
        cls,
        model: tfrs.Model,
        *,
        query_tower: tf.keras.layers.Layer,
        candidate_tower: tf.keras.layers.Layer,
        query_column: str | Sequence[str],
        candidate_column: str | Sequence[str],
        candidate_id_column: str | None = None,
        candidates: Candidates | None = None,
    ) -> TFRSStudent:
        """See `RetrievalStudent.from_tfrs`."""
        if not isinstance(model, tfrs.Model):
            raise TypeError(
                f"`model` must be a `tfrs.Model`. Received: {type(model).__module__}."
                f"{type(model).__name__}."
            )
        tasks = [part for part in model.submodules if isinstance(part, tfrs.tasks.Retrieval)]
        if len(tasks) != 1:
            raise ValueError(
                "`model` must have one `tfrs.tasks.Retrieval` among its attributes. Received: "
                f"{len(tasks)} of them."
            )
        task = tasks[0]
        # The task has no public way to read its options; tensorflow-recommenders is pinned.
        num_hard = task._num_hard_negatives
        own = Candidates(
            BATCH,
            remove_accidental_hits=task._remove_accidental_hits,
            num_hard_negatives=num_hard if num_hard and num_hard > 0 else None,
        )
        student = cls(
            query_tower,
            candidate_tower,
            query_column=query_column,
            candidate_column=candidate_column,
            candidate_id_column=candidate_id_column,
            candidates=candidates or own,
            task_loss=_per_row(task._loss),
            temperature=1.0 if task._temperature is None else task._temperature,
            name=model.name,
        )
        student.factorized_metrics = list(task.factorized_metrics)
        student.batch_metrics = list(task._batch_metrics)
        student.loss_metrics = list(task._loss_metrics)
        return student

    def _columns(
        self, batch: dict[str, tf.Tensor], names: str | Sequence[str]
    ) -> tf.Tensor | dict[str, tf.Tensor]:
        """One column's values, or a dict of several."""
        missing = [name for name in _listed(names) if name not in batch]
        if missing:
            raise ValueError(f"The batch has no column {missing[0]!r}. It has: {sorted(batch)}.")
        return batch[names] if isinstance(names, str) else {name: batch[name] for name in names}

    def encode_rows(self, batch: dict[str, tf.Tensor], training: bool | None = None) -> tf.Tensor:
        """Query embeddings, `[batch_size, dim]`; Keras hands `training` on by itself."""
        return self.query_tower(self._columns(batch, self.query_column))

    def encode_candidates(self, items: Any, training: bool | None = None) -> tf.Tensor:
        """Candidate embeddings, `[num_candidates, dim]`; Keras hands `training` on by itself."""
        if isinstance(items, dict):  # the ids may be there for the sake of accidental hits alone
            items = self._columns(items, self.candidate_column)
        return self.candidate_tower(items)

    def hard_loss(self, batch: dict[str, tf.Tensor], outputs: StudentOutputs) -> tf.Tensor:
        """The task's own loss of one-hot labels and logits, one value a row.

        Raises:
            ValueError: the loss gives something else than one value a row.
        """
        if self.is_cross_entropy:
            return super().hard_loss(batch, outputs)
        labels = tf.one_hot(outputs.candidates.label_columns, tf.shape(outputs.logits)[1])
        losses = self.task_loss.call(labels, outputs.logits)
        if losses.shape.rank not in (1, None):
            raise ValueError(
                f"The loss of the model's task, {type(self.task_loss).__name__}, must give one "
                f"value a row. Received: shape {losses.shape}."
            )
        return losses

    def choose_candidates(self, batch: dict[str, tf.Tensor]) -> CandidateSet:
        """What the batch's queries chose, and the batch's negatives."""
        names, key = self.candidate_column, self.candidate_id_column
        if key is not None:
            names = tuple(dict.fromkeys([*_listed(names), key]))
        return in_batch_candidates(
            self.candidates,
            batch,
            self._columns(batch, names),
            batch.get(columns.CANDIDATE_SAMPLING_PROBABILITY),
            score_mask=batch.get(columns.SCORE_MASK),
            id_column=key,
        )

    def to_rows(self, values: tf.Tensor, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """Examples are rows already."""
        return values

    def of_rows(self, examples: tf.Tensor, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """Examples are rows already."""
        return examples

    def row_weights(self, batch: dict[str, tf.Tensor]) -> tf.Tensor | None:
        """Sample weights, `[batch_size]`, or None."""
        weights = batch.get(columns.SAMPLE_WEIGHT)
        return None if weights is None else tf.reshape(weights, [-1])

    def get_config(self) -> dict[str, Any]:
        """Refused: the towers are the caller's, and are saved with the caller's model."""
        raise NotImplementedError(
            "A student made of a `tfrs.Model` is not saved whole: its towers belong to that model. "
            "Save the weights (`save_weights`, `tf.keras.callbacks.BackupAndRestore`)."
        )


def _listed(names: str | Sequence[str]) -> Sequence[str]:
    return [names] if isinstance(names, str) else names


def _per_row(loss: tf.keras.losses.Loss) -> tf.keras.losses.Loss:
    """A task's loss, held to what a mean over rows of logits needs.

    Raises:
        ValueError: it takes probabilities.
    """
    if not isinstance(loss, tf.keras.losses.Loss):
        raise TypeError(
            "The loss of the model's task must be a `tf.keras.losses.Loss`. Received: "
            f"{type(loss).__module__}.{type(loss).__name__}."
        )
    config = loss.get_config()
    if config.get("from_logits") is False:
        raise ValueError(
            f"The loss of the model's task, {type(loss).__name__}, takes probabilities, but the "
            "task hands it logits. Make it with `from_logits=True`."
        )
    if config.get("reduction") == tf.keras.losses.Reduction.SUM:
        logger.warning(
            "The model's task sums its loss over a batch; the student takes the mean over rows, "
            "so its gradients are smaller by the number of rows. With SGD or Adagrad raise the "
            "learning rate; Adam hardly feels it."
        )
    return loss


def _is_plain_cross_entropy(loss: tf.keras.losses.Loss) -> bool:
    """Whether it is categorical cross-entropy over the last axis, its labels not smoothed."""
    if type(loss) is not tf.keras.losses.CategoricalCrossentropy:
        return False
    config = loss.get_config()
    return config["label_smoothing"] == 0 and config["axis"] == -1
