"""The candidates of a step's softmax, the same for teacher and student."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.losses.candidate_lists import MASKED
from tfrs_distill.models.replicas import gather_across_replicas

CATALOGUE, BATCH, SAMPLED = "catalogue", "batch", "sampled"


@dataclass(frozen=True)
class Candidates:
    """The source of a step's candidates and the corrections of their logits.

    All settings apply to the logits of student and teacher alike.

    Args:
        source: `"catalogue"`, a full softmax over all items; `"batch"`, the labels of the batch's
            rows (in-batch negatives); or `"sampled"`, these and the batch's column
            `columns.NEGATIVES`, with a correction for the sampling probability (logQ).
            `windows.batches(..., num_negatives=N)` adds the column.
        remove_accidental_hits: exclude copies of a row's label from its candidates; matters if
            candidates repeat.
        exclude_seen: exclude items of a row's history from its candidates.
        num_hard_negatives: keep a row's label and only this many negatives, those with the largest
            student logits; None keeps all.
        across_replicas: under `tf.distribute`, share labels and negatives of all replicas as
            candidates.

    If the batch has `columns.CANDIDATE_SAMPLING_PROBABILITY`, in-batch candidates are corrected
    too: `logits_j - log probability_j`. If it has `columns.SCORE_MASK`, this masks candidates.

    Reference: in-batch correction, [Yi et al., 2019](https://doi.org/10.1145/3298689.3346996);
    mixed negatives, [Yang et al., 2020](https://doi.org/10.1145/3366424.3386195).

    Raises:
        ValueError: the source is not one of these, `num_hard_negatives` is below 1, or
            `across_replicas` is set for `"catalogue"`.
    """

    source: str = CATALOGUE
    remove_accidental_hits: bool = True
    exclude_seen: bool = False
    num_hard_negatives: int | None = None
    across_replicas: bool = False

    def __post_init__(self) -> None:
        if self.source not in (CATALOGUE, BATCH, SAMPLED):
            raise ValueError(
                "`source` must be 'catalogue', 'batch' or 'sampled'. Received: "
                f"source={self.source!r}."
            )
        if self.num_hard_negatives is not None and not self.num_hard_negatives >= 1:
            raise ValueError(
                "`num_hard_negatives` must be None or at least 1. Received: "
                f"num_hard_negatives={self.num_hard_negatives!r}."
            )
        if self.across_replicas and self.source == CATALOGUE:
            raise ValueError(
                "`across_replicas=True` shares a batch's candidates; a catalogue is the same on "
                "every replica. Use source='batch' or 'sampled', or leave it out."
            )

    @property
    def of_catalogue(self) -> bool:
        """Whether every item is a candidate."""
        return self.source == CATALOGUE


class CandidateSet(NamedTuple):
    """The candidates of one step.

    Args:
        ids: [num_candidates], item indices or other inputs of the candidate tower; a dict of
            columns if it reads several.
        labels: int32 [num_rows], the column of each row's label; or a distribution float [num_rows,
            num_candidates]; or None.
        keep: bool [num_rows, num_candidates], true for valid candidates; None if all are valid.
        sampling_probability: float32 [num_candidates] or None.
        hard: int32 [num_rows, 1 + num_hard_negatives], columns, the label's first; None for all.
    """

    ids: tf.Tensor
    labels: tf.Tensor | None = None
    keep: tf.Tensor | None = None
    sampling_probability: tf.Tensor | None = None
    hard: tf.Tensor | None = None

    def adjust(self, logits: tf.Tensor) -> tf.Tensor:
        """Correct, mask and select `[num_rows, num_candidates]` logits, for the losses."""
        if self.sampling_probability is not None:
            probability = tf.cast(self.sampling_probability, logits.dtype)
            logits -= tf.math.log(tf.clip_by_value(probability, 1e-6, 1.0))
        if self.keep is not None:
            logits = tf.where(self.keep, logits, MASKED)
        if self.hard is None:
            return logits
        return tf.gather(_at_least(self.hard.shape[1], logits), self.hard, batch_dims=1)

    @property
    def one_column(self) -> tf.Tensor:
        """`ids`, or one of its columns if it is a dict: `[num_candidates]`."""
        column: tf.Tensor = tf.nest.flatten(self.ids)[0]
        return column

    @property
    def label_columns(self) -> tf.Tensor | None:
        """The labels as columns of the output of `adjust`."""
        return self.labels if self.hard is None else tf.zeros_like(self.labels)

    def with_hard_negatives(self, logits: tf.Tensor, num_hard_negatives: int) -> CandidateSet:
        """Select each row's label and the negatives with the largest student logits."""
        if self.labels is None or self.labels.shape.rank != 1:
            raise ValueError(
                "`num_hard_negatives` needs one label per row. Received: "
                + ("no labels." if self.labels is None else "soft or one-hot labels.")
            )
        adjusted = tf.stop_gradient(self.adjust(logits))
        is_label = tf.range(tf.shape(logits)[1])[None, :] == self.labels[:, None]
        first = tf.where(is_label, -MASKED, adjusted)
        k = num_hard_negatives + 1
        return self._replace(hard=tf.math.top_k(_at_least(k, first), k).indices)


def _at_least(width: int, logits: tf.Tensor) -> tf.Tensor:
    """Append masked columns to logits that may have fewer columns than `width`."""
    if logits.shape[1] is not None and logits.shape[1] >= width:
        return logits
    return tf.pad(logits, [[0, 0], [0, width]], constant_values=MASKED)


def catalogue_candidates(
    num_items: int,
    labels: tf.Tensor | None,
    seen: tf.Tensor | None,
    score_mask: tf.Tensor | None,
) -> CandidateSet:
    """Every item, in catalogue order.

    Args:
        num_items: items of the catalogue.
        labels: item indices int32 [num_rows], a distribution [num_rows, num_items], or None.
        seen: bool [num_rows, num_items + 1] or None.
        score_mask: bool [num_rows, num_items] or None.
    """
    if labels is not None and labels.shape.rank == 1:
        labels = labels - 1
    keep = _both(score_mask, None if seen is None else ~seen[:, 1:])
    if keep is not None and labels is not None:
        is_label = labels > 0 if labels.shape.rank == 2 else tf.one_hot(labels, num_items) > 0
        keep = keep | is_label
    return CandidateSet(tf.range(1, num_items + 1), labels, keep)


def in_batch_candidates(
    settings: Candidates,
    batch: dict[str, Any],
    positives: tf.Tensor | dict[str, tf.Tensor] | None,
    positive_probability: tf.Tensor | None,
    seen: tf.Tensor | None = None,
    score_mask: tf.Tensor | None = None,
    id_column: str | None = None,
) -> CandidateSet:
    """The labels of the rows, then the batch's negatives, then those of other replicas.

    Args:
        settings: the source and the corrections.
        batch: has the negatives.
        positives: the rows' labels, [num_rows]; a dict of columns if candidates have several; the
            batch's negatives are then a dict too.
        positive_probability: float32 [num_rows] or None.
        seen: bool [num_rows, num_items + 1] or None; candidate ids are its columns.
        score_mask: bool [num_rows, num_candidates] or None.
        id_column: the column that identifies accidental hits, if there are several.

    Raises:
        ValueError: a column is missing.
    """
    if positives is None:
        raise ValueError(
            f"Candidates of source {settings.source!r} are the labels of the batch, but the batch "
            f"has no column {columns.LABELS!r}. Use source='catalogue' for unlabelled batches."
        )
    ids, probability = positives, positive_probability
    if settings.source == SAMPLED:
        names = (columns.NEGATIVES, columns.NEGATIVES_SAMPLING_PROBABILITY)
        missing = [name for name in names if name not in batch]
        if missing or probability is None:
            missing += [columns.CANDIDATE_SAMPLING_PROBABILITY] if probability is None else []
            raise ValueError(
                f"Candidates of source 'sampled' need the columns {missing}. "
                "`windows.batches(batch_size, num_negatives=N)` adds them."
            )
        ids, probability = (
            _with_negatives(of_rows, batch[name], name)
            for of_rows, name in zip((ids, probability), names)
        )
    if settings.across_replicas:
        ids = tf.nest.map_structure(gather_across_replicas, ids)
        probability = None if probability is None else gather_across_replicas(probability)
    num_rows, num_candidates = (tf.shape(tf.nest.flatten(of)[0])[0] for of in (positives, ids))
    keep = _both(score_mask, None if seen is None else ~tf.gather(seen, ids, axis=1))
    if settings.remove_accidental_hits:
        of_both: tuple[Any, Any] = (positives, ids)
        labels, each = (of if id_column is None else of[id_column] for of in of_both)
        keep = _both(keep, each[None, :] != labels[:, None])
    if keep is not None:
        keep = keep | tf.eye(num_rows, num_candidates, dtype=tf.bool)
    return CandidateSet(ids, tf.range(num_rows), keep, probability)


def _with_negatives(of_rows: Any, negatives: Any, name: str) -> Any:
    """Append the values of the batch's negatives to those of the rows, column by column."""
    if not isinstance(of_rows, dict):
        return tf.concat([of_rows, tf.reshape(negatives, [-1])], axis=0)
    given = set(negatives) if isinstance(negatives, dict) else set()
    missing = sorted(set(of_rows) - given)
    if missing:
        raise ValueError(
            f"The candidates have the columns {sorted(of_rows)}, so the batch's column {name!r} "
            f"must be a dict of these, each [num_rows, num_negatives]. It lacks: {missing}."
        )
    return {key: _with_negatives(values, negatives[key], name) for key, values in of_rows.items()}


def _both(one: tf.Tensor | None, other: tf.Tensor | None) -> tf.Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other
