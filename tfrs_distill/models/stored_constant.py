"""Constants that a `.tflite` file holds as they are, instead of what is computed from them.

TensorFlow's converter computes everything that depends on constants alone, and stores the result:
of a table that is computed from small parts, the table. The functions here are calls to it that it
does not look into. `tfrs_distill.export.forms.flatbuffer` removes the calls from the file; in
TensorFlow they compute what they return.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

CONSTANT, CODES = "tfrs_distill.constant", "tfrs_distill.codes"  # names of the calls


def stored_constant(values: Any) -> tf.Tensor:
    """Return `values`, which a file holds in their own type.

    Args:
        values: a tensor created outside of the graph, so that a file has it once.
    """
    return _constant(values)


def stored_codes(codes: tf.Tensor, bits: int, scale: float = 1.0) -> tf.Tensor:
    """Return `scale codes`, float32, of codes that a file holds with few bits.

    LiteRT computes the result once, when it opens the file.

    Args:
        codes: int8 of any shape, from `-2^(bits - 1)` to `2^(bits - 1) - 1`; created outside of the
            graph.
        bits: 8, 4 or 2.
        scale: what a code of 1 stands for.
    """
    name = f"{CODES}:{bits}:{float(scale)!r}"
    return _call(name, lambda codes: scale * tf.cast(codes, tf.float32))(codes)


def all_rows(num_rows: int) -> tf.Tensor:
    """Return all row indices, int32 [num_rows], which a file computes when it is opened."""
    rows = tf.range(stored_constant(tf.constant(num_rows)))
    return tf.ensure_shape(rows, [num_rows])


def take(values: tf.Tensor, rows: tf.Tensor | None) -> tf.Tensor:
    """Rows by index; all of them for None."""
    return values if rows is None else tf.gather(values, rows)


def _call(name: str, compute: Callable[[tf.Tensor], tf.Tensor]) -> Any:
    """Return a function that the converter takes for an operator of this name."""
    implements = f'name: "{name}" attr {{ key: "tfl_fusable_op" value {{ b: true }} }}'
    return tf.function(compute, experimental_implements=implements, autograph=False)


_constant = _call(CONSTANT, lambda values: tf.identity(values))
