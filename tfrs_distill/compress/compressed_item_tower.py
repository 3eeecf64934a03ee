"""The candidate tower of a compressed student: item embeddings from a compressed table."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from tfrs_distill.compress.bits import PackedTable, least_of, log_scales_of
from tfrs_distill.compress.compressed_table import CompressedTable, StoredTable
from tfrs_distill.compress.methods import Methods
from tfrs_distill.models.encoders.text_tower import TextTower
from tfrs_distill.serving.word_pieces import WordPieces


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class CompressedItemTower(tf.keras.layers.Layer):
    """Item embedding with the item's bias as its last entry, from a compressed table.

    It replaces an `ItemTower`. The table holds the final embeddings of all items, whatever inputs
    they were computed from.

    Args:
        num_items: number of items, without padding.
        embedding_dim: width of `embed`; the table is one column wider.
        methods: the methods applied to the table.
        text_tower: for the texts of new items, unchanged; None if there is none.
        word_pieces: converts a text into indices.
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
            text_tower(tf.zeros([1, word_pieces.max_pieces], tf.int32))  # creates its weights
        # Never cast by a policy, see `CompressedTable`.
        self.table = CompressedTable(num_items + 1, embedding_dim + 1, methods, name="table")

    def call(self, item_ids: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Candidate embeddings: int32 `[...]` to float `[..., embedding_dim + 1]`."""
        return tf.cast(self.table.gather(item_ids), self.compute_dtype)

    def embed(self, item_ids: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Item embeddings without bias: int32 `[...]` to float `[..., embedding_dim]`."""
        return self.call(item_ids, training=training)[..., :-1]

    @property
    def stored(self) -> StoredTable | None:
        """See `CompressedTable.stored`."""
        return self.table.stored

    @property
    def stored_pieces(self) -> PackedTable | None:
        """The packed `TextTower.weighted_embeddings()` of a file; None if it has them unpacked."""
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
        built = {
            "methods": Methods.from_config(config["methods"]),
            "text_tower": tower and tf.keras.utils.deserialize_keras_object(tower),
            "word_pieces": pieces and WordPieces(**pieces),
        }
        return cls(**(config | built))
