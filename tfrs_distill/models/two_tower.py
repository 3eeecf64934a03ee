"""A two-tower next-item `tfrs.Model`, trained at every position of a window at once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.checked_arrays import item_indices
from tfrs_distill.models.attribute_effects import QueriesOfUsers, attribute_effects
from tfrs_distill.models.candidates import (
    Candidates,
    CandidateSet,
    catalogue_candidates,
    in_batch_candidates,
)
from tfrs_distill.models.hidden_representations import recorded
from tfrs_distill.models.history_tower import (
    PRIOR_ITEMS,
    EmbeddingTable,
    HistoryTower,
    last_items,
)
from tfrs_distill.models.item_tower import ItemTower
from tfrs_distill.models.retrieval_model import NEXT_ITEM, RetrievalModel
from tfrs_distill.models.rows import (
    broadcast_to_rows,
    row_mask,
    rows_of,
    sample_weights,
    seen_items,
)
from tfrs_distill.models.student import Batch
from tfrs_distill.models.student_outputs import Head, StudentOutputs
from tfrs_distill.serving.attribute_vocabulary import AttributeVocabulary

COLD_ITEMS = "cold_items"  # a task without labels


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class TwoTower(RetrievalModel):
    """Scores items after a history: `logits = query_tower(history) . candidate_tower(items)`.

    It can be trained without a teacher, with `fit` on `Windows.batches(...)`: the loss is the mean
    categorical cross-entropy of the next item over the candidates, at every labelled position.

    Args:
        query_tower: `HistoryTower`, histories to `[batch_size, max_history, dim]`.
        candidate_tower: `ItemTower`, item ids to `[num_candidates, dim]`.
        candidates: `Candidates`, the items in a step's softmax; the catalogue by default.
        label_smoothing: the share of a label that is spread evenly over all its candidates.
        cold_items: indices of items that occur in no training row but that a teacher can score. A
            second task, `"cold_items"`, ranks them among themselves; it has no labels and is
            trained only by a `Distiller`. In one softmax with labelled items they would get almost
            no gradient.
    """

    def __init__(
        self,
        query_tower: HistoryTower,
        candidate_tower: ItemTower,
        candidates: Candidates | None = None,
        label_smoothing: float = 0.0,
        *,
        cold_items: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(candidates or Candidates(), label_smoothing=label_smoothing, **kwargs)
        if query_tower.item_tower is not candidate_tower:
            raise ValueError(
                "`candidate_tower` must be the item tower that `query_tower` reads histories with, "
                "so that an item has one embedding. Received: two different towers."
            )
        self.query_tower, self.candidate_tower = query_tower, candidate_tower
        self.cold_items = tuple(
            item_indices("cold_items", cold_items, candidate_tower.num_items).tolist()
        )

    @property
    def task_names(self) -> tuple[str, ...]:
        """The next item; and the cold items, if there are any."""
        return (NEXT_ITEM, COLD_ITEMS) if self.cold_items else (NEXT_ITEM,)

    @property
    def takes_metrics(self) -> bool:
        """Whether `compile` takes metrics of labels and logits: only for a single task."""
        return not self.cold_items

    def call(self, batch: dict[str, tf.Tensor], training: bool | None = None) -> StudentOutputs:
        """Compute the logits between the batch's rows and the candidates of every task."""
        outputs = super().call(batch, training=training)
        if not self.cold_items:
            return outputs
        items = tf.constant(self.cold_items, tf.int32)
        embeddings = tf.cast(self.encode_candidates(items, training=training), tf.float32)
        logits = self._scores(outputs.hidden_representations["query_embeddings"], embeddings)
        heads = outputs.heads | {COLD_ITEMS: Head(logits, CandidateSet(items))}
        return outputs._replace(heads=heads)

    def encode(
        self, batch: dict[str, tf.Tensor], chosen: CandidateSet, training: bool | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Embeddings of the rows and their candidates.

        If the candidates are the catalogue, each item's embedding is computed once. So an item has
        the same embedding in the history and among the candidates, even with dropout.
        """
        if not self.candidates.of_catalogue:
            return super().encode(batch, chosen, training)
        table = self.encode_candidates(tf.range(self.num_items + 1), training=training)
        queries = self.encode_rows(batch, training=training, table=table)
        return queries, tf.split(table, [1, self.num_items])[1]  # a slice has a slower gradient

    @property
    def max_history(self) -> int:
        """Number of last items of a history that are read; older ones are ignored."""
        return self.query_tower.max_history

    @property
    def num_items(self) -> int:
        """Number of items in the catalogue."""
        return self.candidate_tower.num_items

    @property
    def user_attributes(self) -> AttributeVocabulary | None:
        """The user attributes that it reads in addition to a history; None for none."""
        vocabulary: AttributeVocabulary | None = self.query_tower.user_attributes
        return vocabulary

    @property
    def num_parameters(self) -> int:
        """Number of parameters of the towers, trained and constant."""
        return int(self.query_tower.count_params())

    def encode_queries(
        self,
        batch: dict[str, tf.Tensor],
        training: bool | None = None,
        table: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Query embeddings at every position of the batch, `[batch_size, max_history, dim]`.

        Args:
            batch: batch with histories.
            training: whether dropout is on.
            table: candidate embeddings of padding and all items, if they are already computed.

        Raises:
            ValueError: the length of the batch's windows is not the one that the towers read.
        """
        width = batch[columns.HISTORY].shape[1]
        if width not in (None, self.max_history):
            raise ValueError(
                f"The towers read histories of {self.max_history} items, but the batch's windows "
                f"hold {width}. Give `split_by_time` and the model the same `max_history`."
            )
        known = batch.get(columns.USER_ATTRIBUTES) if self.user_attributes is not None else None
        return self.query_tower(
            batch[columns.HISTORY], training=training, user_attributes=known, table=table
        )

    def encode_candidates(self, items: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Candidate embeddings of item indices: `[num_candidates]` to `[num_candidates, dim]`."""
        return self.candidate_tower(items, training=training)

    def encode_histories(
        self,
        history: tf.Tensor,
        table: EmbeddingTable | None = None,
        user_attributes: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """One query embedding per history, for recommendation: `[batch_size, dim]`.

        Args:
            history: int32 [batch_size, any length], padding anywhere.
            table: `catalogue_embeddings()`, followed by the embeddings of added items, if they are
                already computed: an exported student has one table for the history's items and for
                the scores. The history must have no other items then, see `known_items`.
            user_attributes: int32 [batch_size, num_attributes], for a model that reads attributes;
                0 for a missing attribute; None if all are missing.
        """
        num_items = self.num_items if table is None else None
        compact = last_items(history, self.max_history, num_items)
        return self.query_tower.last(compact, table, user_attributes)

    def fit_empty_history(self, batches: Iterable[dict[str, tf.Tensor]]) -> None:
        """Set the query embedding of an empty history to the mean over the labelled rows.

        So a new user without any data gets the recommendations of an average user. Other queries
        do not change, unless the model reads user attributes: then the effect of each attribute
        value is fitted too, see `attribute_effects`, and this prior is part of every query, see
        `HistoryTower`. Call it after training.

        Args:
            batches: batches of training windows, such as `windows.batches(64)`; for a model that
                reads user attributes the windows must have them, see `Splits.with_user_attributes`.

        Raises:
            ValueError: there is no batch, or the model reads attributes and the batches have none.
        """
        tower, known = self.query_tower, self.user_attributes
        if known is not None:
            tower.prior_items.assign(0.0)  # so that queries come from the encoder alone
        total, number = tf.zeros([self.candidate_tower.embedding_dim]), 0
        of_users = QueriesOfUsers()
        for batch in batches:
            queries = tf.cast(self.encode_rows(batch, training=False), tf.float32)[:, :-1]
            total, number = total + tf.reduce_sum(queries, axis=0), number + len(queries)
            if known is not None:
                examples = self.of_rows(tf.range(len(batch[columns.HISTORY])), batch)
                users = tf.gather(batch[columns.USER_ID], examples)
                _check_attributes(batch, known)
                values = tower.attribute_values(batch[columns.USER_ATTRIBUTES])
                of_users.add(users.numpy(), tf.gather(values, examples).numpy(), queries.numpy())
        if not number:
            raise ValueError("`batches` must hold a window with a label. Received: none.")
        tower.empty_query.assign(total / number)
        if known is not None:
            values, means = of_users.means()
            effects = attribute_effects(values, 1 + sum(known.sizes), means)
            tower.attribute_embeddings.assign(effects)
            tower.prior_items.assign(PRIOR_ITEMS)

    def catalogue_embeddings(self) -> tf.Tensor:
        """Candidate embeddings of padding (row 0) and every item, `[num_items + 1, dim]`."""
        return self.encode_candidates(tf.range(self.num_items + 1), training=False)

    def encode_rows(
        self,
        batch: dict[str, tf.Tensor],
        training: bool | None = None,
        table: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Query embeddings of the rows, `[num_rows, dim]`; arguments as for `encode_queries`."""
        queries = self.encode_queries(batch, training=training, table=table)
        return tf.boolean_mask(queries, row_mask(batch))

    def choose_candidates(self, batch: dict[str, tf.Tensor]) -> CandidateSet:
        """The candidates of the batch's rows.

        Raises:
            ValueError: labels are distributions, but the candidates are not the catalogue.
        """
        given = {
            name: rows_of(batch[name], batch) if name in batch else None
            for name in (columns.LABELS, columns.CANDIDATE_SAMPLING_PROBABILITY)
        }
        seen = seen_items(batch, self.num_items) if self.candidates.exclude_seen else None
        mask = batch.get(columns.SCORE_MASK)
        if mask is not None and not self.candidates.of_catalogue:
            if mask.shape[-1] == self.num_items:
                raise ValueError(
                    f"The batch's column {columns.SCORE_MASK!r} is over all {self.num_items} "
                    f"items, but the candidates are of source {self.candidates.source!r}. Make "
                    "batches by `windows.batches(..., num_negatives=N)`, 0 for none."
                )
        if mask is not None:
            if mask.shape.rank == 2:
                shape = tf.concat([tf.shape(batch[columns.HISTORY]), tf.shape(mask)[1:]], axis=0)
                mask = tf.broadcast_to(mask[:, None], shape)
            mask = rows_of(mask, batch)
        labels, probability = given.values()
        if self.candidates.of_catalogue:
            return catalogue_candidates(self.num_items, labels, seen, mask)
        if labels is not None and labels.shape.rank != 1:
            raise ValueError(
                f"Labels of candidates from source {self.candidates.source!r} must be item "
                "indices; distributions over the items need source='catalogue'. Received: labels "
                f"of shape {batch[columns.LABELS].shape}."
            )
        return in_batch_candidates(self.candidates, batch, labels, probability, seen, mask)

    def hidden_representations(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Compute, as a teacher, the query layers' outputs by path and `query_embeddings`."""
        with recorded(self) as hidden:
            queries = self.encode_queries(batch, training=False)
        return hidden | {"query_embeddings": queries}

    def to_rows(self, values: tf.Tensor, batch: Batch) -> tf.Tensor:
        """Select the rows of `[batch_size, max_history, ...]`; the first two axes may be merged."""
        mask = row_mask(batch)
        if values.shape.rank > 2 and values.shape[1] == mask.shape[1]:
            return tf.boolean_mask(values, mask)
        labelled = tf.where(tf.reshape(mask, [-1]))[:, 0]
        size = tf.shape(values)[0]
        are_positions = tf.equal(size, tf.size(mask))
        rows = tf.range(tf.size(labelled, out_type=tf.int64))
        if tf.executing_eagerly() and not are_positions and size != len(labelled):
            raise ValueError(
                "A layer's output must have one row per position or per labelled position; this "
                f"layer has other rows, such as items. Received: {int(size)} rows where "
                f"{len(labelled)} of {int(tf.size(mask))} positions are labelled."
            )
        return tf.gather(values, tf.where(are_positions, labelled, rows))

    def of_rows(self, examples: tf.Tensor, batch: Batch) -> tf.Tensor:
        """Repeat a value per example, `[batch_size]`, for each of its rows, `[num_rows]`."""
        return broadcast_to_rows(examples, batch)

    def sample_weights(self, batch: Batch) -> tf.Tensor | None:
        """The rows' sample weights as given, below 0 for dislikes; or None."""
        return sample_weights(batch)

    def fingerprint(self) -> str:
        """Return the sha256 of the configuration and every weight, item vectors included."""
        digest = hashlib.sha256(json.dumps(self.get_config(), sort_keys=True).encode())
        for weight in self.query_tower.weights:
            digest.update(str((weight.shape, weight.dtype)).encode() + weight.numpy().tobytes())
        return digest.hexdigest()

    def build_towers(self) -> None:
        """Create every weight, so that the model can be loaded, counted or copied before `fit`."""
        self.query_tower(tf.zeros([1, self.max_history], tf.int32))
        self.catalogue_embeddings()
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """The configuration; the candidate tower is the one inside the query tower."""
        return {
            "name": self.name,
            "query_tower": tf.keras.utils.serialize_keras_object(self.query_tower),
            "candidates": dataclasses.asdict(self.candidates),
            "label_smoothing": self.label_smoothing,
            "cold_items": list(self.cold_items),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> TwoTower:
        """Build a model with new, untrained towers."""
        query_tower = tf.keras.utils.deserialize_keras_object(
            config["query_tower"], custom_objects=custom_objects
        )
        candidates = Candidates(**config["candidates"])
        model = cls(
            query_tower,
            query_tower.item_tower,
            candidates,
            config["label_smoothing"],
            cold_items=config["cold_items"],
            name=config["name"],
        )
        model.build_towers()
        return model


def _check_attributes(batch: dict[str, tf.Tensor], known: AttributeVocabulary) -> None:
    """Raise a ValueError if a batch has no user attributes."""
    if columns.USER_ATTRIBUTES not in batch:
        raise ValueError(
            f"The model reads the attributes of users ({', '.join(known.names)}), but the batches "
            f"have no column {columns.USER_ATTRIBUTES!r}. Make them of windows that have the "
            "attributes: `splits.with_user_attributes(vocabulary.encode(columns)).train`."
        )
