"""The candidate tower of a compressed student: item embeddings from a table in fewer bytes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.compress.bits import PackedTable, least_of, log_scales_of, quantized
from tfrs_distill.compress.methods import Methods
from tfrs_distill.compress.structures import STRUCTURES, Structure
from tfrs_distill.compress.structures.structure import (
    Exact,
    Parts,
    Tensor,
    rows_at_run_time,
)
from tfrs_distill.models.encoders.text_tower import TextTower
from tfrs_distill.serving.word_pieces import WordPieces


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class CompressedItemTower(tf.keras.layers.Layer):
    """Item embedding with the item's bias as its last entry, from a compressed table.

    It takes the place of an `ItemTower` whose embeddings of all items, whatever they were computed
    from, are the table. What is computed, in training too, is what is left of them: a table in 4
    bits is rounded to 4 bits in every step, with gradients as if it were not.

    Args:
        num_items: items, padding not counted.
        embedding_dim: width of `embed`; the table is one wider.
        methods: what is done to the table.
        text_tower: of new items' texts, which stays as it is; None where there is none.
        word_pieces: what turns a text into indices.
    """

    def __init__(
        self,
        num_items: int,
        embedding_dim: int,
        methods: Methods,
        *,
        text_tower: TextTower | None = None,
        word_pieces: WordPieces | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_items, self.embedding_dim, self.methods = num_items, embedding_dim, methods
        self.text_tower, self.word_pieces = text_tower, word_pieces
        if text_tower is not None and word_pieces is not None:
            text_tower.trainable = False
            text_tower(tf.zeros([1, word_pieces.max_pieces], tf.int32))  # it makes its weights now
        structure = STRUCTURES[methods.structure]
        self.structure = structure(num_items + 1, embedding_dim + 1, *methods.numbers)
        self.floats: dict[str, tf.Variable] = {}
        self.log_scales: dict[str, tf.Variable] = {}
        self.least: dict[str, tf.Variable] = {}
        for name, shape in self.structure.floats().items():
            # Never cast by a policy: what is rounded is rounded in float32, as in the file.
            self.floats[name] = self.add_weight(
                name=name, shape=shape, initializer="zeros", experimental_autocast=False
            )
            if methods.packs and name not in self.structure.exact:
                scale = methods.scale_of(shape[1])
                self.log_scales[name] = self.add_weight(
                    name=f"{name}_log_scales",
                    shape=[
                        shape[0] if scale == "row" else 1,
                        shape[1] if scale == "column" else 1,
                    ],
                    initializer="zeros",
                    experimental_autocast=False,
                )
                self.least[name] = self.add_weight(
                    name=f"{name}_least",
                    shape=[],
                    initializer="zeros",
                    trainable=False,
                    experimental_autocast=False,
                )
        self.integers = {
            name: self.add_weight(
                name=name, shape=shape, dtype=tf.int32, initializer="zeros", trainable=False
            )
            for name, shape in self.structure.integers().items()
        }

    def set_table(self, table: np.ndarray, weights: np.ndarray) -> None:
        """Fit the parts to a table, float [num_items + 1, embedding_dim + 1].

        Args:
            table: the embeddings of padding and all items.
            weights: float [num_items + 1], how much the error of each counts.
        """
        for name, values in self.structure.fit(np.float32(table), weights).items():
            if name in self.integers:
                self.integers[name].assign(values)
                continue
            self.floats[name].assign(values)
            if name in self.log_scales:
                scale = self.methods.scale_of(values.shape[1])
                self.log_scales[name].assign(log_scales_of(values, self.methods.bits, scale))
                self.least[name].assign(least_of(values))

    def call(self, item_ids: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Candidate embeddings: int32 `[...]` to float `[..., embedding_dim + 1]`."""
        floats = {name: Tensor(self._kept(name)) for name in self.floats}
        rows = self.structure.rows(floats | self.integers, tf.reshape(item_ids, [-1]))
        shape = tf.concat([tf.shape(item_ids), [self.embedding_dim + 1]], axis=0)
        embeddings = tf.cast(tf.reshape(rows, shape), self.compute_dtype)
        return tf.ensure_shape(embeddings, [*item_ids.shape, self.embedding_dim + 1])

    def embed(self, item_ids: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Item embeddings without bias: int32 `[...]` to float `[..., embedding_dim]`."""
        return self.call(item_ids, training=training)[..., :-1]

    def _kept(self, name: str) -> tf.Tensor:
        """A part in the precision of the file."""
        values, bits = tf.convert_to_tensor(self.floats[name]), self.methods.bits
        if name in self.structure.exact:
            return values
        if self.methods.packs:
            return quantized(values, self.log_scales[name], self.least[name], bits)
        kept = values
        if bits == 16:
            kept = tf.cast(tf.cast(values, tf.float16), values.dtype)
        elif bits == 8:  # as TensorFlow's converter does it
            scale = tf.maximum(tf.reduce_max(tf.abs(values)), 1e-12) / 127.0
            kept = tf.round(values / scale) * scale
        return values + tf.stop_gradient(kept - values)

    @property
    def stored(self) -> StoredTable | None:
        """What a file has of the table; None where it has the table itself, as a constant."""
        if self.methods.structure == "plain" and not self.methods.packs:
            return None
        parts: dict[str, Any] = {
            name: _smallest(values.numpy()) for name, values in self.integers.items()
        }
        for name, values in self.floats.items():
            if name in self.log_scales:
                scales, least = self.log_scales[name].numpy(), float(self.least[name])
                parts[name] = PackedTable(values.numpy(), scales, least, self.methods.bits)
            elif name in self.structure.exact:
                parts[name] = Exact(values.numpy())
            else:
                parts[name] = Tensor(self._kept(name).numpy())
        return StoredTable(self.structure, parts)

    @property
    def stored_pieces(self) -> PackedTable | None:
        """What a file has of `TextTower.weighted_embeddings()`; None where it has these."""
        if self.text_tower is None or not self.methods.packs:
            return None
        table, bits = self.text_tower.weighted_embeddings(), self.methods.bits
        return PackedTable(table, log_scales_of(table, bits, "row"), least_of(table), bits)

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal layer."""
        tower, pieces = self.text_tower, self.word_pieces
        return super().get_config() | {
            "num_items": self.num_items,
            "embedding_dim": self.embedding_dim,
            "methods": dataclasses.asdict(self.methods),
            "text_tower": tower and tf.keras.utils.serialize_keras_object(tower),
            "word_pieces": pieces and dataclasses.asdict(pieces),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> CompressedItemTower:
        """Build a layer with a new text tower."""
        tower, pieces = config["text_tower"], config["word_pieces"]
        methods = config["methods"]
        built = {
            "methods": Methods(**(methods | {"numbers": tuple(methods["numbers"])})),
            "text_tower": tower and tf.keras.utils.deserialize_keras_object(tower),
            "word_pieces": pieces and WordPieces(**pieces),
        }
        return cls(**(config | built))


@dataclasses.dataclass(frozen=True)
class StoredTable:
    """A table as a file has it: constants, and the operators that make rows of them.

    Args:
        structure: how rows are made.
        parts: what of, integers as arrays.
    """

    structure: Structure
    parts: Parts

    def rows(self, rows: tf.Tensor) -> tf.Tensor:
        """Rows by index, known only when the graph runs: int32 `[...]` to float32 `[..., dim]`."""
        is_flat = rows.shape.rank == 1  # then no operators for it
        flat = rows if is_flat else tf.reshape(rows, [-1])
        table = self.structure.rows(self.parts, flat)
        if is_flat:
            return table
        return tf.reshape(table, tf.concat([tf.shape(rows), [table.shape[1]]], axis=0))

    def scores(self, queries: tf.Tensor) -> tf.Tensor:
        """Dot products with all rows: float32 [num_queries, dim] to [num_queries, num_rows]."""
        rows = rows_at_run_time(self.structure.num_rows, queries)
        return self.structure.scores(self.parts, queries, rows)

    def whole(self, run_time: tf.Tensor) -> tf.Tensor:
        """All rows, float32 [num_rows, dim]; see `rows_at_run_time`."""
        return self.rows(rows_at_run_time(self.structure.num_rows, run_time))


def _smallest(values: np.ndarray) -> np.ndarray:
    """Integers in as few bytes as they need."""
    for dtype in (np.uint8, np.int16):
        if values.max(initial=0) <= np.iinfo(dtype).max:
            return values.astype(dtype)
    return values
