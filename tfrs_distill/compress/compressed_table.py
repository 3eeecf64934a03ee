"""A compressed table of embeddings: as a trainable layer, and as stored in a file."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.compress.bits import (
    PackedTable,
    as_converted,
    bytes_of_matrix,
    least_of,
    log_scales_of,
    quantized,
)
from tfrs_distill.compress.methods import Methods
from tfrs_distill.compress.structures import STRUCTURES, Structure
from tfrs_distill.compress.structures.structure import (
    PACKED_BITS,
    Exact,
    Indices,
    Parts,
    Tensor,
)
from tfrs_distill.errors import InputError


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class CompressedTable(tf.keras.layers.Layer):
    """Rows by index, from a compressed table.

    The layer computes what the file computes, in training too: a 4-bit table is rounded to 4 bits
    in every step, with straight-through gradients.

    Args:
        num_rows: rows of the table.
        dim: width of a row.
        methods: the methods applied to the table.

    Raises:
        InputError: the sizes of `methods` do not fit the table.
    """

    def __init__(self, num_rows: int, dim: int, methods: Methods, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_rows, self.dim, self.methods = num_rows, dim, methods
        self.structure = structure_of(num_rows, dim, methods)
        self.floats: dict[str, tf.Variable] = {}
        self.log_scales: dict[str, tf.Variable] = {}
        self.least: dict[str, tf.Variable] = {}
        for name, shape in self.structure.floats().items():
            # Never cast by a policy: rounding is done in float32, as in the file.
            self.floats[name] = self.add_weight(
                name=name, shape=shape, initializer="zeros", experimental_autocast=False
            )
            if methods.packs and name not in self._in_float32:
                self.log_scales[name] = self.add_weight(
                    name=f"{name}_log_scales",
                    shape=methods.shape_of_scales(shape),
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
            if not self.structure.latent  # else they are assigned
        }

    def fit(self, table: np.ndarray, weights: np.ndarray) -> None:
        """Fit the parts to a table, float [num_rows, dim].

        Args:
            table: the table to compress.
            weights: float [num_rows], above 0: weight of each row's error.
        """
        for name, values in self.structure.fit(np.asarray(table, np.float32), weights).items():
            if name in self.integers:
                self.integers[name].assign(values)
                continue
            self.floats[name].assign(values)
            if name in self.log_scales:
                scale = self.methods.scale_of(values.shape[1])
                self.log_scales[name].assign(log_scales_of(values, self.methods.bits, scale))
                self.least[name].assign(least_of(values))

    def gather(self, rows: tf.Tensor) -> tf.Tensor:
        """Rows by index: int32 `[...]` to float32 `[..., dim]`."""
        found = self.structure.trained_rows(self._parts, tf.reshape(rows, [-1]))
        shape = tf.concat([tf.shape(rows), [self.dim]], axis=0)
        return tf.ensure_shape(tf.reshape(found, shape), [*rows.shape, self.dim])

    @property
    def _in_float32(self) -> tuple[str, ...]:
        return (*self.structure.exact, *self.structure.latent)

    @property
    def _parts(self) -> Parts:
        """The parts, float ones in the precision of the file."""
        kept = {name: self._kept(name) for name in self.floats}
        return {name: Tensor(values) for name, values in (kept | self.integers).items()}

    def _kept(self, name: str) -> tf.Tensor:
        """Return a part in the precision of the file."""
        values, bits = tf.convert_to_tensor(self.floats[name]), self.methods.bits
        if name in self._in_float32:
            return values
        if self.methods.packs:
            return quantized(values, self.log_scales[name], self.least[name], bits)
        return values + tf.stop_gradient(as_converted(values, bits) - values)

    @property
    def stored(self) -> StoredTable | None:
        """The table as stored in a file; None if the file stores it uncompressed, as a constant."""
        if self.methods.structure == "plain" and not self.methods.packs:
            return None
        integers = self.integers | self.structure.assigned(self._parts)
        parts: dict[str, Any] = {name: Indices(values.numpy()) for name, values in integers.items()}
        for name, values in self.floats.items():
            if name in self.structure.latent:
                continue
            if name in self.log_scales:
                scales, least = self.log_scales[name].numpy(), float(self.least[name].numpy())
                parts[name] = PackedTable(values.numpy(), scales, least, self.methods.bits)
            elif name in self.structure.exact:
                parts[name] = Exact(tf.constant(values.numpy()))
            else:
                parts[name] = Tensor(tf.constant(self._kept(name).numpy()))
        return StoredTable(self.structure, parts)

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal layer."""
        return super().get_config() | {
            "num_rows": self.num_rows,
            "dim": self.dim,
            "methods": dataclasses.asdict(self.methods),
            "parts": self._part_names,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> CompressedTable:
        """Build a layer whose parts are 0 until its weights are loaded.

        Raises:
            InputError: another version of this package saved the layer, with other parts.
        """
        saved = config.get("parts", [])
        given = {name: value for name, value in config.items() if name != "parts"}
        layer = cls(**(given | {"methods": Methods.from_config(config["methods"])}))
        if list(saved) != layer._part_names:
            raise InputError(
                f"This compressed table needs the parts {', '.join(layer._part_names)}. Received: "
                f"{', '.join(saved) or 'none'}, saved by another version of tfrs_distill. Compress "
                "the student again."
            )
        return layer

    @property
    def _part_names(self) -> list[str]:
        """The names of the weights: Keras loads them by position."""
        scales = [f"{name}_log_scales" for name in self.log_scales]
        return [*self.floats, *scales, *self.integers]


@dataclasses.dataclass(frozen=True)
class StoredTable:
    """A table as stored in a file: constants, and the operators that compute rows from them.

    Args:
        structure: computes the rows.
        parts: its inputs; tensors created outside of a graph, so that the file has them once.
    """

    structure: Structure
    parts: Parts

    def gather(self, rows: tf.Tensor) -> tf.Tensor:
        """Rows by index: int32 `[...]` to float32 `[..., dim]`."""
        table = self.structure.rows(self.parts, tf.reshape(rows, [-1]))
        return tf.reshape(table, tf.concat([tf.shape(rows), [table.shape[1]]], axis=0))

    def scores(self, queries: tf.Tensor) -> tf.Tensor:
        """Dot products with all rows: float32 [num_queries, dim] to [num_queries, num_rows]."""
        return self.structure.scores(self.parts, queries)

    def whole(self) -> tf.Tensor:
        """All rows, float32 [num_rows, dim]."""
        return self.structure.rows(self.parts, None)


def structure_of(num_rows: int, dim: int, methods: Methods) -> Structure:
    """Return the form of a table of this size.

    Raises:
        InputError: the sizes of `methods` do not fit the table.
    """
    return STRUCTURES[methods.structure](num_rows, dim, *methods.numbers)


def bytes_of(structure: Structure, methods: Methods) -> int:
    """Return the bytes that the parts of a table take in a file.

    Example:
    >>> methods = Methods.of(["shared-rows:40", "int4"])  # 100 indices, 40 rows of 6
    >>> bytes_of(structure_of(100, 10, methods), methods)
    340
    """
    most = {2**PACKED_BITS: PACKED_BITS, 2**8: 8, 2**15: 16}  # indices, by their bits
    of_index = next((bits for top, bits in most.items() if structure.num_indices <= top), 32)
    sizes = [-(-of_index * math.prod(shape) // 8) for shape in structure.integers().values()]
    for name, (rows, dim) in structure.floats().items():
        if name in structure.latent:
            continue
        if name in structure.exact:
            sizes.append(4 * rows * dim)
        elif methods.packs:
            sizes.append(-(-rows * dim * methods.bits // 8))
            sizes.append(math.prod(methods.shape_of_scales((rows, dim))))
        else:
            sizes.append(bytes_of_matrix(rows * dim, methods.bits))
    return sum(sizes)
