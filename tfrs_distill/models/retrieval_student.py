"""The retrieval student: two towers over a history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_distill.models.candidates import Candidates
from tfrs_distill.models.described_item_tower import DescribedItemTower
from tfrs_distill.models.encoders.decayed_average import DecayedAverage
from tfrs_distill.models.encoders.recency_attention import RecencyAttention
from tfrs_distill.models.encoders.text_tower import TextTower
from tfrs_distill.models.history_tower import HistoryTower
from tfrs_distill.models.item_tower import ItemTower
from tfrs_distill.models.tfrs_student import TFRSStudent
from tfrs_distill.models.two_tower import TwoTower
from tfrs_distill.serving.attribute_vocabulary import AttributeVocabulary
from tfrs_distill.serving.word_pieces import WordPieces


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class RetrievalStudent(TwoTower):
    """A small two-tower model; trained alone it is the twin, in a `Distiller` it is the student.

    It reads the history, not a user id: a phone has the history, a new user has one after the first
    interaction, and no table of users has to be shipped. With `user_attributes` it also reads
    attributes that are available before the first interaction, such as the age.

    Args:
        query_tower: `HistoryTower`, histories to `[batch_size, max_history, dim]`.
        candidate_tower: `ItemTower`, item ids to `[num_candidates, dim]`.
        candidates: `Candidates`, the candidates of a training step's softmax; the catalogue by
            default.
        label_smoothing: the share of a label that is spread evenly over its candidates.
        cold_items: items of the second task, see `TwoTower`.

    Example:
    >>> student = RetrievalStudent.from_history(num_items=100, max_history=8, embedding_dim=4)
    >>> student.encode_histories(tf.constant([[3, 1, 4]])).shape.as_list()
    [1, 5]
    """

    @classmethod
    def from_history(
        cls,
        *,
        num_items: int,
        max_history: int,
        embedding_dim: int = 16,
        num_heads: int = 0,
        dropout: float = 0.0,
        reads_order: bool = True,
        candidates: Candidates | None = None,
        label_smoothing: float = 0.0,
        texts: Sequence[str] | None = None,
        word_pieces: WordPieces | None = None,
        piece_vectors: np.ndarray | None = None,
        id_dropout: float = 0.5,
        piece_dropout: float = 0.4,
        cold_items: Sequence[int] = (),
        user_attributes: AttributeVocabulary | None = None,
        seed: int | None = None,
        name: str = "retrieval_student",
    ) -> RetrievalStudent:
        """Build a student with one shared item embedding table and an encoder of the history.

        Args:
            num_items: number of items in the catalogue.
            max_history: number of last items of a history that are read.
            embedding_dim: width of an item's embedding; each item has one more number, its bias.
            num_heads: attention heads of the history encoder, a `RecencyAttention` of one block; it
                divides `embedding_dim`. 0 for a `DecayedAverage`, which is smaller and, on few
                interactions, as good: see `benchmarks/RESULTS.md`.
            dropout: share of item embedding entries dropped in training.
            reads_order: whether recent items have more weight. False if histories have no order, as
                from `split_at_random`: all items then have equal weight. Of a history of more than
                `max_history` items the last ones are read, which in a random order are a random
                part.
            candidates: the candidates of a training step's softmax; the catalogue by default.
            label_smoothing: the share of a label that is spread evenly over its candidates, as in
                `tf.keras.losses.CategoricalCrossentropy`. 0.6 alone gives a small student most of
                the teacher's benefit on MovieLens-100K: see `benchmarks/retrieval.py`.
            texts: texts of the items, in catalogue order, for a small text tower besides the ids,
                so that cold-start items can be recommended by text. None for ids alone.
            word_pieces: converts texts to indices; required with `texts`.
            piece_vectors: float [num_pieces + 1, any width], constant vectors of the pieces: see
                `td.teachers.piece_vectors`. None trains vectors of width 8.
            id_dropout: of `DescribedItemTower`, with `texts`.
            piece_dropout: share of a text's word pieces dropped in training, with `texts`.
            cold_items: indices of items without interactions that a teacher ranks, see `TwoTower`.
            user_attributes: the user attributes that are read besides the history, see
                `HistoryTower`; their effects are fitted by `fit_empty_history`. None for none.
            seed: int or None; fixes initial weights and dropout.
            name: name of the model.

        Raises:
            ValueError: only one of `texts` and `word_pieces` is given, the number of texts is not
                the number of items, or `num_heads` does not divide `embedding_dim`.
        """
        if (texts is None) != (word_pieces is None):
            raise ValueError(
                "`texts` and `word_pieces` belong together. Received: "
                f"{'no texts' if texts is None else 'texts'} and word_pieces={word_pieces!r}."
            )
        if texts is None or word_pieces is None:
            items = ItemTower(num_items, embedding_dim, seed=seed, name="item_tower")
        else:
            tower = TextTower(
                word_pieces.num_pieces,
                embedding_dim + 1,
                piece_dim=8 if piece_vectors is None else piece_vectors.shape[1],
                trains_pieces=piece_vectors is None,
                dropout=piece_dropout,
                seed=seed,
                name="text_tower",
            )
            if piece_vectors is not None:
                tower.set_piece_vectors(piece_vectors)
            items = DescribedItemTower(
                num_items,
                tower,
                word_pieces,
                id_dropout=id_dropout,
                seed=seed,
                name="item_tower",
            )
            items.set_texts(texts)
        named: dict[str, Any] = {"dropout": dropout, "reads_order": reads_order, "seed": seed}
        if num_heads:
            encoder = RecencyAttention(
                max_history, embedding_dim, num_heads=num_heads, name="recency_attention", **named
            )
        else:
            encoder = DecayedAverage(max_history, embedding_dim, name="decayed_average", **named)
        queries = HistoryTower(
            items, encoder, user_attributes=user_attributes, name="history_tower"
        )
        student = cls(queries, items, candidates, label_smoothing, cold_items=cold_items, name=name)
        student.build_towers()
        return student

    @staticmethod
    def from_tfrs(
        model: tfrs.Model,
        *,
        query_tower: tf.keras.layers.Layer,
        candidate_tower: tf.keras.layers.Layer,
        query_column: str | Sequence[str],
        candidate_column: str | Sequence[str],
        candidate_id_column: str | None = None,
        candidates: Candidates | None = None,
    ) -> TFRSStudent:
        """Adapt an existing `tfrs.Model`, as in the tutorials, without changing its code.

        Args:
            model: has one `tfrs.tasks.Retrieval`, whose loss, options and metrics are kept; a loss
                that is summed over the batch becomes the mean over its rows.
            query_tower: the model's query tower, such as `model.user_model`; trained in place.
            candidate_tower: the model's candidate tower, such as `model.movie_model`; trained in
                place.
            query_column: the batch's column that the query tower reads, such as `"user_id"`; for a
                tower that reads a dict, its keys, such as `["user_id", "timestamp"]`.
            candidate_column: the batch's column or columns that the candidate tower reads. With
                several, teachers get the candidates as a dict too.
            candidate_id_column: the batch's column of candidate ids, which identifies accidental
                hits; required if the tower reads several columns and accidental hits are removed.
            candidates: replaces the task's options; source `"batch"` or `"sampled"`.

        Raises:
            TypeError: `model` is not a `tfrs.Model`, or columns are neither a name nor a list of
                names.
            ValueError: it has no retrieval task, several, or one with its own `call`; the task's
                loss is not a Keras loss, reads probabilities or does not return one value per row;
                or accidental hits are removed and no column has the candidate ids.

        Example:
        >>> class MovielensModel(tfrs.Model):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.user_model = tf.keras.Sequential([
        ...             tf.keras.layers.StringLookup(vocabulary=["ann", "bob"]),
        ...             tf.keras.layers.Embedding(3, 4)])
        ...         self.movie_model = tf.keras.Sequential([
        ...             tf.keras.layers.StringLookup(vocabulary=["Heat", "Alien"]),
        ...             tf.keras.layers.Embedding(3, 4)])
        ...         self.task = tfrs.tasks.Retrieval()
        >>> model = MovielensModel()
        >>> student = RetrievalStudent.from_tfrs(
        ...     model, query_tower=model.user_model, candidate_tower=model.movie_model,
        ...     query_column="user_id", candidate_column="movie_title")
        >>> batch = {"user_id": tf.constant(["ann", "bob"]),
        ...          "movie_title": tf.constant(["Heat", "Alien"])}
        >>> student(batch).logits.shape.as_list()
        [2, 2]
        """
        return TFRSStudent(
            model,
            query_tower=query_tower,
            candidate_tower=candidate_tower,
            query_column=query_column,
            candidate_column=candidate_column,
            candidate_id_column=candidate_id_column,
            candidates=candidates,
        )
