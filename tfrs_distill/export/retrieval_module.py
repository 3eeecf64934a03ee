"""The function of a retrieval student's files: a history in, the k best items out."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfrs_distill.columns import HISTORY, PADDING, USER_ATTRIBUTES
from tfrs_distill.errors import InputError
from tfrs_distill.models.history_tower import EmbeddingTable, known_items, row_of_each
from tfrs_distill.models.two_tower import TwoTower
from tfrs_distill.serving.attribute_vocabulary import AttributeVocabulary
from tfrs_distill.serving.recommender import EMBED_TEXTS, RETRIEVE_WITH_ADDED, SIGNATURE_NAME
from tfrs_distill.serving.word_pieces import WordPieces

HISTORY_SPEC = tf.TensorSpec([None, None], tf.int32, name=HISTORY)
LARGE = 4096  # items, from which on a few more operators are less than 2 % of a compressed file
NOTHING_LEFT = float(np.finfo(np.float32).min)  # finite: JSON, so TF Serving's REST, has no -inf


class ExportableStudent(Protocol):
    """What a retrieval student must have to be exported."""

    max_history: int

    def catalogue_embeddings(self) -> tf.Tensor:
        """Return item embeddings `[num_items + 1, embedding_dim]`; row 0 is padding."""

    def encode_histories(self, history: tf.Tensor) -> tf.Tensor:
        """Encode item indices `[batch_size, history_length]` to `[batch_size, embedding_dim]`.

        A `TwoTower` also takes the table of all embeddings, from which it reads the history's.
        """


class WholeTable:
    """A table in one piece.

    Args:
        values: float32 [num_rows, dim].
    """

    def __init__(self, values: Any) -> None:
        self.values = tf.convert_to_tensor(values)  # once, or a SavedModel holds it twice

    def gather(self, rows: tf.Tensor) -> tf.Tensor:
        """Rows by index: int32 `[...]` to float32 `[..., dim]`."""
        return tf.gather(self.values, rows)

    def scores(self, queries: tf.Tensor) -> tf.Tensor:
        """Dot products with all rows: float32 [num_queries, dim] to [num_queries, num_rows]."""
        return tf.matmul(queries, self.values, transpose_b=True)


class ItemTable:
    """The embeddings of padding and the catalogue's items, and of items added behind them.

    Args:
        catalogue: `WholeTable`, or the parts that a compressed student has stored.
        num_known: rows of the catalogue's.
        added: float32 [num_added, dim], where there are any.
    """

    def __init__(self, catalogue: Any, num_known: int, *added: tf.Tensor) -> None:
        self.catalogue, self.added, self.num_known = catalogue, added, num_known
        self.num_rows = num_known + sum(tf.shape(table)[0] for table in added)

    def gather(self, items: tf.Tensor) -> tf.Tensor:
        """Embeddings by index, of each table by itself: together they would be of 32 bits."""
        if not self.added:
            return self.catalogue.gather(items)
        (table,) = self.added
        behind = items - self.num_known
        known = self.catalogue.gather(tf.where(behind < 0, items, PADDING))
        others = tf.gather(table, tf.maximum(behind, 0))
        return tf.where(tf.expand_dims(behind < 0, -1), known, others)

    def scores(self, queries: tf.Tensor) -> tf.Tensor:
        """Dot products with all, float32 [num_queries, num_rows]."""
        scores = self.catalogue.scores(queries)
        others = [tf.matmul(queries, table, transpose_b=True) for table in self.added]
        return tf.concat([scores, *others], axis=1) if others else scores


class RetrievalModule(tf.Module):
    """`history` -> `scores`, `item_ids`; with `exclude_seen` without items in the history.

    `history` is int32 [batch_size, history_length], both sizes free: item indices, oldest first, 0
    for padding anywhere. With `exclude_seen` all its items are excluded, even those too old for the
    student to read. Numbers that are not item indices (negative, or above `num_items`) count as
    padding.

    `scores` is float32 [batch_size, k], best first; `item_ids` is int32 [batch_size, k], item
    indices 1 to `num_items`. If fewer than k items are left, the rest of `item_ids` is 0 and of
    `scores` the lowest float32.

    The catalogue's embeddings are computed once, here, and become a constant of the graph, from
    which a `TwoTower` also reads the items of the history: every item is in the files once. Only
    the student's variables that the query needs are kept.

    A student that reads item texts has two more functions, to add items without a new export.
    `embed_texts` maps `pieces`, int32 [num_texts, max_pieces], to `embeddings`, float32 [num_texts,
    dim]. `retrieve_with_added_items` takes these as `added_embeddings` (at least one) besides the
    history, and recommends them too. Their indices, also in the history, are `num_items + 1` and
    on.

    A student that reads user attributes has one more input: `user_attributes`, int32 [batch_size,
    num_attributes], indices of its `AttributeVocabulary`, 0 (or any other number) if missing.

    Args:
        student: a trained student, see `ExportableStudent`.
        num_items: number of items in the catalogue.
        k: number of items to return; at most `num_items`.
        exclude_seen: see `Catalogue.exclude_seen`.

    Raises:
        InputError: `k` is below 1, or the student's embeddings do not fit the catalogue.
    """

    part = "`encode_histories`"  # that becomes operators, for messages

    def __init__(
        self,
        student: ExportableStudent,
        num_items: int,
        *,
        k: int = 100,
        exclude_seen: bool = True,
    ) -> None:
        super().__init__(name="serving_module")
        if k < 1:
            raise InputError(f"`k` must be at least 1. Received: k={k!r}.")
        embeddings = np.asarray(student.catalogue_embeddings(), np.float32)
        _check_embeddings(embeddings, num_items)
        self.num_items, self.k, self.exclude_seen = num_items, min(k, num_items), exclude_seen
        self.embedding_dim = embeddings.shape[1]
        self.has_one_table = isinstance(student, TwoTower)
        self._embeddings = embeddings

        # The student is held by the closure, not as an attribute: Keras would save all of it.
        def encode_histories(
            history: tf.Tensor, table: EmbeddingTable, user_attributes: tf.Tensor | None
        ) -> tf.Tensor:
            if isinstance(student, TwoTower):
                return student.encode_histories(history, table, user_attributes)
            return student.encode_histories(history)

        self._encode_histories = encode_histories
        self.user_attributes: AttributeVocabulary | None = None
        self.word_pieces: WordPieces | None = None
        self.embed_texts: Any = None
        self.retrieve_with_added_items: Any = None
        items: Any = student.candidate_tower if isinstance(student, TwoTower) else None
        self._stored = getattr(items, "stored", None)
        if getattr(items, "text_tower", None) is not None:
            self._read_texts(items)
        if isinstance(student, TwoTower) and student.user_attributes is not None:
            self._read_attributes(student.user_attributes)
        # Only these are saved; LiteRT's converter needs them tracked before it traces again.
        self.query_variables = [
            variable
            for function in self.served.values()
            for variable in function.get_concrete_function().variables
        ]

    # Not `serve`: LiteRT's converter takes a module with a method of this name for one of Keras'
    # `model.export`, and ignores every other function.
    @tf.function(input_signature=[HISTORY_SPEC])
    def retrieve(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the k best items for every row of `history`."""
        return self._best(history)

    def _read_texts(self, items: Any) -> None:
        self.word_pieces = items.word_pieces
        pieces_spec = tf.TensorSpec([None, items.word_pieces.max_pieces], tf.int32, name="pieces")
        added_spec = self._added_spec

        tower, stored = items.text_tower, getattr(items, "stored_pieces", None)
        # A table of many pieces is large: it is not created if the file has a packed one.
        table = tower.weighted_embeddings() if stored is None else None

        @tf.function(input_signature=[pieces_spec])
        def embed_texts(pieces: tf.Tensor) -> dict[str, tf.Tensor]:
            rows = stored.gather(pieces) if stored else tf.gather(tf.constant(table), pieces)
            embeddings = tower.embed(rows)
            return {"embeddings": tf.cast(embeddings, tf.float32)}

        @tf.function(input_signature=[HISTORY_SPEC, added_spec])
        def retrieve_with(history: tf.Tensor, added_embeddings: tf.Tensor) -> dict[str, tf.Tensor]:
            return self._best(history, added_embeddings)

        self.embed_texts, self.retrieve_with_added_items = embed_texts, retrieve_with

    @property
    def served(self) -> dict[str, Any]:
        """The functions of a SavedModel, by the name of the signature."""
        functions = {SIGNATURE_NAME: self.retrieve}
        if self.word_pieces is not None:
            functions |= {
                EMBED_TEXTS: self.embed_texts,
                RETRIEVE_WITH_ADDED: self.retrieve_with_added_items,
            }
        return functions

    @property
    def _added_spec(self) -> tf.TensorSpec:
        return tf.TensorSpec([None, self.embedding_dim], tf.float32, name="added_embeddings")

    def _read_attributes(self, vocabulary: AttributeVocabulary) -> None:
        """Replace the functions of histories by functions that also read user attributes."""
        spec = tf.TensorSpec([None, len(vocabulary.names)], tf.int32, name=USER_ATTRIBUTES)

        @tf.function(input_signature=[HISTORY_SPEC, spec])
        def retrieve(history: tf.Tensor, user_attributes: tf.Tensor) -> dict[str, tf.Tensor]:
            return self._best(history, user_attributes=user_attributes)

        @tf.function(input_signature=[HISTORY_SPEC, self._added_spec, spec])
        def retrieve_with(
            history: tf.Tensor, added_embeddings: tf.Tensor, user_attributes: tf.Tensor
        ) -> dict[str, tf.Tensor]:
            return self._best(history, added_embeddings, user_attributes=user_attributes)

        self.user_attributes, self.retrieve = vocabulary, retrieve
        if self.word_pieces is not None:
            self.retrieve_with_added_items = retrieve_with

    def _best(
        self, history: tf.Tensor, *added: tf.Tensor, user_attributes: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Return the k best of the catalogue's and the added items for every row of `history`."""
        table = self._table(*added)
        history = known_items(history, table.num_rows - 1)
        queries = self._encode_histories(history, table, user_attributes)
        scores = table.scores(tf.cast(queries, tf.float32))[:, 1:]
        if self.exclude_seen:
            scores = tf.where(self._seen(history, table.num_rows), NOTHING_LEFT, scores)
        best_scores, rows = tf.math.top_k(scores, self.k)
        return {
            "scores": best_scores,
            "item_ids": tf.where(best_scores > NOTHING_LEFT, rows + 1, PADDING),
        }

    def _table(self, *added: tf.Tensor) -> ItemTable:
        """Return all items; of a compressed student, the whole table is computed only if small.

        A large one is scored from its parts, which have fewer numbers.
        """
        catalogue: Any = self._stored
        if catalogue is None:
            catalogue = WholeTable(self._embeddings)
        elif self.num_items < LARGE:
            table = catalogue.whole()
            table.set_shape(self._embeddings.shape)
            catalogue = WholeTable(table)
        return ItemTable(catalogue, self.num_items + 1, *added)

    @property
    def example_inputs(self) -> dict[str, dict[str, np.ndarray]]:
        """A history of one item and a value of each attribute; a text of one piece and an item."""
        query: dict[str, np.ndarray] = {HISTORY: np.array([[1, 0]], np.int32)}
        if self.user_attributes is not None:
            query[USER_ATTRIBUTES] = np.ones([1, len(self.user_attributes.names)], np.int32)
        inputs: dict[str, dict[str, np.ndarray]] = {SIGNATURE_NAME: query}
        if self.word_pieces is not None:
            pieces = np.zeros([1, self.word_pieces.max_pieces], np.int32)
            pieces[0, 0] = 1
            inputs[EMBED_TEXTS] = {"pieces": pieces}
            inputs[RETRIEVE_WITH_ADDED] = query | {"added_embeddings": self._embeddings[1:2]}
        return inputs

    def example_outputs(self) -> dict[str, dict[str, np.ndarray]]:
        """Return the examples' outputs except items, which may be swapped if scores are equal."""
        return {
            name: {
                output: values.numpy()
                for output, values in self.served[name](**inputs).items()
                if output != "item_ids"
            }
            for name, inputs in self.example_inputs.items()
        }

    def _seen(self, history: tf.Tensor, num_rows: tf.Tensor) -> tf.Tensor:
        """Return which items, [batch_size, num_rows - 1], occur in each row of `history`.

        Scattered counts cost 0.02 ms for 660 items out of 1,682 in LiteRT; comparing all pairs
        0.2 ms, one-hot rows 1.7 ms.
        """
        counts = tf.scatter_nd(
            tf.stack([row_of_each(history), history], axis=-1),
            tf.minimum(history, 1),
            tf.stack([tf.shape(history)[0], num_rows]),
        )
        return counts[:, 1:] > 0


def retrieval_signature(module: RetrievalModule, max_history: int | None) -> dict[str, Any]:
    """Return the content of `signature.json` for `module`; -1 is a dynamic size."""
    read: dict[str, Any] = {}
    inputs = {HISTORY: {"dtype": "int32", "shape": [-1, -1]}}
    pieces, attributes = module.word_pieces, module.user_attributes
    if pieces is not None:
        read["texts"] = {"max_pieces": pieces.max_pieces, "lowercase": pieces.lowercase}
    if attributes is not None:
        read[USER_ATTRIBUTES] = attributes.as_list()
        inputs[USER_ATTRIBUTES] = {"dtype": "int32", "shape": [-1, len(attributes.names)]}
    return read | {
        "format": 1,
        "signature_name": SIGNATURE_NAME,
        "inputs": inputs,
        "outputs": {
            "scores": {"dtype": "float32", "shape": [-1, module.k]},
            "item_ids": {"dtype": "int32", "shape": [-1, module.k]},
        },
        "padding": PADDING,
        "nothing_left": {"item_id": PADDING, "score": NOTHING_LEFT},
        "num_items": module.num_items,
        "exclude_seen": module.exclude_seen,
        "k": module.k,
        "max_history": max_history,
        "history_order": "oldest first",
        "embeddings": {"num_embeddings": module.num_items, "embedding_dim": module.embedding_dim},
    }


def _check_embeddings(embeddings: np.ndarray, num_items: int) -> None:
    if embeddings.ndim != 2 or embeddings.shape[0] != num_items + 1:
        raise InputError(
            "The student and the catalogue do not belong together: `catalogue_embeddings()` must "
            f"have {num_items + 1} rows, padding and {num_items} items. "
            f"Received: shape {list(embeddings.shape)}."
        )
    if not np.isfinite(embeddings[1:]).all():
        raise InputError(
            "The student's item embeddings are not all finite, so it cannot rank. Its training "
            "diverged: train it again, for example with a smaller learning rate."
        )
