"""A TensorFlow Recommenders model that was written without distillation in mind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_distill import columns
from tfrs_distill.errors import InputError
from tfrs_distill.losses.candidate_lists import MASKED
from tfrs_distill.models.adopted_task import only_task, row_loss
from tfrs_distill.models.candidates import BATCH, Candidates, CandidateSet, in_batch_candidates
from tfrs_distill.models.retrieval_model import RetrievalModel, one_hot_and_logits
from tfrs_distill.models.student import Batch
from tfrs_distill.models.student_outputs import StudentOutputs


class TFRSStudent(RetrievalModel):
    """The towers of an existing `tfrs.Model` as a student; its towers are trained in place.

    Rows are examples: a query and its positive candidate. The candidates of a step are those of
    the batch (and `columns.NEGATIVES`, with `Candidates("sampled")`), as in
    `tfrs.tasks.Retrieval`. The loss is the task's, averaged over rows instead of summed.

    Created by `RetrievalStudent.from_tfrs`, which has the same arguments.
    """

    def __init__(
        self,
        model: tfrs.Model,
        *,
        query_tower: tf.keras.layers.Layer,
        candidate_tower: tf.keras.layers.Layer,
        query_column: str | Sequence[str],
        candidate_column: str | Sequence[str],
        candidate_id_column: str | None = None,
        candidates: Candidates | None = None,
    ) -> None:
        task = only_task(model, tfrs.tasks.Retrieval)
        # The task has no public way to read its options; tensorflow-recommenders is pinned.
        if candidates is None:
            num_hard = task._num_hard_negatives
            candidates = Candidates(
                BATCH,
                remove_accidental_hits=task._remove_accidental_hits,
                num_hard_negatives=num_hard if num_hard and num_hard > 0 else None,
            )
        task_loss = row_loss(
            task, width=2, remedy="Make it with `from_logits=True`: the task passes logits to it."
        )
        if candidates.of_catalogue or candidates.exclude_seen:
            raise ValueError(
                "The towers of a `tfrs.Model` have neither the catalogue nor the items of a "
                "query's history: `candidates` must have source 'batch' or 'sampled' and "
                f"exclude_seen=False (give the batch a column {columns.SCORE_MASK!r}). Received: "
                f"{candidates}."
            )
        _require_columns("query_column", query_column)
        _require_columns("candidate_column", candidate_column)
        if candidate_id_column == candidate_column:
            candidate_id_column = None
        several = not isinstance(candidate_column, str)
        if several and candidates.remove_accidental_hits and candidate_id_column is None:
            raise ValueError(
                "Accidental hits are candidates with the id of the row's label, so "
                "`candidate_id_column` must name the column with their ids. Received: None, with "
                f"candidate_column={list(candidate_column)}."
            )
        temperature = 1.0 if task._temperature is None else task._temperature
        super().__init__(candidates, temperature, name=model.name)
        self.query_tower, self.candidate_tower = query_tower, candidate_tower
        self.query_column, self.candidate_column = query_column, candidate_column
        self.candidate_id_column, self.task_loss = candidate_id_column, task_loss
        self.is_cross_entropy = _is_plain_cross_entropy(task_loss)
        self.takes_masks = self.is_cross_entropy or _takes_masks(task_loss)
        self.factorized_metrics = list(task.factorized_metrics)
        self.batch_metrics = list(task._batch_metrics)
        self.loss_metrics = list(task._loss_metrics)
        # Whether the corpus metrics compare ids instead of scores: TFRS passes the ids to the task.
        self.finds_by_id = task._remove_accidental_hits

    def _columns(
        self, batch: dict[str, tf.Tensor], names: str | Sequence[str]
    ) -> tf.Tensor | dict[str, tf.Tensor]:
        """One column's values, or a dict of several."""
        if not isinstance(batch, Mapping):
            _refuse(f"it reads a dict of columns. Received: {type(batch).__name__}")
        missing = [name for name in _listed(names) if name not in batch]
        if missing:
            raise ValueError(f"The batch has no column {missing[0]!r}. It has: {sorted(batch)}.")
        return batch[names] if isinstance(names, str) else {name: batch[name] for name in names}

    def encode_rows(self, batch: dict[str, tf.Tensor], training: bool | None = None) -> tf.Tensor:
        """Query embeddings, `[batch_size, dim]`; Keras forwards `training`."""
        return self.query_tower(self._columns(batch, self.query_column))

    def encode_candidates(self, items: Any, training: bool | None = None) -> tf.Tensor:
        """Candidate embeddings, `[num_candidates, dim]`; Keras forwards `training`."""
        if isinstance(items, dict):  # the ids may be there only to remove accidental hits
            items = self._columns(items, self.candidate_column)
        elif not isinstance(self.candidate_column, str):
            raise ValueError(
                "The candidate tower reads several columns, so candidates are a dict of "
                f"{list(self.candidate_column)}. Received: {type(items).__name__}."
            )
        return self.candidate_tower(items)

    def _scores(self, queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """As in the task: the maximum over a query's heads, if it has several."""
        scores = super()._scores(queries, candidates)
        return tf.reduce_max(scores, axis=1) if scores.shape.rank == 3 else scores

    @property
    def takes_dislikes(self) -> bool:
        """Whether the task's loss is the cross-entropy of a softmax."""
        return self.is_cross_entropy

    def hard_loss(self, batch: Batch, outputs: StudentOutputs) -> tf.Tensor:
        """The task's loss of one-hot labels and logits, one value per row.

        Raises:
            ValueError: some candidates are masked, and the loss does not ignore them.
        """
        if self.is_cross_entropy:
            return super().hard_loss(batch, outputs)
        chosen = outputs.candidates
        if chosen is not None and chosen.keep is not None and not self.takes_masks:
            raise ValueError(
                f"The loss of the model's task, {type(self.task_loss).__name__}, does not "
                "ignore candidates that are masked by a very low logit, as accidental hits and "
                f"{columns.SCORE_MASK!r} are: it becomes about 1e29, in TFRS too. Use it without "
                "label smoothing, or mask no candidate (`remove_accidental_hits=False`). Received: "
                f"{self.task_loss.get_config()}."
            )
        return self.task_loss(*one_hot_and_logits(outputs))

    def update_evaluation_metrics(self, batch: Batch, outputs: StudentOutputs) -> None:
        """Update the task's metrics over the corpus; as in TFRS, not if queries have heads."""
        if outputs.hidden_representations["query_embeddings"].shape.rank == 2:
            super().update_evaluation_metrics(batch, outputs)

    def corpus_ids(self, outputs: StudentOutputs) -> tf.Tensor | None:
        """The candidates' ids, if the model's task gets them too."""
        chosen = outputs.candidates
        if chosen is None or not self.finds_by_id:
            return None
        ids = chosen.ids
        return ids.get(self.candidate_id_column) if isinstance(ids, dict) else ids

    def catalogue_embeddings(self) -> tf.Tensor:
        """Not supported: scoring and export of this package need its catalogue."""
        _refuse("it has no catalogue of item indices")

    def encode_histories(self, history: tf.Tensor) -> tf.Tensor:
        """Not supported: scoring and export of this package need histories."""
        _refuse("it reads other columns, not histories of item indices")

    def choose_candidates(self, batch: dict[str, tf.Tensor]) -> CandidateSet:
        """The positive candidates of the batch's queries, and the batch's negatives."""
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

    def get_config(self) -> dict[str, Any]:
        """Not supported: the towers belong to the caller, and are saved with the caller's model."""
        raise NotImplementedError(
            "A student made of a `tfrs.Model` cannot be saved: its towers belong to that model. "
            "Save the weights (`save_weights`, `tf.keras.callbacks.BackupAndRestore`)."
        )


def _listed(names: str | Sequence[str]) -> Sequence[str]:
    return [names] if isinstance(names, str) else names


def _require_columns(argument: str, names: Any) -> None:
    listed = isinstance(names, Sequence) and len(names) > 0
    if not listed or not all(isinstance(name, str) for name in names):
        raise TypeError(
            f"`{argument}` must be the column that the tower reads, such as 'user_id', or, for a "
            "tower that reads a dict, the list of its columns, such as ['user_id', 'timestamp']. "
            f"Received: {argument}={names!r}."
        )


def _refuse(reason: str) -> NoReturn:
    raise InputError(
        f"A student made of a `tfrs.Model` cannot be scored or exported here: {reason}. Evaluate "
        "it with its task's metrics (`student.evaluate(batches)`), and serve its towers, such as "
        "with `tfrs.layers.factorized_top_k.BruteForce(query_tower)`."
    )


def _is_plain_cross_entropy(loss: tf.keras.losses.Loss) -> bool:
    """Whether it is categorical cross-entropy over the last axis, without label smoothing."""
    if type(loss) is not tf.keras.losses.CategoricalCrossentropy:
        return False
    config = loss.get_config()
    return config["label_smoothing"] == 0 and config["axis"] == -1


def _takes_masks(loss: tf.keras.losses.Loss) -> bool:
    """Whether a candidate with a very low logit has almost no influence."""
    value = loss(tf.constant([[1.0, 0.0]]), tf.constant([[0.0, MASKED]]))
    return bool(tf.abs(value[0]) < 1e6)
