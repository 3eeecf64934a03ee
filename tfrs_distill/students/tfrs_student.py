"""A TensorFlow Recommenders model that was written without distillation in mind."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_distill import columns
from tfrs_distill.towers.candidates import BATCH, Candidates, CandidateSet, in_batch_candidates
from tfrs_distill.towers.retrieval_model import RetrievalModel


class TFRSStudent(RetrievalModel):
    """The towers of an existing `tfrs.Model` as a student; its towers are trained in place.

    Rows are examples: one query and the candidate it chose. The candidates of a step are those of
    the batch (and `columns.NEGATIVES`, with `Candidates("sampled")`), as in
    `tfrs.tasks.Retrieval`; the loss is a mean over rows, whatever the model's own task sums.

    Made by `RetrievalStudent.from_tfrs`, whose arguments these are.
    """

    def __init__(
        self,
        query_tower: tf.keras.layers.Layer,
        candidate_tower: tf.keras.layers.Layer,
        *,
        query_column: str,
        candidate_column: str,
        candidates: Candidates,
        temperature: float = 1.0,
        name: str = "tfrs_student",
    ) -> None:
        if candidates.of_catalogue or candidates.exclude_seen:
            raise ValueError(
                "The towers of a `tfrs.Model` know neither the catalogue nor what a query has "
                "seen: `candidates` must have source 'batch' or 'sampled' and exclude_seen=False "
                f"(give the batch a column {columns.SCORE_MASK!r}). Received: {candidates}."
            )
        super().__init__(candidates, temperature, name=name)
        self.query_tower, self.candidate_tower = query_tower, candidate_tower
        self.query_column, self.candidate_column = query_column, candidate_column

    @classmethod
    def adopt(
        cls,
        model: tfrs.Model,
        *,
        query_tower: tf.keras.layers.Layer,
        candidate_tower: tf.keras.layers.Layer,
        query_column: str,
        candidate_column: str,
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
        own = Candidates(
            BATCH,
            remove_accidental_hits=task._remove_accidental_hits,
            num_hard_negatives=task._num_hard_negatives,
        )
        student = cls(
            query_tower,
            candidate_tower,
            query_column=query_column,
            candidate_column=candidate_column,
            candidates=candidates or own,
            temperature=1.0 if task._temperature is None else task._temperature,
            name=model.name,
        )
        student.factorized_metrics = list(task.factorized_metrics)
        return student

    def _column(self, batch: dict[str, tf.Tensor], name: str) -> tf.Tensor:
        if name not in batch:
            raise ValueError(f"The batch has no column {name!r}. It has: {sorted(batch)}.")
        return batch[name]

    def encode_rows(self, batch: dict[str, tf.Tensor], training: bool | None = None) -> tf.Tensor:
        """Query embeddings, `[batch_size, dim]`; Keras hands `training` on by itself."""
        return self.query_tower(self._column(batch, self.query_column))

    def encode_candidates(self, items: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Candidate embeddings, `[num_candidates, dim]`; Keras hands `training` on by itself."""
        return self.candidate_tower(items)

    def choose_candidates(self, batch: dict[str, tf.Tensor]) -> CandidateSet:
        """What the batch's queries chose, and the batch's negatives."""
        return in_batch_candidates(
            self.candidates,
            batch,
            self._column(batch, self.candidate_column),
            batch.get(columns.CANDIDATE_SAMPLING_PROBABILITY),
            score_mask=batch.get(columns.SCORE_MASK),
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
