"""A table of embeddings as a layer, and the base class of features that read one."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.models.features.feature import RankingFeature


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class Table(tf.keras.layers.Layer):
    """Trained rows by index.

    Another layer with these attributes can replace it, such as a compressed table.

    Args:
        num_rows: number of rows.
        dim: width of a row.
        initializer: initializer of the rows.
    """

    def __init__(self, num_rows: int, dim: int, initializer: Any = "zeros", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_rows, self.dim = num_rows, dim
        self.initializer = tf.keras.initializers.get(initializer)
        self.embeddings = self.add_weight(
            name="embeddings", shape=[num_rows, dim], initializer=self.initializer
        )

    def gather(self, rows: tf.Tensor) -> tf.Tensor:
        """Rows by index: int32 `[...]` to float `[..., dim]`."""
        return tf.gather(self.embeddings, rows)

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal layer."""
        return super().get_config() | {
            "num_rows": self.num_rows,
            "dim": self.dim,
            "initializer": tf.keras.initializers.serialize(self.initializer),
        }


class TableFeature(RankingFeature):
    """A feature that is computed from the rows of a table.

    Args:
        side: `"query"` or `"item"`.
        num_rows: number of rows in the table.
        embedding_dim: width of the table and of the feature.
        table: a layer like `Table`, of that size; None for a new `Table`.
        initializer: initializer of a new table.

    Raises:
        ValueError: the side is not one of these, or the table has another size.
        TypeError: `table` is not a layer like `Table`.
    """

    def __init__(
        self,
        side: str,
        num_rows: int,
        embedding_dim: int,
        table: Any,
        initializer: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(side, **kwargs)
        self.embedding_dim = embedding_dim
        if table is None:
            policy = self.dtype_policy
            table = Table(num_rows, embedding_dim, initializer, dtype=policy, name="table")
        missing = [name for name in ("num_rows", "dim", "gather") if not hasattr(table, name)]
        if missing:
            raise TypeError(
                "`table` must be a layer with `num_rows`, `dim` and `gather`, as `Table` has them. "
                f"Received: a {type(table).__name__} without {', '.join(missing)}. Leave `table` "
                "out for a new one."
            )
        if (table.num_rows, table.dim) != (num_rows, embedding_dim):
            raise ValueError(
                f"`table` must have {num_rows} rows of {embedding_dim} numbers. Received: "
                f"{table.num_rows} rows of {table.dim}."
            )
        self.table = table

    @property
    def dim(self) -> int:
        """Width of an embedding."""
        return self.embedding_dim

    def _looked_up(self, rows: tf.Tensor) -> tf.Tensor:
        """Rows of the table in the feature's precision: int32 `[...]` to `[..., dim]`."""
        return tf.cast(self.table.gather(rows), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the base classes, and the table if it is not a `Table`."""
        plain = isinstance(self.table, Table)
        table = None if plain else tf.keras.utils.serialize_keras_object(self.table)
        return super().get_config() | {"embedding_dim": self.embedding_dim, "table": table}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Build an equal layer, with a new table unless the configuration holds one."""
        if "table" not in config:
            raise ValueError(
                f"The feature {config.get('name')!r} was saved before features had tables, which "
                "this version does not read. Train the model again; of a run, remove its folder."
            )
        table = config["table"]
        if isinstance(table, dict):
            table = tf.keras.utils.deserialize_keras_object(table)
        return cls(**(config | {"table": table}))


def in_fewest_bytes(indices: np.ndarray) -> np.ndarray:
    """Return indices (0 or more) in the smallest type that holds them and a file can look up."""
    for dtype in (np.uint8, np.int16):
        if indices.max(initial=0) <= np.iinfo(dtype).max:
            return indices.astype(dtype)
    return indices
